"""A sweep in the terminal."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from lrtool.report.sweep.columns import growth_text
from lrtool.report.sweep.tables import groups_of, step_size_name
from lrtool.report.terminal import render
from lrtool.results import MemSweep, StepGrowth
from tests.sweep.made_sweeps import Made, flat, noisy_axes, nothing, run_of, story
from tests.sweep.made_trials import condition, trial


def text_of(result: MemSweep) -> str:
    file = StringIO()
    console = Console(file=file, width=80)
    for part in render(run_of(result), run_dir=Path("runs/0001-mem-sweep")):
        console.print(part)
    return file.getvalue()


def test_the_verdict_comes_first_and_the_way_on_last() -> None:
    lines = text_of(story()[0]).splitlines()

    assert lines[0].startswith("Predicted: the step size does not matter")
    assert lines[-1].startswith("Wrote runs/0001-mem-sweep/steps.png. Next: lrtool report")


def test_one_row_a_trial_with_its_figures() -> None:
    rows = [line.split() for line in text_of(story()[0]).splitlines() if line.startswith(("2500", "3000", "3500"))]

    assert [(row[0], row[1], row[2]) for row in rows] == [
        ("2500", "5,000", "ok"), ("3000", "6,000", "ok"), ("3500", "6,624", "OOM"),
    ]  # fmt: skip
    assert " ".join(rows[0][3:]) == "predicted 18.2 GiB 18.2 GiB 0.11% 3.58 MiB 1.5 s"


@pytest.mark.parametrize(
    "made", [story(), flat(repeats=2), noisy_axes(), nothing()], ids=["story", "flat", "axes", "none"]
)
def test_everything_fits_80_columns_and_nothing_is_cut(made: Made) -> None:
    text = text_of(made[0])

    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_the_widest_row_fits() -> None:
    of = condition(99999)
    wide = replace(
        trial(0, of, None, repeat=1), num_steps_done=199998, max_memory_allocated_bytes=999 * 2**20,
        max_memory_reserved_bytes=1023 * 2**20, fragmentation=0.991, duration_s=3599.0, status="interrupted",
        growth=StepGrowth(bytes_per_step=-1023 * 2.0**10, low_bytes_per_step=-1023 * 2.0**10,
                          high_bytes_per_step=-1023 * 2.0**10, warmup_steps=0, period_steps=1),
    )  # fmt: skip

    text = text_of(replace(flat()[0], trials=(wide,)))

    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_largest_free_block_has_a_column_where_it_is_known_and_fits() -> None:
    trials = flat()[0].trials
    known = (replace(trials[0], largest_free_ratio=0.625), *trials[1:])
    repeated = tuple(replace(trial, repeat=1) for trial in known)

    assert " free " not in text_of(replace(flat()[0], trials=trials))
    assert " free " in text_of(replace(flat()[0], trials=known))
    assert " 62.5% " in text_of(replace(flat()[0], trials=known))
    assert " 62.5% " not in text_of(replace(flat()[0], trials=repeated)), "the column is dropped, not cut"


def test_every_line_with_figures_says_where_they_come_from() -> None:
    for made, word in ((story(), "predicted"), (noisy_axes(), "measured")):
        result = made[0]
        text = text_of(result)
        assert text.count(f" {word} ") + text.count(f"\n{word} ") >= len(result.trials) + len(result.verdict.evidence)


def test_repeats_and_other_axes_show_only_where_they_vary() -> None:
    assert "#" not in text_of(flat()[0])
    assert "#" in text_of(flat(repeats=2)[0])
    assert "\nbatch_size 64\n" in text_of(noisy_axes()[0])
    assert [name for name, _ in groups_of(flat(repeats=2)[0].trials)] == [""]


def test_growth_within_its_noise_is_none() -> None:
    def growth(low: float, middle: float, high: float) -> StepGrowth:
        return StepGrowth(
            bytes_per_step=middle, low_bytes_per_step=low, high_bytes_per_step=high, warmup_steps=0, period_steps=1
        )

    assert growth_text(None) == "-"
    assert growth_text(growth(-5, 3, 9)) == "0 B"
    assert growth_text(growth(500, 512, 520)) == "512 B"
    assert growth_text(growth(0.2, 0.25, 0.3)) == "0.250 B"


def test_a_cycle_with_unequal_halves_names_both() -> None:
    assert step_size_name(replace(condition(30), step_size_down=50)) == "30+50"
