"""Held against PyTorch itself: recordings of its allocator, and snapshots of real GPU runs."""

from pathlib import Path

import pytest

from tests.memory.recordings import RECORDINGS, SNAPSHOTS, check_snapshot, first_difference, shared, shared_snapshots


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_every_answer_is_that_of_the_real_allocator(path: Path) -> None:
    assert first_difference(path) is None


@pytest.mark.parametrize("path", shared("allocator-golden", "*.json.gz"))
def test_all_recordings_agree(path: Path) -> None:
    assert first_difference(path) is None


@pytest.mark.parametrize("path", [*SNAPSHOTS, *shared_snapshots()])
def test_real_gpu_runs_are_reproduced(path: Path) -> None:
    check = check_snapshot(path)
    assert check.num_allocs > 0
    assert check.num_misplaced == 0
    assert check.num_wrong_segments == 0
    assert check.peak_reserved_bytes == check.recorded_peak_reserved_bytes


def test_a_snapshot_begun_with_an_empty_pool_has_no_start_state() -> None:
    trace = check_snapshot(SNAPSHOTS[0]).trace
    assert trace.start is None
    assert trace.warnings == ()
    assert trace.note(0).source == "trace_peak_memory.py:35"


def test_a_snapshot_begun_midway_says_what_it_starts_from() -> None:
    trace = check_snapshot(SNAPSHOTS[1]).trace
    assert trace.start is not None
    assert trace.start.reserved_bytes == 582 * 2**20
    assert trace.start.num_guessed_blocks == 0
    assert "recorded from the middle of a process: starts from 29 segments (582 MiB" in trace.warnings[0]
