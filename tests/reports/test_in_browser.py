"""The pages in a real browser, from files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import IN_BROWSER, TINY, read_rows

from sar_keras.reports.page import Patch, Pictures, write_page

pytest.importorskip("playwright.sync_api")
pytestmark = IN_BROWSER


@pytest.fixture(scope="module")
def pages(tmp_path_factory, pairs_folder):
    """A folder with the page of each command, made as people make them."""
    folder = tmp_path_factory.mktemp("pages")
    own = ("train.epochs", "train.steps", "data.limit", "model.blocks")
    settings = [f"--set={change}" for change in TINY if not change.startswith(own)]

    def run(*arguments):
        command = [Path(sys.executable).with_name("sar-keras"), *arguments]
        subprocess.run(list(map(str, command)), cwd=folder, check=True, capture_output=True)

    run("benchmark", "--presets", "l1,pix2pix", "--data", pairs_folder, "--steps", "4", "-o", "both", *settings)
    run("evaluate", "both/l1", "--split", "train", "--html", "evaluation.html")
    run("compare", "both/l1", "both/pix2pix", "-o", "compare.html")
    run("data", "scan", pairs_folder, "--html", "scan.html")
    return folder


NAMES = ("both/l1/report.html", "both/benchmark.html", "evaluation.html", "compare.html", "scan.html")


@pytest.fixture
def visit(browser, pages):
    """visit(name) is a page in a window of its own; it may ask for nothing, and must not fail."""
    contexts, asked, failed = [], [], []

    def opened(name, **options):
        address = (pages / name).as_uri()
        contexts.append(browser.new_context(**options))
        contexts[-1].on("request", lambda request: asked.append(request.url))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.on("console", lambda message: failed.append(message.text))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [url for url in asked if not url.startswith("data:") and not url.endswith(".html")] == []
    assert failed == []


def column(page, table, number):
    return table.locator(f"tbody td:nth-child({number})").evaluate_all("cells => cells.map(cell => cell.dataset.key)")


@pytest.mark.parametrize("name", NAMES)
def test_pages_stand_alone_and_fit_a_phone(visit, name):
    page = visit(name, viewport={"width": 375, "height": 700}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    images = page.locator("img")
    assert images.count() >= 6
    shown = images.evaluate_all("images => Promise.all(images.map(i => i.decode().then(() => i.naturalWidth)))")
    assert min(shown) == 64
    assert page.get_by_text("no leak").count() == 1
    command = page.locator("dd").first.inner_text()
    assert command.startswith("sar-keras ") and ("--html" in command or "-o" in command)
    # Light letters on a dark ground, also in the curves.
    for where, letters in (("h1, dd, td", "color"), ("svg text", "fill")):
        found = page.locator(where).evaluate_all(f"all => all.map(one => getComputedStyle(one).{letters})")
        assert all(sum(map(int, re.findall("[0-9]+", colour)[:3])) > 600 for colour in found)


def test_a_column_sorts_by_numbers_one_way_and_the_other(visit, pages):
    page = visit("both/l1/report.html")
    page.get_by_text("Figures of each epoch").click()
    table = page.locator("section", has_text="Figures of each epoch").locator("table")
    values = [float(row["val_psnr"]) for row in read_rows(pages / "both/l1/history.csv")]
    number = 1 + list(read_rows(pages / "both/l1/history.csv")[0]).index("val_psnr")
    assert [float(key) for key in column(page, table, number)] == values and len(set(values)) > 1
    head = table.get_by_role("button", name="val_psnr")
    head.click()
    assert [float(key) for key in column(page, table, number)] == sorted(values)
    assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    head.press("Enter")
    assert [float(key) for key in column(page, table, number)] == sorted(values, reverse=True)
    # Whole rows have moved.
    epochs = [int(key) for key in column(page, table, 1)]
    assert [values[epoch - 1] for epoch in epochs] == sorted(values, reverse=True)


def test_a_place_enlarges_by_click_and_by_keyboard(visit):
    page = visit("compare.html")
    places, dialog = page.locator(".patch"), page.locator("dialog")
    names = places.locator(".about").all_inner_texts()
    small = places.first.locator("img").first.bounding_box()["width"]
    places.first.click()
    assert dialog.is_visible() and dialog.locator(".about").inner_text() == names[0]
    assert dialog.locator("img").count() == 4
    assert dialog.locator("img").first.bounding_box()["width"] > 1.5 * small
    page.keyboard.press("ArrowRight")
    assert dialog.locator(".about").inner_text() == names[1]
    dialog.get_by_label("previous").click()
    page.keyboard.press("ArrowLeft")  # there is none before the first
    assert dialog.locator(".about").inner_text() == names[0]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    # The keyboard goes on where one was, as soon as the browser has told the page that the dialog is closed.
    page.wait_for_function("name => document.activeElement.querySelector('.about')?.textContent == name", arg=names[1])
    page.keyboard.press("Enter")
    assert dialog.is_visible() and dialog.locator(".about").inner_text() == names[1]
    dialog.get_by_text("close").click()
    page.keyboard.press("Space")
    assert dialog.is_visible()


def test_on_a_phone_a_place_enlarges_to_the_width_of_the_screen(visit):
    page = visit("compare.html", viewport={"width": 375, "height": 700}, has_touch=True)
    page.locator(".patch").first.tap()
    assert page.locator("dialog img").first.bounding_box()["width"] > 250
    assert page.locator("dialog").bounding_box()["width"] <= 375


def test_places_are_put_in_the_order_of_a_figure(visit):
    page = visit("evaluation.html")

    def figures():
        texts = page.locator(".patch .about").all_inner_texts()
        return [float(re.findall(r"PSNR \(dB\) ([0-9.]+)", text)[0]) for text in texts]

    listed = figures()
    page.get_by_label("Order").select_option(label="PSNR (dB), lowest first")
    assert figures() == sorted(listed) != listed
    page.get_by_label("Order").select_option(label="PSNR (dB), highest first")
    assert figures() == sorted(listed, reverse=True)
    page.get_by_label("Order").select_option(label="as listed")
    assert figures() == listed


def test_five_hundred_places_are_less_than_20_mb_and_all_are_shown(visit, pages, random):
    def noise():
        for number in range(500):
            images = [random.integers(0, 256, (256, 256, 3), dtype="uint8") for _ in range(3)]
            yield Patch(f"{number}.png", images, {"PSNR": float(number)})

    path = pages / "noise.html"
    write_page(path, "Noise", [Pictures("P", ["SAR", "generated", "truth"], noise(), 500, ["PSNR"])])
    assert path.stat().st_size < 20e6
    page = visit("noise.html", viewport={"width": 375, "height": 700})
    shown = page.locator("img").evaluate_all(
        "images => Promise.all(images.map(i => i.decode().then(() => i.naturalWidth)))"
    )
    assert len(shown) == 1500 and min(shown) >= 96
    page.locator(".patch").last.click()
    assert page.locator("dialog .about").inner_text().startswith("499.png")
