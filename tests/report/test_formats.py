"""Every format of every command's run: made from the run directory alone, right, and safe whatever names stand in it."""

import json
import re
from collections.abc import Callable
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


def terminal(lrtool: Lrtool, run_dir: Path) -> str:
    return " ".join(lrtool("report", run_dir, "--color", "always").out.split())


def as_json(lrtool: Lrtool, run_dir: Path) -> str:
    return json.dumps(lrtool("report", run_dir, "--json").json)


def csv(lrtool: Lrtool, run_dir: Path) -> str:
    lrtool("report", run_dir)
    tables = [pd.read_csv(path) for path in sorted(run_dir.glob("*.csv"))]
    assert tables
    assert all(len(table) for table in tables)
    return "\n".join(table.to_csv() for table in tables)


def png(lrtool: Lrtool, run_dir: Path) -> str:
    lrtool("report", run_dir)
    plots = [path.read_bytes() for path in run_dir.glob("*.png")]
    assert plots
    assert all(plot.startswith(b"\x89PNG") and plot.endswith(b"IEND\xaeB`\x82") for plot in plots)
    return ""


def svg(lrtool: Lrtool, run_dir: Path) -> str:
    lrtool("report", run_dir)
    plots = list(run_dir.glob("*.svg"))
    assert plots
    return " ".join("".join(ElementTree.fromstring(path.read_text()).itertext()) for path in plots)


def html(lrtool: Lrtool, run_dir: Path) -> str:
    lrtool("report", run_dir, "--html")
    page = Page((run_dir / "report.html").read_text())
    assert not {tag for tag, _ in page.tags} & {"script", "red", "img", "iframe", "object"}
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    return page.text


FORMATS: list[Callable[[Lrtool, Path], str]] = [terminal, as_json, csv, png, svg, html]
TOLD = {
    "range-test": {"terminal": "CyclicLR(optimizer, base_lr=0.0", "html": "CyclicLR(optimizer, base_lr=0.0",
                   "as_json": '"max_lr": 0.', "csv": "1e-07"},
    "replay": {"terminal": "60.0 MiB", "html": "60.0 MiB", "as_json": "62914560", "csv": "62914560"},
    "mem-sweep": {"terminal": "24.0 GiB are full at step 6,625", "html": "24.0 GiB are full at step 6,625",
                  "as_json": "6625", "csv": "6625"},
    "diagnose": {"terminal": "Fits 200 MiB with gradient accumulation", "html": "Fits 200 MiB with gradient accumulation",
                 "as_json": '"max_batch": {"batch_size": 96', "csv": "gradient accumulation"},
}  # fmt: skip
"""A figure by which each run is known."""


def test_every_command_has_a_run_here() -> None:
    assert list(MADE) == list(RESULTS)


@pytest.mark.parametrize("command", MADE)
@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.__name__)
def test_a_format_tells_the_run(
    lrtool: Lrtool, tmp_path: Path, command: str, form: Callable[[Lrtool, Path], str]
) -> None:
    assert TOLD[command].get(form.__name__, "") in form(lrtool, stored(command, tmp_path))


@pytest.mark.parametrize("command", MADE)
@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.__name__)
def test_a_hostile_name_is_text_in_every_format(
    lrtool: Lrtool, tmp_path: Path, command: str, form: Callable[[Lrtool, Path], str]
) -> None:
    text = form(lrtool, stored(command, tmp_path, is_hostile=True))
    without_our_own_colours = re.sub(r"\x1b\[[0-9;]*m", lambda found: "" if found[0] != "\x1b[31m" else "!", text)

    assert "\x1b" not in without_our_own_colours
    if form in (terminal, html):
        assert "".join(HOSTILE.split()).replace("\x1b", "\\x1b") in "".join(text.split())
