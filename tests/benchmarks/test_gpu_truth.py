"""Recording what training takes and holding predictions against it, rehearsed on the CPU."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_truth
from benchmarks.gpu_comparison import compare, missing_by_operator, true_trace
from benchmarks.gpu_recording import NUM_STEPS, CudaHistory, Machine, Truth, read_truth, record, write_truth
from benchmarks.gpu_workloads import REHEARSAL, WORKLOADS, find_workload
from lrtool.memory.replay.replay import replay

CPU = torch.device("cpu")
MIB = 2**20


def truth_of(events: list[tuple[int, int]], ends: list[int], **more: Any) -> Truth:
    fields: dict[str, Any] = {
        "name": "tiny_mlp", "split": "fit", "machine": Machine(torch="2.13.0"), "events": events, "stacks": [[]],
        "ends": ends, "stats": [], "used_bytes": {"before": None, "context": None, "end": None}, "duration_s": 1.0,
    }  # fmt: skip
    return Truth(**{**fields, **more})


def test_half_of_the_workloads_are_kept_from_fitting() -> None:
    names = [workload.name for workload in (*WORKLOADS, *REHEARSAL)]

    assert len(WORKLOADS) >= 30
    assert len(set(names)) == len(names)
    assert sum(workload.split == "table" for workload in WORKLOADS) * 2 == len(WORKLOADS)


def test_a_rehearsal_on_the_cpu_is_predicted(tmp_path: Path) -> None:
    recorded = record(find_workload("tiny_gpt"), device=CPU, used_before_bytes=None)
    truth = read_truth(write_truth(tmp_path, recorded))
    comparison = compare(truth)

    assert truth == recorded
    assert len(truth.ends) == NUM_STEPS + 1
    assert comparison.errors()["allocated_bytes"] == pytest.approx(0, abs=0.001)
    assert all(each.is_missing for each in comparison.differences)
    assert missing_by_operator([comparison])[0][:2] == ("cat", "lacks")


def test_the_allocators_trace_becomes_events_with_their_stacks() -> None:
    history = CudaHistory()
    frames = [{"filename": "/home/me/model.py", "line": 7, "name": "forward"}]
    history._trace = [
        {"action": "segment_alloc", "addr": 1, "size": 2 * MIB},
        {"action": "alloc", "addr": 1, "size": 700, "frames": frames},
        {"action": "alloc", "addr": 2, "size": 512, "frames": frames},
        {"action": "free_requested", "addr": 1, "size": 700},
        {"action": "free_completed", "addr": 1, "size": 700},
        {"action": "alloc", "addr": 1, "size": 900},
        {"action": "free_requested", "addr": 9, "size": 40},
    ]
    history._num_allocs = [1, 3]

    assert history.events() == (
        [(700, 1), (512, 1), (-700, 0), (900, 0), (-40, -1)], [[], ["model.py:7 forward"]], [1, 5]
    )  # fmt: skip


def test_frees_go_to_the_allocation_they_name() -> None:
    named = truth_of([(MIB, 0), (MIB, 0), (-MIB, 1), (-MIB, 0), (3 * MIB, 0)], ends=[1, 5])
    by_size = truth_of([(MIB, 0), (-MIB, -1), (2 * MIB, 0), (-5, -1)], ends=[1, 4])

    assert replay(true_trace(named)).peaks.requested_bytes == 3 * MIB
    assert replay(true_trace(by_size)).peaks.requested_bytes == 2 * MIB


def test_what_one_side_alone_asks_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = record(find_workload("tiny_mlp"), device=CPU, used_before_bytes=None)
    begin = recorded.ends[-2]
    extra = [*recorded.events[: begin + 1], (12345, 0), (-12345, begin + 1), *recorded.events[begin + 1 :]]
    changed = truth_of(extra, ends=[*recorded.ends[:-1], len(extra)])

    assert [(d.is_missing, d.size_bytes, d.count) for d in compare(changed).differences] == [(True, 12345, 1)]


def test_without_a_gpu_recording_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu_truth.py", "record", str(tmp_path / "out")])

    assert gpu_truth.main() == 4
    assert "there is no GPU here" in capsys.readouterr().out


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_workload_is_recorded_on_a_gpu() -> None:
    truth = record(find_workload("tiny_mlp"), device=torch.device("cuda"), used_before_bytes=None)

    assert len(truth.stats) == len(truth.ends) == NUM_STEPS + 1
    assert replay(true_trace(truth)).peaks.allocated_bytes == truth.stats[-1]["allocated_bytes.all.peak"]
