"""A GPU that is lent for minutes: the most telling first, each result whole on the disk as it ends, and no failure costs more
than itself; played through on the CPU.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_schedule
from benchmarks.gpu_cases import GROUPS
from benchmarks.gpu_recording import CASE_STEPS, case_path, read_case, record_case, write_case
from benchmarks.gpu_schedule import CONTEXT, MOST_TELLING, Part, parts, record_here, record_parts
from benchmarks.gpu_workloads import WORKLOADS

CPU = torch.device("cpu")
ROOT = Path(gpu_schedule.__file__).parents[1]


def python(code: str) -> Callable[[Part], list[str]]:
    """For every part a process of that code, with the part's name as its argument."""
    return lambda part: [sys.executable, "-c", code, part.name]


def played(folder: Path, code: str, *names: str, minutes: float = 1.0, limit_s: float = 30.0) -> tuple[int, list[str]]:
    """Parts whose processes run `code` in place of recording."""
    said: list[str] = []
    planned = [Part(name=name, limit_s=limit_s) for name in names]
    return record_parts(planned, folder, python(code), minutes=minutes, say=said.append), said


def writes(folder: Path) -> str:
    return f"import sys, pathlib; pathlib.Path({str(folder)!r}, sys.argv[1] + '.json.gz').touch(); print(sys.argv[1])"


def test_libraries_come_first_and_nothing_is_left_out() -> None:
    names = [part.name for part in parts(device="cuda")]

    assert names[:4] == [CONTEXT, "convolutions", "recurrent", "attention"]
    assert names[: len(MOST_TELLING)] == list(MOST_TELLING)
    assert sorted(names) == sorted([CONTEXT, *(set(GROUPS) - {"rehearsed"}), *(each.name for each in WORKLOADS)])


def test_each_layer_has_a_name_of_its_own() -> None:
    for group in GROUPS.values():
        names = [case.name for case in group()]
        assert len(set(names)) == len(names)


def test_what_fails_or_takes_too_long_costs_only_itself(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "if sys.argv[1] == 'fails': sys.exit('no memory')\n"
        "if sys.argv[1] == 'hangs': time.sleep(60)\n" + writes(tmp_path)
    )
    result, said = played(tmp_path, code, "fails", "hangs", "first", "last", limit_s=2)

    assert result == 1
    assert said[:4] == ["fails: ended with 1: no memory", "hangs: not done after 2 s", "first", "last"]
    assert said[4].endswith("2 failed")


def test_what_is_there_is_not_recorded_again(tmp_path: Path) -> None:
    played(tmp_path, writes(tmp_path), "first")

    assert played(tmp_path, "raise SystemExit(1)", "first")[0] == 0


def test_when_the_time_is_over_nothing_is_begun_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_schedule, "LEAST_S", 0.5)
    begin = time.monotonic()
    result, said = played(tmp_path, "import time; time.sleep(60)", "first", "second", minutes=0.02)

    assert time.monotonic() - begin < 30
    assert (result, said) == (
        1, ["first: not done after 1 s", "stopped before second: 0.02 minutes are over; run again for the rest"]
    )  # fmt: skip


def test_a_layer_that_ends_the_process_is_known_and_the_others_are_taken_up_again(tmp_path: Path) -> None:
    first, *others = GROUPS["rehearsed"]()
    for case in others:
        write_case(tmp_path, record_case(case, CPU, group="rehearsed"))
    code = f"import os; print('begins {first.name}', flush=True); os._exit(9)"
    played(tmp_path, code, "rehearsed")

    assert read_case(case_path(tmp_path, "rehearsed", first.name)).error == "its process ended with 9: "


def test_layers_are_recorded_and_one_that_refuses_is_told(tmp_path: Path) -> None:
    record_here(tmp_path, device="cpu", name="rehearsed")
    found = [read_case(case_path(tmp_path, "rehearsed", case.name)) for case in GROUPS["rehearsed"]()]

    assert [truth.error is None for truth in found] == [True, True, True, False, True]
    assert all(len(truth.ends) == CASE_STEPS + 1 and truth.events for truth in found if truth.error is None)
    assert found[2].told == ["ScaledDotProductAttentionMathBackward0"] * CASE_STEPS or all(found[2].told)
    assert "RuntimeError" in str(found[3].error)


def test_the_context_is_told_library_by_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_device: torch.device) -> None:
        raise RuntimeError("not here")

    monkeypatch.setattr(gpu_schedule, "LIBRARIES", {"there": lambda _device: None, "gone": refuse})
    record_here(tmp_path, device="cpu", name=CONTEXT)
    found = json.loads((tmp_path / "context.json").read_text())

    assert [(each["library"], each["error"]) for each in found["libraries"]] == [
        ("there", None), ("gone", "RuntimeError: not here")
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["context.json"]


def test_a_recording_that_is_killed_leaves_whole_files_and_goes_on_from_there(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu_truth",
        "record",
        str(tmp_path),
        "--device",
        "cpu",
        "--here",
        "rehearsed",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    while process.poll() is None and not list(tmp_path.glob("*/*.gz")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    left = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.gz")}
    record_here(tmp_path, device="cpu", name="rehearsed")
    whole = list(tmp_path.glob("*/*.gz"))

    assert left
    assert {path: path.stat().st_mtime_ns for path in left} == left
    assert len([read_case(path) for path in whole]) == 5
