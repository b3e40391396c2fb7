"""Snapshots as people have them, from the command line: several devices, no history, an out-of-memory, other settings."""

import pickle
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_diagnose import snapshot
from tests.conftest import Lrtool
from tests.memory.odd_snapshots import BASE, FRAMES, MIB, block, event, segment

LIVE, FREE = "active_allocated", "inactive"


def write(data: Any, name: str = "made.pickle") -> Path:
    path = Path(name)
    path.write_bytes(pickle.dumps(data, protocol=4))
    return path


def without_history() -> dict[str, Any]:
    """12 MiB live in a segment of 20, of a line; 30 MiB cached."""
    live = block(12 * MIB, 12 * MIB, LIVE, BASE) | {"frames": FRAMES}
    other = BASE + 2**40
    return {
        "segments": [
            segment(BASE, live, block(8 * MIB, 0, FREE, BASE + 12 * MIB)),
            segment(other, block(30 * MIB, 0, FREE, other)),
        ],
        "device_traces": [[]],
    }


def warm() -> dict[str, Any]:
    """16 MiB live in a segment of 20 when it begins; then 20 more come and go, in a segment of their own."""
    new = BASE + 2**40
    return {
        "segments": [
            segment(BASE, block(16 * MIB, 16 * MIB, LIVE, BASE), block(4 * MIB, 0, FREE, BASE + 16 * MIB)),
            segment(new, block(20 * MIB, 0, FREE, new)),
        ],
        "device_traces": [
            [
                event("segment_alloc", new, 20 * MIB),
                event("alloc", new, 20 * MIB),
                event("free_requested", new, 20 * MIB),
                event("free_completed", new, 20 * MIB),
            ]
        ],
    }


def words(text: str) -> str:
    return " ".join(text.split())


def test_an_out_of_memory_on_a_quieter_device_is_what_is_told(lrtool: Lrtool) -> None:
    data = snapshot()
    quiet = [event("segment_alloc", 2**40, 20 * MIB), *(event("alloc", 2**40 + n * MIB, MIB) for n in range(9))]
    data["device_traces"] = [quiet, *data["device_traces"]]
    data["segments"][0]["device"] = 1
    found = lrtool("diagnose", "--snapshot", write(data), "--json").json

    assert found["findings"][0]["cause"] == "split-fragmentation"
    assert [(each["device"], each["runs_out"]) for each in found["devices"]] == [("cuda:0", False), ("cuda:1", True)]
    assert any("cuda:1 is told" in note for note in found["notes"])


def test_without_history_the_segments_are_told_and_nothing_is_made_up(lrtool: Lrtool) -> None:
    outcome = lrtool("diagnose", "--snapshot", write(without_history()))
    found = lrtool("diagnose", "--snapshot", write(without_history()), "--json").json
    evidence = found["findings"][0]["evidence"]

    assert [each["cause"] for each in found["findings"]] == ["no-history"]
    assert "cannot tell what led here" in found["verdict"]
    assert evidence[0] == "50.0 MiB reserved in 2 segments, 12.0 MiB of it active"
    assert evidence[1] == "38.0 MiB free, 8.00 MiB of it split; largest free piece 30.0 MiB"
    assert evidence[2] == "the largest blocks: 12.0 MiB from train.py:41"
    assert "at the snapshot" in outcome.out
    budget = found["budget"]
    assert sum(line["num_bytes"] for line in budget["lines"]) == budget["reserved_bytes"] == 50 * MIB


def test_without_history_what_is_live_is_held_against_a_capacity(lrtool: Lrtool) -> None:
    causes = [
        each["cause"]
        for each in lrtool("diagnose", "--snapshot", write(without_history()), "--capacity", "10MiB", "--json").json[
            "findings"
        ]
    ]
    assert causes == ["capacity", "no-history"]
    assert lrtool("replay", "made.pickle").out.startswith("There is no history to replay")


@pytest.mark.parametrize(
    "events",
    [
        [{"action": "oom", "device_free": 0, "size": 64 * MIB, "stream": 0, "frames": FRAMES}],
        [{"action": "oom", "device_free": 70 * MIB, "size": 64 * MIB, "stream": 0}],
        [{"action": "oom", "device_free": 64 * MIB, "size": 64 * MIB, "stream": 0}, event("alloc", 2**40, 0)],
    ],
)
def test_an_out_of_memory_is_never_nothing_nor_a_cause_of_no_bytes(lrtool: Lrtool, events: Any) -> None:
    data = {"segments": [], "device_traces": [events]}
    found = lrtool("diagnose", "--snapshot", write(data), "--json").json["findings"]

    assert found[0]["cause"] in ("capacity", "split-fragmentation")
    assert all(each["num_bytes"] != 0 for each in found)
    assert not any("step 0" in line for each in found for line in each["evidence"])


@pytest.mark.parametrize("data", [snapshot(), without_history(), warm()], ids=["oom", "no history", "warm"])
def test_proofs_can_be_run_as_they_stand(lrtool: Lrtool, data: Any) -> None:
    path = write(data, "with a space.pickle")
    for finding in lrtool("diagnose", "--snapshot", path, "--json").json["findings"]:
        command = shlex.split(finding["proof"], comments=True)
        if command[0] == "lrtool":
            assert lrtool(*command[1:]).code == 0


def test_the_budget_names_its_moment(lrtool: Lrtool) -> None:
    assert "at the recorded out-of-memory: request 4 of 5" in lrtool("diagnose", "--snapshot", write(snapshot())).out
    assert "at the peak: request 1 of 2" in lrtool("diagnose", "--snapshot", write(warm())).out


def test_a_replay_of_a_recording_that_ran_out_says_so(lrtool: Lrtool) -> None:
    outcome = lrtool("replay", write(snapshot()))
    recorded = lrtool("replay", "made.pickle", "--json").json["recorded_oom"]

    assert "The recording itself ran out of memory." in words(outcome.out)
    assert "asked for 64.0 MiB, with 100 MiB reserved and 30.0 MiB free on the device" in words(outcome.out)
    assert (recorded["source"], recorded["num_ooms"]) == ("train.py:7", 1)


def test_a_what_if_from_the_middle_of_a_run_is_played_from_an_empty_device_too(lrtool: Lrtool) -> None:
    outcome = lrtool("replay", write(warm()), "--settings", "expandable_segments:True", "--json")
    rows = outcome.json["rows"]

    assert [row["starts_from"] for row in rows] == ["a running process", "an empty pool"]
    assert outcome.json["best"] == 1
    assert rows[1]["peak_allocated_bytes"] == 36 * MIB
    assert any("nothing can be compared" in each for each in outcome.json["warnings"])
    same = lrtool("replay", "made.pickle", "--settings", "", "--json").json
    assert [row["starts_from"] for row in same["rows"]] == ["a running process"]
    assert not any("nothing can be compared" in each for each in same["warnings"])


def test_a_diagnosis_under_other_settings_says_that_nothing_can_be_compared(lrtool: Lrtool) -> None:
    notes = lrtool("diagnose", "--snapshot", write(warm()), "--settings", "expandable_segments:True", "--json").json[
        "notes"
    ]
    assert any("nothing can be compared" in note for note in notes)
