"""Pictures and pages that speak of the code speak of all of it."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml
from test_rooms import ROOMS

import sar_keras
from sar_keras.models.terms import TERMS

DOCS = Path(__file__).parents[2] / "docs"


def script(name: str):
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_house_has_all_rooms_in_their_order_and_its_picture_is_of_today():
    house = script("draw_house")
    assert tuple(reversed([room for _, rooms in house.FLOORS for room in rooms])) == ROOMS
    assert (DOCS / "contribute/house.svg").read_text() == house.draw()


@pytest.mark.slow
def test_the_pictures_of_the_networks_are_of_today():
    networks = script("draw_networks")
    models = networks.networks()
    for name, model in models.items():
        assert (DOCS / f"understand/networks/{name}.svg").read_text() == networks.draw(model), (
            "python docs/draw_networks.py"
        )
    # pix2pix's U-Net-256 with 16 filters: 8 halvings, 7 skips (Isola et al., section 6.1.1).
    picture = networks.draw(models["unet"])
    assert re.findall(r'class="size">(\d+)<', picture)[:9] == ["256", "128", "64", "32", "16", "8", "4", "2", "1"]
    assert picture.count("<path") == 7


def test_every_term_has_a_section_and_every_picture_a_page():
    headings = re.findall(r"^## (\w+)$", (DOCS / "understand/terms.md").read_text(), re.MULTILINE)
    assert {term.name for term in TERMS} <= set(headings)
    page = (DOCS / "understand/networks.md").read_text()
    assert {path.name for path in (DOCS / "understand/networks").glob("*.svg")} == set(
        re.findall(r"networks/(\w+\.svg)\)", page)
    )


def test_links_to_files_are_there():
    for name in ("README.md", "CONTRIBUTING.md", "THIRD_PARTY.md", "CHANGELOG.md"):
        for link in re.findall(r'(?:\]\(|src=")([^)"#:]+)(?:#[^)]*)?[)"]', (DOCS.parent / name).read_text()):
            assert (DOCS.parent / link).exists(), f"{name}: {link}"


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((DOCS.parent / "CITATION.cff").read_text())
    assert citation["version"] == sar_keras.__version__ and citation["cff-version"] == "1.2.0"
