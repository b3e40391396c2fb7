"""`lrtool doctor`, with self-tests run in this process."""

import json
import socket
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from lrtool.cli.commands import doctor
from lrtool.report.doctor import doctor_lines, pasted_lines
from lrtool.results import AllocatorCheck, Doctor, Environment, Gpu, Installation, KnownIssue, SelfTest
from lrtool.sweep.executors import subprocess as executors
from tests.conftest import Lrtool
from tests.sweep.running import InlineExecutor

HERE = Environment(
    lrtool="0.1.0", python="3.11.7", torch="2.9.1", platform="Linux x86_64", num_cpus=8, device_name=None, cuda=None
)
MADE = Doctor(
    is_usable=True,
    installation=Installation(
        torch="2.9.1+cu128", cuda="12.8", cudnn="91002", driver="570.124.06",
        gpus=(Gpu(name="NVIDIA H100", capability="9.0", total_bytes=80 * 2**30, free_bytes=79 * 2**30),),
    ),
    allocator=AllocatorCheck(
        variables={"PYTORCH_ALLOC_CONF": "expandable_segments:True"}, in_force="", read_from="device",
        problems=("expandable_segments:True was asked for, in force is False",),
    ),
    self_tests=(
        SelfTest(recorder="cuda", status="ok", num_steps=5, allocated_bytes=1000, expected_bytes=1000, message=None,
                 duration_s=3.0),
    ),
    traps=(KnownIssue(title="a trap " * 20, advice="step over it", source="pytorch#1"),),
    duration_s=4.0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "SubprocessExecutor", lambda **_: InlineExecutor())


def test_the_answer_first_a_block_to_paste_and_nothing_written(lrtool: Lrtool, tmp_path: Path) -> None:
    outcome = lrtool("doctor")

    lines = outcome.out.splitlines()
    assert outcome.code == 0
    assert lines[0].startswith("Ready: ")
    assert lines.count("```") == 2
    assert lines[-1] == "Nothing was written. Next: lrtool range-test digits"
    assert list(tmp_path.iterdir()) == []


def test_json_is_one_document_and_neither_host_nor_user_is_in_it(lrtool: Lrtool) -> None:
    outcome = lrtool("doctor", "--json", "--quiet")

    found = json.loads(outcome.out)
    assert (found["schema"], found["command"], found["run_dir"]) == (1, "doctor", None)
    assert [test["recorder"] for test in found["self_tests"]] == ["cuda", "predicted", "cpu"]
    assert outcome.err == ""
    assert socket.gethostname() not in outcome.out


def test_a_recorder_that_should_work_and_does_not_ends_with_4(lrtool: Lrtool, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(MADE, is_usable=False, self_tests=(replace(MADE.self_tests[0], status="failed"),))
    monkeypatch.setattr(doctor, "examine", lambda: broken)

    outcome = lrtool("doctor")

    assert outcome.code == 4
    assert outcome.out.startswith("Not everything works here: the cuda recorder failed its self-test.")


def test_without_a_torch_that_can_be_imported_two_lines_say_so(lrtool: Lrtool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)

    outcome = lrtool("doctor", "--quiet")

    assert outcome.code == 4
    assert outcome.out == ""
    assert [line.partition(" ")[0] for line in outcome.err.splitlines()] == ["error:", "hint:"]


def test_settings_of_the_environment_that_torch_does_not_know_are_named(
    lrtool: Lrtool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_mb:128")

    outcome = lrtool("doctor")

    assert "unknown allocator setting 'max_split_mb'" in " ".join(outcome.out.split())


def test_everything_fits_80_columns() -> None:
    file = StringIO()
    console = Console(file=file, width=80)
    for part in doctor_lines(MADE)[:5]:
        console.print(part)

    assert max(map(len, file.getvalue().splitlines())) <= 80


def test_the_block_says_what_a_maintainer_asks_first() -> None:
    assert pasted_lines(MADE, HERE) == [
        "lrtool 0.1.0, Python 3.11.7, Linux x86_64, 8 CPUs",
        "torch: 2.9.1+cu128, built for CUDA 12.8, cuDNN 91002",
        "driver: 570.124.06",
        "GPU: NVIDIA H100, compute capability 9.0, 79.0 GiB free of 80.0 GiB",
        "allocator: PYTORCH_ALLOC_CONF=expandable_segments:True; in force: defaults (read back from the device)",
        "allocator: expandable_segments:True was asked for, in force is False",
        "self-test cuda: ok: 5 steps, 1,000 B allocated at their ends, 3.0 s",
    ]
