import base64
import io
import re
import weakref

import numpy as np
import pytest
from PIL import Image

from sar_keras.reports.page import Curves, Facts, Patch, Pictures, Table, write_page


@pytest.fixture
def written(tmp_path):
    """written(section, ...) is the text of a page."""

    def write(*sections):
        write_page(tmp_path / "page.html", "A page", sections)
        assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
        return (tmp_path / "page.html").read_text()

    return write


def pictures(page):
    return [
        Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r'"data:image/webp;base64,(.*?)"', page)
    ]


def patches(count, random, side=256):
    for number in range(count):
        yield Patch(f"{number}.png", [random.integers(0, 256, (side, side, 3), dtype="uint8") for _ in range(3)])


def test_names_of_files_are_no_html(written):
    evil = "<script>alert(1)</script>\udcb2.png"
    image = np.zeros((8, 8, 3), np.uint8)
    page = written(
        Facts(evil, {evil: evil}, notes=[evil]),
        Table("Table", [evil], [[evil]]),
        Pictures("Pictures", [evil], [Patch(evil, [image])], 1),
        Curves("Curves", evil, {evil: ([1, 2], [1, 2]), "$x": ([1], [1])}),
    )
    assert "<script>alert" not in page and page.count("&lt;script&gt;alert(1)&lt;/script&gt;\\xb2.png") >= 8


def test_cells_are_sorted_by_what_they_are_and_not_by_what_is_shown(written):
    figure = {"mean": 21.123456, "low": 20.5, "high": 21.98}
    page = written(Table("Table", ["a", "b", "c", "d"], [["text", figure, np.float64(1234567.0), None]]))
    assert '<td data-key="21.123456" class="number">21.12 [20.5, 21.98]</td>' in page
    assert '<td data-key="1234567.0" class="number">1.235e+06</td>' in page and '<td data-key=""></td>' in page


def test_curves_are_scalable_and_have_text_in_the_colour_of_the_page(written):
    page = written(Curves("Loss", "epoch", {"l1": ([1, 2, 3], [0.1, 10, 1000])}, log=True))
    (svg,) = re.findall("<svg.*?</svg>", page, re.DOTALL)
    assert "viewBox" in svg and re.search("<text[^>]*>epoch</text>", svg)
    assert "currentColor" in svg and "#010203" not in svg and "#000000" not in svg


@pytest.mark.parametrize(("values", "labels"), [([0.1, 10, 1000], {"10", "100", "1000"}), ([20, 25, 45], {"20", "40"})])
def test_a_logarithmic_axis_has_plain_numbers(written, values, labels):
    page = written(Curves("Loss", "epoch", {"l1": ([1, 2, 3], values)}, log=True))
    texts = re.findall("<text[^>]*>(.*?)</text>", page)
    assert labels <= set(texts) and not any("$" in text for text in texts)


def test_a_legend_has_every_name(written):
    page = written(Curves("Loss", "epoch", {"_one": ([1, 2], [1, 2]), "$x$": ([1], [1])}))
    assert {"_one", "$x$"} <= set(re.findall("<text[^>]*>(.*?)</text>", page))


def test_a_page_names_no_address_to_load(written, random):
    page = written(Curves("Loss", "epoch", {"l1": ([1], [1])}), Pictures("P", "abc", patches(2, random, 16), 2))
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(?!data:|#)[a-z/]""", page)


def test_few_pictures_are_as_they_were(written, random):
    image = np.kron(random.integers(0, 256, (8, 8, 3)), np.ones((16, 16, 1))).astype("uint8")
    (shown,) = pictures(written(Pictures("P", ["SAR"], [Patch("a", [image])], 1)))
    assert shown.size == (128, 128) and np.abs(np.asarray(shown).astype(int) - image).mean() < 12


def test_one_patch_is_in_memory_at_a_time(written, random):
    alive, most = [], 0

    def one_by_one():
        nonlocal most
        for patch in patches(40, random, 16):
            alive.append(weakref.ref(patch.images[0]))
            most = max(most, sum(reference() is not None for reference in alive))
            yield patch

    assert len(pictures(written(Pictures("P", "abc", one_by_one(), 40)))) == 120
    assert most <= 3


def test_what_fails_leaves_the_page_that_was_there(tmp_path, random):
    def break_off():
        yield from patches(3, random, 16)
        raise ValueError

    path = tmp_path / "page.html"
    path.write_text("before")
    with pytest.raises(ValueError):
        write_page(path, "A page", [Pictures("P", "abc", break_off(), 5)])
    assert path.read_text() == "before" and [each.name for each in tmp_path.iterdir()] == ["page.html"]
