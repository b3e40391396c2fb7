"""Loops that keep too much are told by rate, line of birth, container, and the line that fills it; a healthy one is not."""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from lrtool.memory.replay.replay import replay
from lrtool.tracing.tracer.tracer import Kind, TracedRun, TraceSettings, trace
from lrtool.workload.target import load

ACTIVATIONS = 64 * 512 * 4 + 64 * 10 * 4 + 4 + 4  # ReLU's output, log-softmax, its total weight, the loss
INPUTS = 64 * 256 * 4 + 64 * 8


@cache
def traced(path: Path, name: str, kind: Kind = "predicted", num_steps: int = 7000) -> TracedRun:
    return trace(load(f"{path}:{name}", params={}), TraceSettings(num_steps=num_steps, kind=kind))


@pytest.mark.parametrize(
    ("name", "bytes_per_step", "born", "holder", "stored"),
    [
        ("keeps_losses", 4, "24", "losses of module leaks", "45 losses.append(loss)"),
        ("keeps_outputs", 2560, "23", "predictions of keeps_outputs.step()", "56 predictions.append(output)"),
        ("keeps_validation_graph", ACTIVATIONS + INPUTS, "68", "metrics of keeps_validation_graph.step()",
         '68 metrics["val"].append(F.cross_entropy(model(x), y))'),
        ("retains_graph", ACTIVATIONS + INPUTS, "23", "kept of retains_graph.step()", "79 kept.append(loss)"),
        ("carries_hidden_state", 4 * 64 * (256 + 128 + 128), "94", "Recurrent.hidden",
         "94 self.hidden = torch.tanh(self.cell(torch.cat([x, hidden], 1)))"),
        ("fills_module_cache", 2560, "115", "Caching.cache", "116 self.cache.append(out.detach())"),
    ],
)  # fmt: skip
def test_what_grows_is_named(
    workload_file: Callable[[str], Path], name: str, bytes_per_step: int, born: str, holder: str, stored: str
) -> None:
    found = traced(workload_file("leaks"), name)

    largest = found.leaks[0]
    assert sum(each.bytes_per_step for each in found.leaks) == bytes_per_step
    assert found.live_bytes[-1] - found.live_bytes[-2] == bytes_per_step
    assert (largest.source, largest.holder) == (f"leaks.py:{born}", holder)
    assert largest.stored_at == f"leaks.py:{stored}"


def test_of_a_deep_graph_the_loss_that_holds_it_is_found(workload_file: Callable[[str], Path]) -> None:
    found = traced(workload_file("leaks"), "keeps_deep_graph")

    assert {each.holder for each in found.leaks} == {"history of keeps_deep_graph.step()"}


def test_a_healthy_loop_keeps_nothing(workload_file: Callable[[str], Path]) -> None:
    found = traced(workload_file("leaks"), "healthy")

    assert found.leaks == ()
    assert len(set(found.live_bytes[2:])) == 1


def test_a_leak_goes_on_through_the_repeated_steps(workload_file: Callable[[str], Path]) -> None:
    found = traced(workload_file("leaks"), "keeps_outputs", num_steps=500)

    steps = replay(found.trace).steps
    assert len(steps) == 500
    rises = {after.allocated_bytes - before.allocated_bytes for before, after in pairwise(steps[2:])}
    assert rises == {2560}


def test_steps_that_grow_longer_are_not_traced_forever(workload_file: Callable[[str], Path]) -> None:
    found = traced(workload_file("leaks"), "carries_hidden_state")

    assert found.period is None
    assert found.num_steps == found.num_traced_steps < 50
    assert "do not repeat" in found.warnings[0]


def test_the_cpu_recorder_finds_the_same_line(workload_file: Callable[[str], Path]) -> None:
    found = traced(workload_file("leaks"), "keeps_losses", kind="cpu")

    assert found.leaks[0].stored_at == "leaks.py:45 losses.append(loss)"
