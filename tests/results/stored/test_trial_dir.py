"""The steps of a trial, written and read back."""

from pathlib import Path

import pytest

from lrtool.errors import UsageError
from lrtool.results.stored.trial_dir import read_series, trial_dir, write_series
from tests.sweep.made_trials import steps_of


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    trial_dir(tmp_path, 7).mkdir(parents=True)
    return tmp_path


def test_steps_come_back_as_they_were_written(run_dir: Path) -> None:
    steps = steps_of([2**40 + step for step in range(50)], within=512, device_allocs=2)

    write_series(run_dir, 7, steps)

    assert read_series(run_dir, 7) == steps
    head, first, *_ = (run_dir / "trials" / "007" / "steps.csv").read_text().splitlines()
    assert head.startswith("step,allocated_bytes,active_bytes,reserved_bytes")
    assert first.startswith(f"1,{2**40}")


def test_a_trial_without_steps_has_no_series(run_dir: Path) -> None:
    assert read_series(run_dir, 7) is None
    write_series(run_dir, 7, steps_of([]))
    assert read_series(run_dir, 7) is None


@pytest.mark.parametrize("text", ["", "step,other\n1,2\n", "\x00", "step\n1\nx\n"])
def test_a_broken_table_is_named(run_dir: Path, text: str) -> None:
    (trial_dir(run_dir, 7) / "steps.csv").write_text(text)

    with pytest.raises(UsageError, match=r"steps\.csv"):
        read_series(run_dir, 7)


def test_a_table_that_was_cut_off_is_named(run_dir: Path) -> None:
    write_series(run_dir, 7, steps_of([1, 2, 3]))
    file = trial_dir(run_dir, 7) / "steps.csv"
    file.write_text(file.read_text()[:-6])

    with pytest.raises(UsageError, match=r"steps\.csv"):
        read_series(run_dir, 7)
