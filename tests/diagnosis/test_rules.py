"""Findings from figures alone: what a GPU, another process or a snapshot tells."""

import shlex
from typing import Any

import pytest

from lrtool.diagnosis.rules import diagnose
from lrtool.diagnosis.run_figures import RunFigures
from lrtool.memory.growth import step_growth
from lrtool.results import Assumption, Oom, StepSeries

MIB, GIB = 2**20, 2**30


def series(
    allocated: list[int], reserved: list[int] | None = None, device_allocs: list[int] | None = None
) -> StepSeries:
    reserved = reserved or [max(allocated)] * len(allocated)
    zeros = (0,) * len(allocated)
    return StepSeries(
        allocated_bytes=tuple(allocated), active_bytes=tuple(allocated), reserved_bytes=tuple(reserved),
        inactive_split_bytes=zeros, requested_bytes=tuple(allocated), peak_allocated_bytes=tuple(allocated),
        num_alloc_retries=zeros, num_device_allocs=tuple(device_allocs or zeros),
    )  # fmt: skip


def figures(**changed: Any) -> RunFigures:
    steps = changed.pop("series", series([GIB] * 20))
    measured: dict[str, Any] = {
        "target": "model.py", "capacity_bytes": 4 * GIB, "recorder": "cuda", "is_traced": False, "series": steps,
        "growth": step_growth(steps.allocated_bytes), "peak_allocated_bytes": GIB, "peak_active_bytes": GIB,
        "peak_reserved_bytes": GIB + 40 * MIB,
    }  # fmt: skip
    return RunFigures(**{**measured, **changed})


DEATH = Oom(step=7, size_bytes=600 * MIB, cause="capacity")


def first(**changed: Any) -> str:
    return diagnose(figures(**changed))[0].cause


def test_a_steady_run_has_nothing_wrong() -> None:
    (finding,) = diagnose(figures())

    assert (finding.cause, finding.confidence) == ("none", "high")
    assert "26.0% of the capacity" in finding.evidence[0]


def test_measured_growth_is_named_without_a_line() -> None:
    (finding,) = diagnose(figures(series=series([GIB + step * MIB for step in range(20)])))

    assert (finding.cause, finding.confidence, finding.num_bytes) == ("retained-graph", "medium", MIB)
    assert "4.00 GiB are full at step 3,074, at this rate" in finding.evidence


def test_another_process_matters_where_memory_ran_out() -> None:
    assert first(other_processes_bytes=3 * GIB, oom=DEATH) == "other-process"
    assert first(other_processes_bytes=3 * GIB) == "none"
    assert first(other_processes_bytes=MIB, oom=DEATH) == "capacity"


def test_an_option_that_is_not_in_force_is_named() -> None:
    problem = "expandable_segments:True was asked for, in force is False"
    (finding,) = diagnose(figures(settings_problems=(problem,)))

    assert (finding.cause, finding.evidence) == ("option-not-in-force", (problem,))


@pytest.mark.parametrize(("varies", "cause"), [(True, "variable-shapes-fragmentation"), (False, "split-fragmentation")])
def test_reserved_memory_that_climbs_alone_is_fragmentation(varies: bool, cause: str) -> None:
    climbing = series([GIB] * 40, [GIB + step * 20 * MIB for step in range(40)], list(range(40)))
    (finding,) = diagnose(figures(series=climbing, peak_reserved_bytes=2 * GIB, request_sizes_vary=varies))

    assert (finding.cause, finding.confidence) == (cause, "high")
    assert "reserved memory climbs 20.0 MiB per step, active memory does not" in finding.evidence


def test_a_death_by_fragmentation_shows_the_request_and_the_pieces() -> None:
    death = Oom(step=9, size_bytes=256 * MIB, cause="fragmentation", largest_free_bytes=200 * MIB, free_bytes=700 * MIB)
    (finding,) = diagnose(figures(oom=death, peak_reserved_bytes=4 * GIB))

    assert finding.cause == "split-fragmentation"
    assert "the failing request asked for 256 MiB: largest free piece 200 MiB, all free 700 MiB" in finding.evidence


def test_memory_tied_to_side_streams_is_named() -> None:
    assert first(side_reserved_bytes=600 * MIB, side_free_bytes=500 * MIB) == "side-streams"
    assert first(side_reserved_bytes=600 * MIB, side_free_bytes=0) == "none"
    graph = Assumption(kind="capture", source=None, asked="a graph", taken="once", times=1)
    assert first(side_reserved_bytes=600 * MIB, side_free_bytes=500 * MIB, assumptions=(graph,)) == "none"


def test_an_old_run_in_a_cycle_is_named_by_what_is_unreachable() -> None:
    assert first(garbage_bytes=300 * MIB) == "old-run"
    assert first(garbage_bytes=MIB) == "none"
    assert first(step_garbage_bytes=30 * MIB) == "old-run"
    assert first(step_garbage_bytes=MIB) == "none"


def test_growth_outranks_the_last_straw() -> None:
    """Memory that grew until it was full did not die of the pieces in which the last of it lay."""
    steps = series([GIB + step * MIB for step in range(20)])
    died = Oom(step=21, size_bytes=600 * MIB, cause="fragmentation", largest_free_bytes=400 * MIB, free_bytes=700 * MIB)
    (finding,) = diagnose(figures(series=steps, oom=died))

    assert finding.cause == "retained-graph"
    assert finding.evidence[-1].startswith("at the request that failed, the free memory would still have been enough")


def test_a_cause_of_no_bytes_is_none() -> None:
    """A run of which nothing is known but that it died."""
    unknown = {"peak_allocated_bytes": 0, "peak_active_bytes": 0, "peak_reserved_bytes": 0, "growth": None}
    for oom in (None, DEATH, Oom(step=0, size_bytes=None, cause=None)):
        found = diagnose(figures(series=series([0] * 3), oom=oom, **unknown))
        assert [each.cause for each in found] == ["none" if oom is None else "capacity"]


def test_proofs_of_programs_are_commands() -> None:
    grown = series([GIB + step * MIB for step in range(20)])
    for changed in ({"series": grown}, {"oom": DEATH}, {}):
        (finding,) = diagnose(figures(target="my models/model.py:build", **changed))
        command = shlex.split(finding.proof, comments=True)
        assert command[0] == "lrtool"
        assert command[2] == "my models/model.py:build"
        assert not any(word.endswith(":") for word in command)
