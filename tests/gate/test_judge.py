"""Limits held against hand-made summaries: what holds, by how much, what is not comparable, and what is named."""

from dataclasses import replace
from typing import Any

import pytest

from lrtool.errors import UsageError
from lrtool.gate.judge import Baseline, check
from lrtool.gate.limits import Kind, parse_limit
from lrtool.results import Case, Check, Figure, GrowthSource, PeakShare, RunSummary

MIB = 2**20
FACTS = {"recorder": "predicted", "target": "model.py", "GPU": "h100", "torch": "2.13.0"}


def case(size: int = 20, *, status: Any = "ok", trouble: str | None = None, **figures: Figure | float) -> Case:
    return Case(
        condition={"step_size_up": str(size), "settings": "default"},
        status=status,
        trouble=trouble,
        figures={n: f if isinstance(f, Figure) else Figure(value=f) for n, f in figures.items()},
    )


def run(*cases: Case, **facts: str) -> RunSummary:
    return RunSummary(
        command="mem-sweep", created="2026-01-01T00:00:00+00:00", lrtool="0.1.0", facts={**FACTS, **facts}, cases=cases
    )


def held(summary: RunSummary, *limits: str, kind: Kind = "max") -> Check:
    return check(summary, [parse_limit(limit, kind) for limit in limits])


def against(summary: RunSummary, before: RunSummary, *limits: str, allow_different: bool = False) -> Check:
    baseline = Baseline(name="memory-baseline.json", summary=before, allow_different=allow_different)
    return check(summary, [parse_limit(limit, "increase") for limit in limits], baseline)


def verdicts(found: Check) -> list[tuple[str, str, float | None]]:
    return [(line.metric, line.verdict, line.margin) for line in found.lines]


def test_limit_measured_and_margin() -> None:
    found = held(run(case(peak_allocated=12 * MIB, peak_reserved=20 * MIB)), "14MiB", "peak_reserved=16MiB")

    assert verdicts(found) == [("peak_allocated", "ok", 2 * MIB), ("peak_reserved", "over", -4 * MIB)]
    assert found.passed is False
    assert found.answer == "Failed: peak_reserved is 20.0 MiB, 4.00 MiB above its limit of 16.0 MiB."


def test_exactly_at_the_limit_holds() -> None:
    assert held(run(case(peak_allocated=14 * MIB)), "14MiB").answer == "Passed: the limit holds."


def test_of_several_conditions_the_worst_one_is_told() -> None:
    found = held(run(case(20, peak_allocated=3.0), case(30, peak_allocated=9.0), case(40, peak_allocated=5.0)), "4B")

    assert found.answer == "Failed: peak_allocated at step_size_up 30 is 9 B, 5 B above its limit of 4 B."


def test_gating_on_reserved_says_that_it_is_noisy() -> None:
    summary = run(case(peak_allocated=1.0, peak_reserved=2.0))

    assert any("sglang#38172" in note for note in held(summary, "peak_reserved=5B").notes)
    assert held(summary, "peak_allocated=5B").notes == ()


@pytest.mark.parametrize(
    ("rate", "noise", "verdict"),
    [(0, 0, "ok"), (3, 5, "ok"), (3, 3, "ok"), (3, 1, "over"), (3_753_903, 0, "over"), (-5, 1, "ok")],
)
def test_growth_exceeds_a_limit_only_with_its_whole_interval(rate: float, noise: float, verdict: str) -> None:
    found = held(run(case(growth=Figure(value=rate, noise=noise))), "growth=0")

    assert found.lines[0].verdict == verdict


def test_the_peak_of_a_run_that_died_is_not_below_any_limit() -> None:
    found = held(run(case(status="oom", trouble="out of memory at step 9 of 40", peak_allocated=7.0)), "14GiB")

    assert found.passed is False
    assert "out of memory at step 9 of 40" in found.answer


def test_what_was_not_measured_is_neither_passed_nor_failed() -> None:
    failed = case(30, status="failed", trouble="failed: KeyError: 'x'")

    assert held(run(case(20, peak_allocated=1.0), failed), "2B").passed is None
    assert held(run(case(20, peak_allocated=3.0), failed), "2B").passed is False
    assert held(run(failed), "2B").answer == "Not measured: peak_allocated: failed: KeyError: 'x'."


def test_a_range_test_without_a_suggestion_does_not_reach_any_lr() -> None:
    summary = replace(run(case(best_loss=0.4)), command="range-test")
    found = held(summary, "max_lr=0.01", kind="min")

    assert found.passed is False
    assert "no suggestion" in found.answer
    assert held(replace(run(case(best_loss=0.4, max_lr=0.02)), command="range-test"), "max_lr=0.01", kind="min").passed


def test_limits_for_other_commands_are_left_out_and_named() -> None:
    found = held(run(case(peak_allocated=1.0)), "2B", "best_loss=0.5")

    assert [line.metric for line in found.lines] == ["peak_allocated"]
    assert found.notes == ("not held: `lrtool mem-sweep` does not measure best_loss",)
    with pytest.raises(UsageError, match="does not measure best_loss"):
        held(run(case(peak_allocated=1.0)), "best_loss=0.5")


