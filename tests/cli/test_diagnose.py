"""`lrtool diagnose` from the command line: a workload, a snapshot, a finished run, and what can be wrong with each."""

import gzip
import pickle
from pathlib import Path
from typing import Any

import pytest

from tests import WORKLOADS
from tests.cli.test_replay import Hostile
from tests.conftest import Lrtool
from tests.memory.recordings import SNAPSHOTS, shared_snapshots

CASES = WORKLOADS / "diagnose_cases.py"
MIB = 2**20


@pytest.mark.painted
def test_a_workload_is_diagnosed_in_a_process_of_its_own(lrtool: Lrtool) -> None:
    outcome = lrtool("diagnose", f"{CASES}:kept_losses", "--steps", "50")
    lines = outcome.out.splitlines()

    assert outcome.code == 0, outcome.err
    assert lines[0].startswith("Losses or outputs are kept, with the graph behind them, diagnose_cases.py:")
    assert lines[-1] == "Wrote runs/0001-diagnose/budget.png. Next: lrtool report runs/0001-diagnose"
    assert all(len(line) <= 80 for line in lines[1:-1])
    again = lrtool("report", "last").out
    assert again.splitlines()[:-1] == lines[:-1]
    assert {"budget.png", "budget.svg", "budget.csv", "run.json"} <= {
        p.name for p in Path("runs/0001-diagnose").iterdir()
    }


def snapshot(**changed: Any) -> dict[str, Any]:
    """A process that held 60 MiB in a segment of 100 and asked for 64 more."""
    block = {"size": 60 * MIB, "requested_size": 60 * MIB, "state": "active_allocated"}
    rest = {"size": 40 * MIB, "requested_size": 0, "state": "inactive"}
    frames = [{"filename": "/home/me/train.py", "line": 7, "name": "step"}]
    plain: dict[str, Any] = {
        "segments": [{"address": 2**30, "total_size": 100 * MIB, "stream": 0, "segment_type": "large",
                      "is_expandable": False, "blocks": [block, rest]}],
        "device_traces": [[
            {"action": "segment_alloc", "addr": 2**30, "size": 100 * MIB, "stream": 0},
            {"action": "alloc", "addr": 2**30, "size": 100 * MIB, "stream": 0, "frames": frames},
            {"action": "free_requested", "addr": 2**30, "size": 100 * MIB, "stream": 0},
            {"action": "free_completed", "addr": 2**30, "size": 100 * MIB, "stream": 0},
            {"action": "alloc", "addr": 2**30, "size": 60 * MIB, "stream": 0, "frames": frames},
            {"action": "oom", "device_free": 30 * MIB, "size": 64 * MIB, "stream": 0, "frames": frames},
        ]],
        "allocator_settings": {"PYTORCH_CUDA_ALLOC_CONF": "", "expandable_segments": False, "max_split_size": -1},
    }  # fmt: skip
    return {**plain, **changed}


@pytest.mark.painted
def test_a_snapshot_says_of_what_it_died(lrtool: Lrtool, tmp_path: Path) -> None:
    (tmp_path / "oom.pickle").write_bytes(pickle.dumps(snapshot()))
    outcome = lrtool("diagnose", "--snapshot", tmp_path / "oom.pickle", "--json")
    first = outcome.json["findings"][0]

    assert (outcome.code, first["cause"]) == (0, "split-fragmentation")
    assert "the failing request asked for 64.0 MiB: largest free piece 40.0 MiB, all free 70.0 MiB" in first["evidence"]
    assert outcome.json["origin"] == "snapshot"
    budget = outcome.json["budget"]
    assert sum(line["num_bytes"] for line in budget["lines"]) == budget["reserved_bytes"]


def test_an_option_asked_for_and_not_in_force_is_seen_in_a_snapshot(
    lrtool: Lrtool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    (tmp_path / "oom.pickle").write_bytes(pickle.dumps(snapshot()))
    first = lrtool("diagnose", "--snapshot", tmp_path / "oom.pickle", "--json").json["findings"][0]

    assert first["cause"] == "option-not-in-force"
    assert first["evidence"] == ["expandable_segments:True was asked for, in force is False"]


def test_what_others_held_of_a_known_card_is_seen_in_a_snapshot(lrtool: Lrtool, tmp_path: Path) -> None:
    (tmp_path / "oom.pickle").write_bytes(pickle.dumps(snapshot()))
    first = lrtool("diagnose", "--snapshot", tmp_path / "oom.pickle", "--capacity", "t4", "--json").json["findings"][0]

    assert first["cause"] == "other-process"


@pytest.mark.painted
@pytest.mark.parametrize("path", [*SNAPSHOTS, *shared_snapshots()])
def test_real_snapshots_are_read(lrtool: Lrtool, path: Path) -> None:
    outcome = lrtool("diagnose", "--snapshot", path, "--json")

    assert outcome.code == 0, outcome.err
    assert outcome.json["findings"][0]["cause"] == "none"
    budget = outcome.json["budget"]
    assert sum(line["num_bytes"] for line in budget["lines"]) == budget["reserved_bytes"]


@pytest.mark.painted
def test_a_finished_sweep_is_diagnosed_without_running_it_again(lrtool: Lrtool) -> None:
    lrtool("mem-sweep", f"{CASES}:retained_graphs", "--step-sizes", "20,30", "--capacity", "90MiB")
    outcome = lrtool("diagnose", "last", "--json")
    first = outcome.json["findings"][0]

    assert (first["cause"], first["confidence"]) == ("retained-graph", "high")
    assert "kept.append(loss)" in first["source"]
    assert outcome.json["origin"] == "run"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--snapshot", "absent.pickle"], 2, "absent.pickle"),
        (["--snapshot", "hostile.pickle.gz"], 2, "hostile.pickle.gz"),
        (["digits", "--snapshot", "absent.pickle"], 2, "do not go together"),
        (["digits", "--gpu", "rtx9999"], 2, "rtx9999"),
        (["digits", "--capacity", "lots"], 2, "lots"),
        (["digits", "--settings", "max_split_size:1"], 2, "max_split_size"),
        (["digits", "--steps", "0"], 2, "--steps"),
        (["absent.py"], 2, "absent.py"),
        (["17"], 2, "17"),
        (["digits", "--recorder", "cuda"], 4, "CUDA"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_be_diagnosed_is_told(lrtool: Lrtool, arguments: list[str], code: int, message: str) -> None:
    Path("hostile.pickle.gz").write_bytes(gzip.compress(pickle.dumps(Hostile()), mtime=0))
    outcome = lrtool("diagnose", *arguments)
    lines = outcome.err.splitlines()

    assert outcome.code == code, outcome.err
    assert [line.partition(" ")[0] for line in lines[-2:]] == ["error:", "hint:"]
    assert message in lines[-2]
    assert not Path("runs").exists() or not list(Path("runs").iterdir())
    assert not Path("executed").exists()
