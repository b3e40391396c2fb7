"""The report page: one file that says everything, in the one order, whatever the run."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console

from lrtool.report.figures import ON_DARK
from lrtool.report.glossary import GLOSSARY
from lrtool.report.html.html import render_html, write_html
from lrtool.report.page import ORDER
from lrtool.report.reports import REPORTS, report_of
from lrtool.results import RESULTS, Curve, MemSweep, RangeTest, Replay, ReplayBlock, ReplaySegment, Result, StepSeries
from lrtool.results.stored.run_dir import open_run
from lrtool.results.stored.trial_dir import trial_dir, write_series
from tests.report.made_runs import MADE, range_test, replay, run_of, stored
from tests.report.test_formats import Page
from tests.sweep.made_sweeps import flat, noisy_axes, nothing, story

MIB = 2**20


def page_text(command: str, result: Result, series: dict[int, StepSeries], folder: Path) -> str:
    for number, steps in series.items():
        trial_dir(folder, number).mkdir(parents=True)
        write_series(folder, number, steps)
    return render_html(run_of(command, result), run_dir=folder)


@pytest.fixture(scope="module")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The page of a command's run, written once."""

    @cache
    def written(command: str) -> str:
        folder = tmp_path_factory.mktemp("page")
        run_dir, run = open_run(str(stored(command, folder)), parent=folder)
        return write_html(run_dir, run).read_text()

    return written


@pytest.fixture(params=list(MADE))
def text(request: pytest.FixtureRequest, page_of: Callable[[str], str]) -> str:
    return page_of(request.param)


def test_every_command_has_a_page_of_its_own() -> None:
    assert {kind for kind, report in REPORTS.items() if report.page is not None} == set(RESULTS.values())


def test_the_verdict_comes_first_and_the_environment_last(text: str) -> None:
    headings = re.findall(r"<h(\d)>(.*?)</h\d>", text, flags=re.DOTALL)

    assert [level for level, _ in headings if level != "3"] == ["1", *["2"] * text.count("<h2")]
    assert [heading for _, heading in headings][-2:] == ["How to read each number", "Environment and command line"]


def test_sections_stand_in_the_one_order(text: str) -> None:
    places = re.findall(r'<section class="(\w+)">', text)

    assert places[-2:] == ["terms", "environment"]
    assert places[:-2] == sorted(places[:-2], key=ORDER.index)


@pytest.mark.parametrize("command", MADE)
def test_everything_that_the_terminal_says_is_on_the_page(
    command: str, tmp_path: Path, page_of: Callable[[str], str]
) -> None:
    result, _ = MADE[command]()
    console = Console(width=10_000, record=True, quiet=False, file=(tmp_path / "out").open("w"))
    for part in report_of(result).lines(result):
        console.print(part, markup=False)
    said = {word for word in console.export_text().split() if re.search(r"\w", word)}
    said -= {"parameter", "group", "all"}  # a table of one group is the numbers on top

    shown = Page(page_of(command)).text
    assert {word for word in said if word not in shown} == set()


@pytest.mark.parametrize("command", MADE)
def test_a_result_that_nobody_wrote_a_page_for_is_shown_as_in_the_terminal(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page_of: Callable[[str], str]
) -> None:
    own = page_of(command)
    result, series = MADE[command]()
    monkeypatch.setitem(REPORTS, type(result), replace(report_of(result), page=None))
    text = page_text(command, result, series, tmp_path / "plain")

    assert re.findall(r"<h1>.*?</h1>", text) == re.findall(r"<h1>.*?</h1>", own)
    assert text.count("<svg") == own.count("<svg")


def test_nothing_is_loaded_and_nothing_is_run(text: str) -> None:
    page = Page(text)

    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "base"}
    links = [of[key] for _, of in page.tags for key in ("src", "href") if of.get(key)]
    assert all(link and link.startswith(("#", "data:")) for link in links)
    assert not re.findall(r"url\((?!#)", text)
    assert "@import" not in text


def test_plots_are_named_and_described_and_their_text_is_text(text: str) -> None:
    page = Page(text)
    plots = [of for tag, of in page.tags if tag == "svg"]

    assert plots
    for plot in plots:
        assert plot["role"] == "img"
        names = (plot["aria-labelledby"] or "").split()
        assert all(re.search(rf'<(title|desc) id="{name}">[^<]{{10,}}</', text) for name in names)
    assert "<text" in text


def test_ids_are_unique_and_all_references_lead_somewhere(text: str) -> None:
    ids = re.findall(r' id="([^"]*)"', text)

    assert len(ids) == len(set(ids))
    assert set(re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', text)) - {(one, "") for one in ids} <= {
        ("", one) for one in ids
    }


def test_every_colour_follows_the_page(text: str) -> None:
    plots = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))

    assert "var(--c-" in plots
    assert re.findall(r"#[0-9a-fA-F]{6}\b", plots) == []
    assert all(dark in text for dark in ON_DARK.values())


def test_every_figure_is_explained(text: str) -> None:
    explained = re.findall(r"<dt>(.*?)</dt>\n<dd>", text)

    assert set(explained) <= set(GLOSSARY)
    assert len(explained) >= 7


def test_equal_runs_give_equal_pages(tmp_path: Path) -> None:
    one, other = (stored("mem-sweep", tmp_path / name) for name in ("a", "b"))
    pages = [render_html(open_run(str(run_dir), parent=tmp_path)[1], run_dir=run_dir) for run_dir in (one, other)]

    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    "made", [flat(repeats=2), noisy_axes(), nothing()], ids=["repeats", "other axes", "no step at all"]
)
def test_every_sweep_has_a_page(made: tuple[MemSweep, dict[int, StepSeries]], tmp_path: Path) -> None:
    assert made[0].verdict.text.split(":")[0] in page_text("mem-sweep", *made, tmp_path)


def test_a_range_test_without_a_suggestion_has_a_page(tmp_path: Path) -> None:
    shown = Page(page_text("range-test", replace(range_test(flat=True), schedule_line=None), {}, tmp_path)).text

    assert "No suggestion: the loss does not fall by more than its noise." in shown
    assert "CyclicLR(" not in shown


def long_range_test() -> RangeTest:
    short, times = range_test().curve, 100
    curve = Curve(
        lr=tuple(lr * (1 + n / 5000) for lr in short.lr for n in range(times)),
        loss=tuple(loss + 0.2 * (n % 7) for loss in short.loss for n in range(times)),
        smoothed_loss=tuple(loss for loss in short.smoothed_loss for _ in range(times)),
    )
    return replace(range_test(), curve=curve)


def fragmented_replay() -> Replay:
    """48 segments of 2,000 blocks each, as a snapshot of a process that ran for long may be."""
    blocks = tuple(
        ReplayBlock(offset_bytes=n * 1024, size_bytes=1024, state=("used", "split")[n % 2]) for n in range(2000)
    )
    result = replay()
    segments = (ReplaySegment(size_bytes=2 * MIB, is_small=True, blocks=blocks),) * 48
    return replace(result, rows=(replace(result.rows[0], segments=segments),), best=0)


def test_a_page_stays_under_one_megabyte(tmp_path: Path) -> None:
    wide = story(tuple(range(2500, 3700, 100)))
    sizes = {
        "12 trials of 7,000 steps": len(page_text("mem-sweep", *wide, tmp_path / "1").encode()),
        "20,000 points": len(page_text("range-test", long_range_test(), {}, tmp_path / "2").encode()),
        "96,000 blocks": len(page_text("replay", fragmented_replay(), {}, tmp_path / "3").encode()),
    }

    assert {name: size for name, size in sizes.items() if size >= 1_000_000} == {}
