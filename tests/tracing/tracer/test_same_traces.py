"""One workload has one trace: whatever ran before it, whenever Python's collector would come, with any threads and hashes."""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import lrtool
from tests.tracing.tracer.steady_models import MODELS, Kept, digest, in_cycles, traced
from tests.tracing.tracer.traced_models import mlp

ROOT = Path(lrtool.__file__).parents[1]
KEPT_BYTES = 32 * 10 * 4 + 4000 + 8000 + 12000


@pytest.fixture(scope="module")
def in_fresh_process() -> dict[str, str]:
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.tracing.tracer.steady_models"]
    return json.loads(subprocess.run(command, env=environment, capture_output=True, check=True, cwd=ROOT).stdout)  # type: ignore[no-any-return]


@pytest.fixture
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_a_trace_is_the_same_after_others_and_in_a_fresh_process(
    build: Callable[[], dict[str, Any]], in_fresh_process: dict[str, str], thresholds: None
) -> None:
    found = []
    for threshold in (1, 0, 700):
        traced(mlp)
        gc.set_threshold(threshold)
        found.append(digest(build))

    assert found == [in_fresh_process[build.__name__]] * 3


def test_garbage_stays_for_its_step_and_is_known() -> None:
    found = traced(in_cycles)

    assert found.garbage_bytes[0] == 0
    assert len(set(found.garbage_bytes[1:])) == 1
    assert found.garbage_bytes[1] >= KEPT_BYTES
    assert len(set(found.live_bytes[1:])) == 1


def test_garbage_of_the_build_is_gone_before_the_first_step() -> None:
    def build() -> dict[str, Any]:
        Kept(torch.empty(1000, device="cuda"))
        return mlp(width=8)

    found = traced(build)

    assert found.garbage_bytes == (4000 + 24000, 0, 0, 0, 0)


def test_training_that_sets_the_collector_does_not_move_it(thresholds: None) -> None:
    def eager() -> dict[str, Any]:
        gc.set_threshold(1)
        gc.enable()
        return in_cycles()

    gc.set_threshold(600, 9, 8)
    assert traced(eager).garbage_bytes == traced(in_cycles).garbage_bytes
    assert gc.get_threshold() == (1, 9, 8)


def test_the_callers_collector_is_as_it_was() -> None:
    gc.unfreeze()
    gc.disable()
    try:
        traced(in_cycles)
        assert not gc.isenabled()
        assert gc.get_freeze_count() == 0
    finally:
        gc.enable()
