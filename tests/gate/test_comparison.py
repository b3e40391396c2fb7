"""Figures of runs beside each other: difference from the first, and whether it is more than noise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtool.gate.comparison import Subject, compare, is_within_noise
from lrtool.gate.curves import MAX_POINTS, _thinned
from lrtool.results import ComparedFigure, Comparison, Figure, RunSummary
from tests.gate.test_judge import case, run
from tests.sweep.made_sweeps import flat

MIB = 2**20


def compared(*summaries: RunSummary) -> Comparison:
    subjects = [Subject(name=f"runs/{n}", summary=each, result=flat()[0]) for n, each in enumerate(summaries, 1)]
    return compare(subjects, [])


def figure(found: Comparison, metric: str, label: str = "") -> ComparedFigure:
    return next(each for each in found.figures if (each.metric, each.case) == (metric, label))


def test_values_and_their_differences_from_the_first_run() -> None:
    found = compared(*(run(case(peak_allocated=each * MIB, growth=0.0)) for each in (100, 105, 90)))
    peak = figure(found, "peak_allocated")

    assert peak.values == (100 * MIB, 105 * MIB, 90 * MIB)
    assert peak.differences == (0, 5 * MIB, -10 * MIB)
    assert found.answer == (
        "peak_allocated is 90.0 MiB in runs/3, 10.0 MiB (10%) below the 100 MiB of runs/1; "
        "noise is not known without repeats."
    )


@pytest.mark.parametrize(
    ("noise", "ending"), [(12 * MIB, "within the noise of 12.0 MiB."), (MIB, "more than the noise of 1.00 MiB.")]
)
def test_a_difference_is_held_against_the_noise_of_repeats(noise: int, ending: str) -> None:
    noisy = run(case(peak_allocated=Figure(value=110 * MIB, noise=noise)))

    assert compared(run(case(peak_allocated=100 * MIB)), noisy).answer.endswith(ending)


def test_no_difference_is_said_so_and_is_within_any_noise() -> None:
    found = compared(run(case(peak_allocated=5 * MIB)), run(case(peak_allocated=5 * MIB)))

    assert found.answer == "peak_allocated is the same in all runs, 5.00 MiB."
    assert is_within_noise(figure(found, "peak_allocated"), 0) is True


def test_conditions_are_matched_and_what_a_run_lacks_stays_empty() -> None:
    found = compared(run(case(20, peak_allocated=1.0), case(30, peak_allocated=2.0)), run(case(30, peak_allocated=2.5)))

    assert figure(found, "peak_allocated", "step_size_up 20").values == (1.0, None)
    assert figure(found, "peak_allocated", "step_size_up 30").differences == (0, 0.5)


def test_runs_that_are_not_comparable_are_named_with_what_differs() -> None:
    found = compared(run(case(peak_allocated=1.0)), run(case(peak_allocated=1.0), torch="2.12.0"))

    assert found.answer.startswith("Not comparable as they are: ")
    assert found.not_comparable == ("runs/2: torch 2.12.0 here, 2.13.0 in the baseline",)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=3000))
def test_a_thinned_curve_keeps_its_end_its_peak_and_its_limit(values: list[int]) -> None:
    x, y = _thinned(range(1, len(values) + 1), values)

    assert len(x) == len(y) <= MAX_POINTS
    assert x[-1] == len(values)
    assert max(y) == max(values)
    assert list(x) == sorted(set(x))
