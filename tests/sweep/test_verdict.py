"""What the verdict says over trials whose truth is known, and over every mixture of endings."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest

from lrtool.results import GrowthSource, StepSeries, Trial, TrialStatus, Verdict
from lrtool.sweep.verdict import conclude_sweep
from tests.sweep.made_trials import GIB, MIB, condition, steps_of, trial

RATE = 3_753_903
BASE = 560 * MIB
LEAK = GrowthSource(
    source="train.py:41", line="history.append(loss)", container="list 'history'", bytes_per_step=float(RATE)
)


def concluded(runs: Sequence[tuple[Trial, StepSeries | None]], capacity: int | None = None) -> Verdict:
    series = {trial.number: steps for trial, steps in runs if steps is not None}
    return conclude_sweep([trial for trial, _ in runs], series, capacity_bytes=capacity)


def leaky(number: int, step_size: int, capacity: int) -> tuple[Trial, StepSeries]:
    lasting = (capacity - BASE) // RATE
    steps = steps_of([BASE + RATE * step for step in range(1, min(2 * step_size, lasting) + 1)])
    status: TrialStatus = "ok" if 2 * step_size <= lasting else "oom"
    return trial(number, condition(step_size), steps, sources=(LEAK,), status=status, request=4 * MIB), steps


def flat(number: int, step_size: int, level: int = BASE, **more: object) -> tuple[Trial, StepSeries]:
    steps = steps_of([level] * (2 * step_size), within=64 * MIB)
    return trial(number, condition(step_size), steps, **more), steps  # type: ignore[arg-type]


def test_the_story() -> None:
    verdict = concluded([leaky(n, size, 24 * GIB) for n, size in enumerate((2500, 3000, 3500))], 24 * GIB)

    assert verdict.text == (
        "Predicted: the step size does not matter, how many steps are taken does: at equal step numbers the three runs "
        "use the same memory, byte for byte; allocated memory grows 3.58 MiB per step, from train.py:41 "
        "history.append(loss); 24.0 GiB are full at step 6,709: after the 3000 run has ended (6,000 steps) and before "
        "the 3500 run has (7,000)."
    )
    assert verdict.step_size_matters is False
    assert verdict.max_abs_difference_at_equal_steps_bytes == 0
    assert verdict.growth_bytes_per_step == RATE
    assert verdict.growth_source == "train.py:41 history.append(loss)"
    assert verdict.forecast_step == (24 * GIB - BASE) // RATE + 1
    assert (verdict.ends_before, verdict.ends_after) == ((2500, 3000), (3500,))
    assert any("list 'history'" in line for line in verdict.evidence)


def test_what_the_same_line_keeps_is_told_together() -> None:
    first, steps = leaky(0, 250, 24 * GIB)
    parts = tuple(
        GrowthSource(source="train.py:41", line=line, container=None, bytes_per_step=rate)
        for line, rate in ((None, 3e6), ("history.append(loss)", 1e5))
    )
    other = GrowthSource(source="train.py:9", line="x", container=None, bytes_per_step=3.05e6)

    verdict = concluded([(replace(first, growth_sources=(other, *parts)), steps)])

    assert verdict.growth_source == "train.py:41 history.append(loss)"


def test_the_forecast_from_runs_that_all_survived_is_the_step_of_death() -> None:
    ran_out = concluded([leaky(0, 3500, 24 * GIB)], 24 * GIB)
    survived = concluded([leaky(n, size, 24 * GIB) for n, size in enumerate((2500, 3000))], 24 * GIB)

    assert survived.forecast_step == ran_out.forecast_step
    assert (survived.ends_before, survived.ends_after) == ((2500, 3000), ())
    assert "after all of these runs have ended" in survived.text


def test_equal_flat_runs() -> None:
    verdict = concluded([flat(n, size) for n, size in enumerate((25, 30, 35))], 24 * GIB)

    assert verdict.text == (
        "Predicted: the step size does not matter: at equal step numbers the three runs use the same memory, byte for "
        "byte; allocated memory does not grow."
    )
    assert (verdict.growth_bytes_per_step, verdict.growth_source, verdict.forecast_step) == (0, None, None)
    assert verdict.evidence[0] == (
        "equal steps: largest difference 0 B, over up to 60 shared steps of three pairs of runs"
    )


def test_a_difference_beyond_the_noise_matters_and_one_within_does_not() -> None:
    repeats = [flat(0, 25), flat(1, 25, BASE + MIB, repeat=1)]

    within = concluded([*repeats, flat(2, 30, BASE + MIB)])
    assert (within.step_size_matters, within.noise_bytes) == (False, MIB)
    assert within.max_abs_difference_at_equal_steps_bytes == MIB
    assert "differ by at most 1.00 MiB, no more than repeats of one run do (1.00 MiB)" in within.text

    beyond = concluded([*repeats, flat(2, 30, BASE + 3 * MIB)])
    assert beyond.step_size_matters is True
    assert beyond.max_abs_difference_at_equal_steps_bytes == 3 * MIB
    assert "the step size matters, at equal step numbers the 25 and the 30 run differ by 3.00 MiB" in beyond.text


def test_without_repeats_a_hundredth_of_the_peak_is_the_bound() -> None:
    near, far = (
        concluded([flat(0, 25), flat(1, 30, BASE + MIB)]),
        concluded([flat(0, 25), flat(1, 30, BASE + 99 * MIB)]),
    )

    assert (near.step_size_matters, near.noise_bytes) == (False, None)
    assert "differ by at most 1.00 MiB, 0.16% of the peak" in near.text
    assert far.step_size_matters is True
    assert any("--repeats 2" in line for line in near.evidence)


def test_a_difference_at_a_single_step_is_found() -> None:
    level = [BASE] * 60
    spike = [*level[:17], BASE + GIB, *level[18:]]
    runs = [(trial(n, condition(30 + n), steps_of(s)), steps_of(s)) for n, s in enumerate((level, spike))]

    verdict = concluded(runs)

    assert verdict.step_size_matters is True
    assert "step 18" in verdict.text


def test_another_seed_is_not_compared_between_step_sizes() -> None:
    runs = [flat(0, 25, seed=0), flat(1, 25, BASE + MIB, repeat=1, seed=1), flat(2, 30, seed=0),
            flat(3, 30, BASE + MIB, repeat=1, seed=1)]  # fmt: skip

    verdict = concluded(runs)

    assert verdict.max_abs_difference_at_equal_steps_bytes == 0
    assert verdict.noise_bytes == MIB


def test_settings_that_were_not_given_are_called_default() -> None:
    steps = [steps_of([BASE] * 50, within=each * MIB) for each in (0, 16)]
    settings = ("", "expandable_segments:True")
    runs = [(trial(n, condition(25, settings=settings[n]), each), each) for n, each in enumerate(steps)]

    assert "settings does matter: from default to expandable_segments:True" in concluded(runs).text


def test_another_axis_matters_and_by_how_much() -> None:
    runs = []
    for number, (size, batch) in enumerate(itertools.product((25, 30), (64, 128))):
        steps = steps_of([BASE] * 50, within=batch * MIB)
        runs.append((trial(number, condition(size, batch_size=batch), steps), steps))

    verdict = concluded(runs)

    assert verdict.step_size_matters is False
    assert verdict.max_abs_difference_at_equal_steps_bytes == 0
    assert verdict.text.endswith("batch_size does matter: from 64 to 128 peak allocated rises by 64.0 MiB.")
    assert sum(line.startswith("growth of batch_size") for line in verdict.evidence) == 2


def test_batch_sizes_of_which_one_dies_at_once_leave_the_story_to_the_other() -> None:
    small = steps_of([BASE + RATE * step for step in range(200)])
    runs: list[tuple[Trial, StepSeries | None]] = [
        (trial(0, condition(100, batch_size=8), small, sources=(LEAK,)), small),
        (trial(1, condition(100, batch_size=999), None, status="oom"), None),
    ]

    verdict = concluded(runs, 24 * GIB)

    assert verdict.forecast_step is not None
    assert verdict.forecast_step > 6000
    assert any("run 1 (step size 100): out of memory at step 1" in line for line in verdict.evidence)


def test_out_of_memory_at_the_first_step_has_nothing_to_do_with_the_step_size() -> None:
    runs = [(trial(n, condition(s), None, status="oom", request=GIB), None) for n, s in enumerate((25, 30))]

    verdict = concluded(runs, 4 * GIB)

    assert verdict.step_size_matters is None
    assert verdict.forecast_step == 1
    assert (verdict.ends_before, verdict.ends_after) == ((), (25, 30))
    assert "a single step does not fit into 4.00 GiB" in verdict.text
    assert "asking for 1.00 GiB" in verdict.evidence[-1]


def test_when_all_failed_the_reason_is_told() -> None:
    runs = [
        (trial(n, condition(s), None, status="failed", message="KeyError: 'x'"), None) for n, s in enumerate((5, 6))
    ]

    verdict = concluded(runs)

    assert verdict.step_size_matters is None
    assert verdict.text == (
        "Predicted: nothing is known about memory: no step was finished, two runs failed (KeyError: 'x')."
    )


def test_one_run_says_nothing_about_the_step_size() -> None:
    verdict = concluded([flat(0, 25)])

    assert verdict.step_size_matters is None
    assert verdict.max_abs_difference_at_equal_steps_bytes is None
    assert "one step size (25) says nothing about whether it matters" in verdict.text


def test_a_death_that_another_run_got_past_is_not_blamed_on_the_steps() -> None:
    steps = steps_of([BASE] * 4)
    verdict = concluded([flat(0, 25), (trial(1, condition(30), steps, status="oom"), steps)], GIB)

    assert verdict.forecast_step is None
    assert "the 30 run ran out of memory at step 5, which the 25 run got past" in verdict.text


def test_memory_that_is_full_without_growth_tells_the_step() -> None:
    steps = steps_of([BASE] * 55)
    verdict = concluded([flat(0, 25), (trial(1, condition(30), steps, status="oom"), steps)], GIB)

    assert verdict.forecast_step == 56
    assert "1.00 GiB are full at step 56: after the 25 run has ended (50 steps)" in verdict.text


def test_fragmentation_growth_is_named() -> None:
    runs = []
    for number, size in enumerate((25, 30)):
        steps = steps_of([BASE] * 2 * size, reserved=[GIB + 2 * MIB * step for step in range(2 * size)])
        runs.append((trial(number, condition(size), steps), steps))

    assert "reserved memory climbs 2.00 MiB per step while active memory is flat" in concluded(runs).text


def test_later_repeats_that_peak_higher_are_evidence_of_leftovers() -> None:
    runs = [flat(n, 25, BASE + n * MIB, repeat=n) for n in range(3)]

    lines = concluded(runs).evidence

    assert any(
        "of three pairs of repeats that differ, the later one peaks higher in 3 of them" in line for line in lines
    )


def test_measured_figures_are_called_measured() -> None:
    assert concluded([flat(0, 25, recorder="cuda")]).text.startswith("Measured: ")
    assert concluded([flat(0, 25, recorder="cpu")]).text.startswith("Predicted from a CPU run: ")
    assert concluded([]).text == "Nothing was run."


STATUSES: tuple[TrialStatus, ...] = ("ok", "oom", "failed", "killed", "timeout", "interrupted")


@pytest.mark.parametrize("capacity", [None, 24 * GIB])
@pytest.mark.parametrize("num_steps", [0, 1, 2, 12])
def test_every_mixture_of_endings_has_a_verdict(num_steps: int, capacity: int | None) -> None:
    for mixture in itertools.product(STATUSES, repeat=3):
        runs = []
        for number, status in enumerate(mixture):
            steps = steps_of([BASE] * (30 if status == "ok" else num_steps))
            has_steps = status == "ok" or num_steps > 0
            made = trial(number, condition(15 + number), steps if has_steps else None, status=status, num_steps=30)
            runs.append((made, steps))
        verdict = concluded(runs, capacity)
        assert verdict.text.endswith(".")
        assert "None" not in verdict.text
        assert sum(" (step size " in line for line in verdict.evidence) == sum(s != "ok" for s in mixture)
        assert set(verdict.ends_before).isdisjoint(verdict.ends_after)


def test_growth_is_the_cause_of_death_and_the_last_hole_a_footnote() -> None:
    """3.58 MiB a step fill 1 GiB; the request that failed happened to find the rest in pieces."""
    grown = steps_of([BASE + RATE * step for step in range(200)])
    dead = trial(0, condition(100), grown, status="oom", request=512 * 2**10)
    assert dead.death is not None
    dead = replace(dead, death=replace(dead.death, cause="fragmentation"))
    (line,) = (each for each in concluded([(dead, grown)], GIB).evidence if each.startswith("run 0"))

    assert "; cause: growth of" in line
    assert "cause: fragmentation" not in line
    assert line.endswith("(at that request, the free memory would still have been enough in one piece)")


def test_without_growth_the_last_request_tells_the_cause() -> None:
    steps = steps_of([BASE] * 55)
    dead = trial(0, condition(100), steps, status="oom")
    assert any("; cause: capacity" in each for each in concluded([(dead, steps)], GIB).evidence)
