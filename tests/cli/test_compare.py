"""`lrtool compare`: runs beside each other, as table, plot, CSV and JSON."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lrtool.report.gate.compare_plots import draw_comparison
from lrtool.results import Comparison
from lrtool.results.stored.run_dir import open_run
from tests import DOCS
from tests.cli.conftest import Stored
from tests.cli.test_bad_input import check_told
from tests.cli.test_check import higher
from tests.conftest import Lrtool
from tests.sweep.made_sweeps import flat, story


@pytest.mark.painted
def test_sweeps_beside_each_other(lrtool: Lrtool, stored: Stored) -> None:
    for made in (flat(repeats=2), higher(flat(repeats=2), 1.2)):
        stored(made)
    outcome = lrtool("compare", "1", "2")
    lines = outcome.out.splitlines()

    assert outcome.code == 0
    assert lines[0].startswith(
        "peak_allocated at step_size_up 20 is 6.00 MiB in runs/0002-mem-sweep, 1.00 MiB (20%) above"
    )
    assert lines[-1] == "Wrote runs/0003-compare/compare.png. Next: lrtool report runs/0003-compare"
    assert [line.split()[1:] for line in lines if line.startswith("peak_allocated  ")] == [
        ["5.00", "MiB", "6.00", "MiB", "0", "B"]
    ] * 3
    assert max(map(len, lines[1:-1])) <= 80


def test_everything_is_made_again_from_the_run_directory(lrtool: Lrtool, stored: Stored) -> None:
    stored(story())
    stored(story(sizes=(2500, 3000)))
    document = lrtool("compare", "1", "2", "--json").json
    table = pd.read_csv("runs/0003-compare/figures.csv")

    assert (document["schema"], document["command"], document["compared"]) == (1, "compare", "mem-sweep")
    assert list(table["metric"].unique()) == ["peak_allocated", "peak_reserved", "fragmentation", "growth"]
    assert len(document["curves"]) == 5
    assert max(len(curve["x"]) for curve in document["curves"]) <= 600
    assert lrtool("report", "3", "--json").json == document
    assert lrtool("report", "3").out.splitlines()[0] == document["answer"]


@pytest.mark.painted
def test_range_tests_lie_over_each_other(lrtool: Lrtool, workload_file: Callable[[str], Path]) -> None:
    for seed in ("0", "1"):
        lrtool("range-test", workload_file("good"), "--seed", seed)
    document = lrtool("compare", "1", "2", "--json").json

    assert document["figures"][0]["metric"] == "max_lr"
    assert [curve["run"] for curve in document["curves"]] == [0, 1]
    assert document["not_comparable"] == []


@pytest.mark.painted
def test_replays_beside_each_other(lrtool: Lrtool, tmp_path: Path) -> None:
    (tmp_path / "split.jsonl").write_bytes((DOCS / "split.jsonl").read_bytes())
    for settings in ("", "expandable_segments:True"):
        lrtool("replay", "split.jsonl", "--settings", settings)
    document = lrtool("compare", "1", "2", "--json").json

    assert document["not_comparable"] == [
        "runs/0002-replay: settings expandable_segments:True here, default in the baseline"
    ]
    assert {curve["run"] for curve in document["curves"]} == {0, 1}


def test_eight_runs_fit_80_columns(lrtool: Lrtool, stored: Stored) -> None:
    for _ in range(8):
        stored(flat())
    lines = lrtool("compare", *map(str, range(1, 9))).out.splitlines()

    assert max(map(len, lines[1:-1])) <= 80
    assert sum("run 8" in line for line in lines) == 1 + 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "missing argument"),
        (["1"], "one run alone cannot be compared"),
        (["1", "9"], "no run '9'"),
        (["1", "2"], "runs of different commands cannot be compared"),
    ],
)
def test_what_cannot_be_compared(
    lrtool: Lrtool, stored: Stored, arguments: list[str], message: str, workload_file: Callable[[str], Path]
) -> None:
    stored(flat())
    lrtool("range-test", workload_file("good"), "--num-steps", "20")

    check_told(lrtool("compare", *arguments), 2, message)


def test_damaged_steps_are_an_error_not_a_crash(lrtool: Lrtool, stored: Stored) -> None:
    stored(flat())
    stored(flat())
    Path("runs/0002-mem-sweep/trials/000/steps.csv").write_text("step\n1,2\n")

    check_told(lrtool("compare", "1", "2"), 2, "is no table of steps")


def test_the_plot_has_a_line_for_each_run_in_a_panel_for_each_condition(lrtool: Lrtool, stored: Stored) -> None:
    stored(story())
    stored(story(sizes=(2500, 3000)))
    lrtool("compare", "1", "2")
    result = open_run("3", parent=Path("runs"))[1].result
    assert isinstance(result, Comparison)
    figure = draw_comparison(result)

    assert [len(axes.lines) for axes in figure.axes] == [2, 2, 1]
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "step_size_up 2500", "step_size_up 3000", "step_size_up 3500",
    ]  # fmt: skip
    assert [{text.get_text() for text in axes.texts} for axes in figure.axes] == [{"1, 2"}, {"1, 2"}, {"1"}]
    empty = draw_comparison(replace(result, curves=()))
    assert len(empty.axes) == 1
