"""Predictions of whole programs stay as close to what real GPU runs took as the table in RESULTS.md says."""

from pathlib import Path

import pytest

from benchmarks.request_differences import Request, differences
from benchmarks.snapshot_prediction import compare
from benchmarks.snapshot_runs import RUNS, SnapshotRun
from benchmarks.snapshot_truth import read_reduced, truth_of, write_reduced
from lrtool.memory.replay.replay import Scenario
from tests import DATA

TRUTHS = DATA / "snapshot_truth.json.gz"
QUICK = (
    "attention alone, 4096 tokens, full step, fp32",
    "small, 100 tokens, forward, fp32",
    "small, 150 tokens, full step, fp32",
    "narrow, 128 tokens, forward, bf16",
)
"""Those that are traced in seconds; `python benchmarks/snapshot_prediction.py tests/data/snapshot_truth.json.gz` does all."""
LARGEST_ERROR = {"fp32": 0.001, "bf16": 0.005}
"""The casts that autocast keeps are freed in the order of their addresses, which no two runs share."""


def run_of(label: str) -> SnapshotRun:
    return next(run for run in RUNS if run.label == label)


@pytest.mark.parametrize("label", QUICK)
def test_predicted_peaks_are_those_of_the_real_run(label: str) -> None:
    run = run_of(label)
    outcome = compare(run, read_reduced(TRUTHS)[run.file])

    largest_error = LARGEST_ERROR[label.split(", ")[-1]]
    assert abs(outcome.error("allocated_bytes")) <= largest_error
    assert abs(outcome.error("reserved_bytes")) <= largest_error
    assert abs(outcome.fragmentation_error) <= largest_error
    assert outcome.num_differing(missing=False) == 0
    assert sum(each.count * each.size_bytes for each in outcome.differences) <= 64 * 1024
    assert len(outcome.truth.requests) - outcome.num_requests == outcome.num_differing(missing=True)


def test_every_program_has_its_truth() -> None:
    assert set(read_reduced(TRUTHS)) == {run.file for run in RUNS}


def test_a_truth_is_reduced_without_loss_of_peaks_and_requests(tmp_path: Path) -> None:
    run = run_of(QUICK[0])
    truth = truth_of(DATA / "snapshots" / "begun_empty.pickle.gz", Scenario(version=run.version))
    write_reduced(tmp_path / "reduced", [truth])

    reduced = read_reduced(tmp_path / "reduced")[truth.name]

    assert reduced.peaks == truth.peaks == read_reduced(TRUTHS)[run.file].peaks
    assert [each.size_bytes for each in reduced.requests] == [each.size_bytes for each in truth.requests]
    assert sum(each.size_bytes for each in truth.requests) > truth.peaks.allocated_bytes


def test_differences_tell_what_is_lacking_and_what_is_too_many() -> None:
    true = [Request(size_bytes=size, place=("here",)) for size in (1024, 2048, 2048, 4096, 8)]

    lacking, invented = differences(true, [(1024, "mm"), (4096, "add"), (1536, "mul")])

    assert (lacking.is_missing, lacking.operator, lacking.size_bytes, lacking.count) == (True, "add", 2048, 2)
    assert lacking.place == ("here",)
    assert (invented.is_missing, invented.operator, invented.size_bytes, invented.count) == (False, "mul", 1536, 1)
