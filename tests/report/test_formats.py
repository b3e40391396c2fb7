"""Every format of every command's run: made from the run directory alone, right, and safe whatever names stand in it."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from lrtool.results import RESULTS
from tests.conftest import Lrtool
from tests.report.made_runs import HOSTILE, MADE, stored


class Page(HTMLParser):
    """A page's text, and its tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.words += data.split()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    @property
    def text(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True)
class Reported:
    """A stored run, and what `lrtool report` printed of it as it drew its files anew."""

    run_dir: Path
    printed: str


Report = Callable[..., Reported]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Path, str]]:
    """Where runs are stored, and what was printed of those that are reported already."""
    return tmp_path_factory.mktemp("reports"), {}


@pytest.fixture
def reported(lrtool: Lrtool, reports: tuple[Path, dict[Path, str]]) -> Report:
    """Report a command's run, once for all formats that are looked at."""

    def report(command: str, *, is_hostile: bool = False) -> Reported:
        folder = reports[0] / f"{command}-{is_hostile}"
        if folder not in reports[1]:
            reports[1][folder] = lrtool(
                "report", stored(command, folder, is_hostile=is_hostile), "--color", "always"
            ).out
        return Reported(next(folder.iterdir()), reports[1][folder])

    return report


def terminal(lrtool: Lrtool, run: Reported) -> str:
    return " ".join(run.printed.split())


def as_json(lrtool: Lrtool, run: Reported) -> str:
    return json.dumps(lrtool("report", run.run_dir, "--json").json)


def csv(lrtool: Lrtool, run: Reported) -> str:
    tables = [pd.read_csv(path) for path in sorted(run.run_dir.glob("*.csv"))]
    assert tables
    assert all(len(table) for table in tables)
    return "\n".join(table.to_csv() for table in tables)


def png(lrtool: Lrtool, run: Reported) -> str:
    plots = [path.read_bytes() for path in run.run_dir.glob("*.png")]
    assert plots
    assert all(plot.startswith(b"\x89PNG") and plot.endswith(b"IEND\xaeB`\x82") for plot in plots)
    return ""


def svg(lrtool: Lrtool, run: Reported) -> str:
    plots = list(run.run_dir.glob("*.svg"))
    assert plots
    return " ".join("".join(ElementTree.fromstring(path.read_text()).itertext()) for path in plots)


def html(lrtool: Lrtool, run: Reported) -> str:
    lrtool("report", run.run_dir, "--html")
    page = Page((run.run_dir / "report.html").read_text())
    assert not {tag for tag, _ in page.tags} & {"script", "red", "img", "iframe", "object"}
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    return page.text


Form = Callable[[Lrtool, Reported], str]
FORMATS: list[Form] = [terminal, as_json, csv, png, svg, html]
TOLD = {
    "range-test": {"terminal": "CyclicLR(optimizer, base_lr=0.0", "html": "CyclicLR(optimizer, base_lr=0.0",
                   "as_json": '"max_lr": 0.', "csv": "1e-07"},
    "replay": {"terminal": "60.0 MiB", "html": "60.0 MiB", "as_json": "62914560", "csv": "62914560"},
    "mem-sweep": {"terminal": "24.0 GiB are full at step 6,625", "html": "24.0 GiB are full at step 6,625",
                  "as_json": "6625", "csv": "6625"},
    "diagnose": {"terminal": "Fits 200 MiB with gradient accumulation", "html": "Fits 200 MiB with gradient accumulation",
                 "as_json": '"saved_reserved_bytes": 230686720', "csv": "230686720"},
    "compare": {"terminal": "5.00 MiB (5%) above the 100 MiB", "html": "5.00 MiB (5%) above the 100 MiB",
                "as_json": "110100480", "csv": "110100480"},
}  # fmt: skip
"""A figure by which each run is known."""


def test_every_command_has_a_run_here() -> None:
    assert list(MADE) == list(RESULTS)


@pytest.mark.painted
@pytest.mark.parametrize("command", MADE)
@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.__name__)
def test_a_format_tells_the_run(lrtool: Lrtool, reported: Report, command: str, form: Form) -> None:
    assert TOLD[command].get(form.__name__, "") in form(lrtool, reported(command))


@pytest.mark.painted
@pytest.mark.parametrize("command", MADE)
@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.__name__)
def test_a_hostile_name_is_text_in_every_format(lrtool: Lrtool, reported: Report, command: str, form: Form) -> None:
    text = form(lrtool, reported(command, is_hostile=True))
    without_our_own_colours = re.sub(r"\x1b\[[0-9;]*m", lambda found: "" if found[0] != "\x1b[31m" else "!", text)

    assert "\x1b" not in without_our_own_colours
    if form in (terminal, html):
        assert "".join(HOSTILE.split()).replace("\x1b", "\\x1b") in "".join(text.split())
