"""The report page in a real browser, Chromium without a window: light and dark, on a telephone and on a desk."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lrtool.report.html.html import write_html
from lrtool.results.stored.run_dir import open_run
from tests.report.made_runs import MADE, stored

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDTHS = (400, 1280)
OUTSIDE = """
() => [...document.querySelectorAll('body *:not(svg *)')]
  .filter(each => each.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .filter(each => !each.closest('.plot'))
  .map(each => each.outerHTML.slice(0, 80))
"""
CUT_OFF = """
() => [...document.querySelectorAll('svg text')].filter(text => {
  const of = text.getBoundingClientRect(), svg = text.closest('svg').getBoundingClientRect();
  return of.left < svg.left - 1 || of.right > svg.right + 1 || of.top < svg.top - 1 || of.bottom > svg.bottom + 1;
}).map(text => text.textContent)
"""


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    driver = pytest.importorskip("playwright.sync_api", reason="playwright, of the extra `test`, is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("there is no Chromium here")
    with driver.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module", params=list(MADE))
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    return write_html(*open_run(str(stored(request.param, folder)), parent=folder))


def opened(browser: "Browser", file: Path, *, width: int = 1280, dark: bool = False, script: bool = True) -> "Page":
    page = browser.new_page(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if dark else "light",
        java_script_enabled=script,
    )
    page.goto(file.as_uri())
    return page


def test_it_asks_the_network_for_nothing_and_complains_of_nothing(browser: "Browser", file: Path) -> None:
    page = browser.new_page()
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(file.as_uri(), wait_until="networkidle")

    assert [url for url in requests if not url.startswith("data:")] == [file.as_uri()]
    assert complaints == []


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_scrolled_sideways_and_nothing_is_cut_off(browser: "Browser", file: Path, width: int) -> None:
    page = opened(browser, file, width=width)

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate(CUT_OFF) == []


def test_on_a_desk_lines_are_short_enough_to_read_and_tables_are_tables(browser: "Browser", file: Path) -> None:
    page = opened(browser, file)

    assert 600 < page.evaluate("document.querySelector('main').getBoundingClientRect().width") < 900
    assert page.evaluate("[...document.querySelectorAll('thead')].every(each => each.offsetHeight > 0)")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_the_paper(browser: "Browser", file: Path, dark: bool) -> None:
    page = opened(browser, file, dark=dark)
    paper = luminance(page, "body", "backgroundColor")

    assert (paper < 0.05) is dark
    for selector, least in (("h1", 7.0), (".eyebrow", 4.5), ("dt", 4.5), ("figcaption", 4.5), ("svg text", 3.0)):
        assert contrast(paper, luminance(page, selector, "fill" if "svg" in selector else "color")) >= least, selector


def test_it_is_whole_without_javascript(browser: "Browser", file: Path) -> None:
    with_it, without = (opened(browser, file, script=script).inner_text("body") for script in (True, False))

    assert with_it == without
    assert "How to read each number" in without


def test_it_prints(browser: "Browser", file: Path) -> None:
    page = opened(browser, file, dark=True)

    assert page.pdf().startswith(b"%PDF")
    page.emulate_media(media="print")
    assert luminance(page, "body", "backgroundColor") > 0.95


def luminance(page: "Page", selector: str, style: str) -> float:
    """Relative luminance of a colour, after WCAG 2.2; a canvas tells what the colour is, in whatever space it is given."""
    script = """([selector, style]) => {
      const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1}).getContext('2d');
      canvas.fillStyle = getComputedStyle(document.querySelector(selector))[style];
      canvas.fillRect(0, 0, 1, 1);
      return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    }"""
    parts = [value / 255 for value in page.evaluate(script, [selector, style])]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in parts]
    red, green, blue = linear
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)


def contrast(one: float, other: float) -> float:
    """The contrast ratio of WCAG 2.2, 1 to 21."""
    low, high = sorted((one, other))
    return (high + 0.05) / (low + 0.05)
