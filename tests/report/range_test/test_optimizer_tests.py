"""Several optimizers in a report: each is in the answer, the table, the code, the plot and the CSV."""

from dataclasses import fields, replace
from pathlib import Path

from rich.console import Console

from lrtool.report.range_test.report import csvs, plots
from lrtool.report.range_test.tables import answer, range_test_lines
from lrtool.results import OptimizerTest, RangeTest
from tests.report.made_runs import range_test


def with_two(*, silent: str = "") -> RangeTest:
    found = range_test()
    shared = {each.name: getattr(found, each.name) for each in fields(OptimizerTest) if each.name != "name"}
    tests = [
        OptimizerTest(name=name, **{**shared, "snippet": (f"scheduler of {name}",)})
        if name != silent
        else OptimizerTest(name=name, **{**shared, "base_lr": None, "max_lr": None, "suggested_lr": None})
        for name in ("g", "d")
    ]
    return replace(found, optimizer_name="g", optimizer_tests=tuple(tests))


def printed(result: RangeTest) -> str:
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as capture:
        for line in range_test_lines(result):
            console.print(line)
    return capture.get()


def test_the_answer_names_each() -> None:
    assert answer(with_two()).count("between") == 2
    assert answer(with_two(silent="g")).endswith("; no suggestion for g.")
    assert answer(with_two(silent="g")).startswith("Cycle the learning rate of d between ")
    both = with_two(silent="d")
    none = replace(
        both, optimizer_tests=tuple(replace(test, base_lr=None, max_lr=None) for test in both.optimizer_tests)
    )
    assert answer(none) == "No suggestion for g nor for d."


def test_each_has_its_row_its_reason_and_its_code() -> None:
    text = printed(with_two())

    for name in ("g", "d"):
        assert f"scheduler of {name}" in text
        assert any(line.startswith(f"{name} ") for line in text.splitlines())


def test_each_has_its_curve_in_plot_and_table() -> None:
    result = with_two(silent="d")

    assert len(plots(Path(), result)["optimizers"].axes) == 2
    lines = csvs(result)["optimizers"].splitlines()
    assert len(lines) == 1 + 2 * len(result.curve.lr)
    assert {line.split(",")[0] for line in lines[1:]} == {"g", "d"}