def test_an_increase_is_a_share_of_the_baseline_or_an_amount() -> None:
    now, before = run(case(peak_allocated=106 * MIB)), run(case(peak_allocated=100 * MIB))

    assert verdicts(against(now, before, "peak_allocated:5%")) == [("peak_allocated", "over", -1 * MIB)]
    assert verdicts(against(now, before, "peak_allocated:10MiB")) == [("peak_allocated", "ok", 4 * MIB)]
    assert against(now, before, "5%").answer == (
        "Failed: peak_allocated went from 100 MiB to 106 MiB, 1.00 MiB above the +5% that are allowed."
    )


def test_a_baseline_alone_holds_the_peak_to_one_percent_and_growth_to_nothing() -> None:
    before = run(case(peak_allocated=100 * MIB, growth=0.0))

    assert against(run(case(peak_allocated=101 * MIB, growth=0.0)), before).passed is True
    assert against(run(case(peak_allocated=102 * MIB, growth=0.0)), before).passed is False
    assert against(run(case(peak_allocated=100 * MIB, growth=1024.0)), before).passed is False


def test_a_rise_within_the_noise_of_repeats_is_none() -> None:
    before = run(case(peak_allocated=100 * MIB))
    noisy = run(case(peak_allocated=Figure(value=110 * MIB, noise=12 * MIB)))
    found = against(noisy, before, "5%")

    assert found.lines[0].verdict == "ok"
    assert found.lines[0].reason == "within the noise: repeats differ by 12.0 MiB"


@pytest.mark.parametrize(
    ("fact", "value"),
    [("GPU", "rtx4090"), ("torch", "2.12.0"), ("recorder", "cuda"), ("allocator variable", "backend:cudaMallocAsync")],
)
def test_another_gpu_torch_recorder_or_allocator_is_not_comparable(fact: str, value: str) -> None:
    now, before = run(case(peak_allocated=9.0), **{fact: value}), run(case(peak_allocated=1.0))
    found = against(now, before, "5%")

    assert found.passed is None
    assert found.answer.startswith(f"Not comparable: {fact} {value} here, ")
    assert [difference.fact for difference in found.differences] == [fact]

    allowed = against(now, before, "5%", allow_different=True)
    assert allowed.passed is False
    assert any(fact in note for note in allowed.notes)


def test_a_limit_that_needs_no_baseline_still_says_no_where_the_runs_are_not_comparable() -> None:
    baseline = Baseline(name="b.json", summary=run(case(peak_allocated=1.0), torch="2.12.0"))
    found = check(run(case(peak_allocated=9.0)), [parse_limit("5B", "max"), parse_limit("5%", "increase")], baseline)

    assert found.passed is False
    assert [line.verdict for line in found.lines] == ["over", "unknown"]


def test_cases_are_compared_with_those_of_the_same_condition() -> None:
    before = run(case(20, peak_allocated=100.0), case(30, peak_allocated=200.0))

    assert against(run(case(30, peak_allocated=200.0)), before).passed is True
    assert against(run(case(20, peak_allocated=150.0)), before).passed is False
    assert against(run(case(40, peak_allocated=1.0)), before).answer.startswith("Not comparable: conditions")


def test_one_condition_each_and_not_the_same_is_not_comparable() -> None:
    found = against(run(case(20, peak_allocated=1.0)), run(case(30, peak_allocated=1.0)))

    assert found.answer == "Not comparable: step_size_up 20 here, 30 in the baseline."


@pytest.mark.parametrize(
    ("here", "there", "same"),
    [("model.py", "src/model.py", True), ("a/model.py", "b/model.py", False), ("model.py", "the_model.py", False)],
)
def test_a_target_is_the_same_from_another_folder_of_the_project(here: str, there: str, same: bool) -> None:
    found = against(run(case(peak_allocated=1.0), target=here), run(case(peak_allocated=1.0), target=there))

    assert (found.passed is True) is same


def share(num_bytes: int, *, source: str = "model.py:41", line: str = "x = self.attention(x)") -> PeakShare:
    return PeakShare(category="activation", module="layers.3", source=source, line=line, num_bytes=num_bytes)


def test_what_grew_is_named_by_category_module_and_line() -> None:
    """The line has moved from 41 to 44 since; one that takes less is not named."""
    before = replace(case(peak_allocated=9.0), peak_shares=(share(4 * MIB), share(MIB, line="other")))
    now = replace(case(peak_allocated=12.0), peak_shares=(share(7 * MIB, source="model.py:44"), share(5, line="other")))
    grown = against(run(now), run(before), "1%").grown

    assert [(g.category, g.module, g.source, g.line, g.num_bytes, g.baseline_bytes) for g in grown] == [
        ("activation", "layers.3", "model.py:44", "x = self.attention(x)", 7 * MIB, 4 * MIB)
    ]


def test_without_a_baseline_what_takes_most_is_named() -> None:
    summary = run(replace(case(peak_allocated=9.0), peak_shares=(share(5), share(2, line="y"))))

    assert [(grown.num_bytes, grown.baseline_bytes) for grown in held(summary, "8B").grown] == [(5, None), (2, None)]
    assert held(summary, "10B").grown == ()


def test_what_piles_up_is_named_by_its_line() -> None:
    leak = GrowthSource(
        source="train.py:41", line="history.append(loss)", container="list 'history'", bytes_per_step=512.0
    )
    summary = run(replace(case(growth=512.0), growth_sources=(leak,)))
    grown = held(summary, "growth=0").grown

    assert [(g.what, g.source, g.line, g.num_bytes) for g in grown] == [
        ("step", "train.py:41", "history.append(loss)", 512.0)
    ]
