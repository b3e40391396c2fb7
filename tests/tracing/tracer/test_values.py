"""What data decide: known where it follows from the batch, computed where it is cheap, else assumed and said so."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrtool.results import Assumption
from lrtool.tracing.fake_values.values import EVERYTHING
from lrtool.tracing.tracer.alternatives import trace_with_alternatives
from lrtool.tracing.tracer.tracer import TracedRun, TraceSettings, Values, trace
from lrtool.workload.target import from_callable

ROWS, WIDTH, WIDE = 64, 256, 1024
WIDE_BYTES = 4 * 4096 * WIDE
Loss = Callable[[nn.Module, tuple[Tensor, Tensor]], Any]
UNKNOWN_WEIGHTS = 512
"""A layer of 256 times 512 weights is too large for values to be followed without being asked to."""


def settings(num_steps: int = 3, **known: Any) -> TraceSettings:
    return TraceSettings(num_steps=num_steps, until_steady=False, with_workspaces=False, **known)


def batches() -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(ROWS, WIDTH), torch.arange(ROWS) % 8) for _ in range(2)]


def workload(loss: Loss | None = None, step: Any = None, **options: Any) -> Callable[[], dict[str, Any]]:
    def build() -> dict[str, Any]:
        model = nn.Sequential(nn.Linear(WIDTH, UNKNOWN_WEIGHTS), nn.ReLU(), nn.Linear(UNKNOWN_WEIGHTS, 8))
        optimizer = options.get("optimizer", torch.optim.AdamW)(model.parameters())
        found = {"model": model, "optimizer": optimizer, "train_loader": batches()}
        return found | ({"step": step} if step is not None else {"loss": loss})

    return build


def traced(build: Callable[[], Any], **known: Any) -> TracedRun:
    return trace(from_callable(build, params={}), settings(**known))


def told(run: TracedRun) -> list[tuple[str, str, str]]:
    return [(each.kind, each.asked, each.taken) for each in run.assumptions]


def test_a_mask_of_the_labels_selects_what_it_does_on_a_gpu() -> None:
    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Any:
        hidden = model(batch[0]) @ torch.ones(8, WIDE, device=batch[0].device)
        return hidden[batch[1] == 3].pow(2).mean()

    run = traced(workload(loss))
    selected = 4 * (ROWS // 8) * WIDE
    assert selected in run.trace.values
    assert run.assumptions == ()


@pytest.mark.parametrize(
    ("select", "count"),
    [
        (lambda x, y: torch.masked_select(x[:, 0], y == 3), ROWS // 8),
        (lambda x, y: x[(y > 5).nonzero(as_tuple=True)[0], 0], ROWS // 4),
        (lambda x, y: x[torch.unique(y), 0], 8),
        (lambda x, y: x[: torch.bincount(y).shape[0], 0], 8),
        (lambda x, y: x[: int(y.max()) + 1, 0], 8),
        (lambda x, y: x[torch.unique_consecutive(torch.sort(y).values), 0], 8),
        (lambda x, y: torch.repeat_interleave(x[:8, 0], torch.bincount(y)), ROWS),
    ],
)
def test_selections_by_the_batch_are_as_large_as_they_are(
    select: Callable[[Tensor, Tensor], Tensor], count: int
) -> None:
    sizes = []

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Any:
        chosen = select(model(batch[0]), batch[1])
        sizes.append(chosen.shape[0])
        return chosen.mean()

    run = traced(workload(loss))
    assert set(sizes) == {count}
    assert run.assumptions == ()


def test_labels_masked_in_place_on_the_gpu_are_followed() -> None:
    """As in masked language models: labels are cloned, written to through a mask and compared."""
    sizes = []

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Any:
        labels = batch[1].clone()
        labels[labels > 1] = -100
        kept = model(batch[0])[labels != -100]
        sizes.append(kept.shape[0])
        return kept.mean()

    traced(workload(loss))
    assert set(sizes) == {ROWS // 4}


def test_random_numbers_drawn_on_the_gpu_leave_those_of_the_cpu_alone() -> None:
    drawn: dict[str, list[float]] = {"with": [], "without": []}

    def loss_of(name: str) -> Loss:
        def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Any:
            if name == "with":
                keeps = torch.rand(ROWS, device=batch[0].device) < 0.5
                assert 0 < int(keeps.sum()) < ROWS
            drawn[name].append(float(torch.rand(1)))
            return model(batch[0]).mean()

        return loss

    for name in drawn:
        traced(workload(loss_of(name)))
    assert drawn["with"] == drawn["without"]


def test_an_update_that_hangs_on_the_norm_is_made() -> None:
    def step(model: nn.Module, batch: tuple[Tensor, Tensor], optimizer: torch.optim.Optimizer) -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        if nn.utils.clip_grad_norm_(model.parameters(), 1.0) < 100:
            optimizer.step()
        return loss

    run = traced(workload(step=step))
    state_bytes = 2 * 4 * WIDTH * UNKNOWN_WEIGHTS
    assert run.live_bytes[-1] - run.live_bytes[0] >= state_bytes
    assert [(kind, taken) for kind, _, taken in told(run)] == [("value", "yes")]


def test_the_other_answer_tells_what_it_would_use() -> None:
    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Any:
        found = F.cross_entropy(model(batch[0]), batch[1])
        if found > 1:
            found = found + 0 * torch.ones(4096, WIDE, device=found.device).sum()
        return found

    run = trace_with_alternatives(from_callable(workload(loss), params={}), settings())
    (assumption,) = run.assumptions
    assert (assumption.kind, assumption.asked, assumption.times) == ("value", "if found > 1", 3)
    assert assumption.taken == "yes, as computed along on the CPU"
    assert assumption.source is not None
    assert assumption.source.startswith("test_values.py:")
    assert assumption.below_bytes is not None
    assert WIDE_BYTES * 0.8 < assumption.below_bytes <= 2 * WIDE_BYTES
    assert assumption.above_bytes == 0


def test_where_computing_costs_much_the_answer_is_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrtool.tracing.tracer.alternatives.MAX_OPERATIONS", 0)

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Any:
        found = F.cross_entropy(model(batch[0]), batch[1])
        return found if found.item() < 50 else found * 2

    run = trace_with_alternatives(from_callable(workload(loss), params={}), settings())
    assert [each.taken for each in run.assumptions] == ["about 1"]


def test_a_closure_is_called_as_often_as_the_optimizer_asks_for_it() -> None:
    calls = []

    def step(model: nn.Module, batch: tuple[Tensor, Tensor], optimizer: torch.optim.Optimizer) -> Any:
        def closure() -> Tensor:
            calls.append(1)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch[0]), batch[1])
            loss.backward()
            return loss

        return optimizer.step(closure)  # type: ignore[arg-type]

    traced(workload(step=step, optimizer=lambda p: torch.optim.LBFGS(p, max_iter=5)))
    assert len(calls) == 3 * 5


def test_loops_run_to_their_bound_and_end() -> None:
    turns = []

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Any:
        out, count = model(batch[0]), 0
        for _ in range(7):
            out = out * 0.5
            count += 1
            if out.norm() < 1e-3:
                break
        turns.append(count)
        while out.norm() > 1e-9:
            out = out.detach()
        return model(batch[0]).mean()

    traced(workload(loss), num_steps=1)
    assert turns == [7]


def test_assertions_about_values_pass() -> None:
    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Any:
        out = model(batch[0]).softmax(1)
        assert (out.sum(1) - 1).abs().max() < 1e-3
        assert not torch.isnan(out).any()
        assert torch.isfinite(out).all()
        return -out.log().mean()

    traced(workload(loss))


def test_a_size_that_the_model_decides_is_an_assumption() -> None:
    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Any:
        out = model(batch[0])
        return out[out.softmax(1).amax(1) > 2].sum() + out.mean()

    run = traced(workload(loss))
    assert [(kind, taken) for kind, _, taken in told(run)][:1] == [("size", f"{ROWS} of {ROWS}")]
    found = trace_with_alternatives(from_callable(workload(loss), params={}), settings())
    assert {each.taken for each in found.assumptions} == {"as computed along on the CPU"}


def test_values_computed_along_are_those_of_a_run_on_the_cpu() -> None:
    losses: dict[str, list[float]] = {"predicted": [], "cpu": []}

    def step_of(kind: str) -> Any:
        def step(model: nn.Module, batch: tuple[Tensor, Tensor], optimizer: torch.optim.Optimizer) -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch[0]), batch[1])
            loss.backward()
            optimizer.step()
            losses[kind].append(loss.item())
            return loss

        return step

    traced(workload(step=step_of("predicted")), values=Values(limits=EVERYTHING))
    traced(workload(step=step_of("cpu")), kind="cpu")
    assert losses["predicted"] == pytest.approx(losses["cpu"], rel=1e-4)


def test_an_assumption_is_told_once_for_its_line() -> None:
    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Any:
        found = model(batch[0]).mean()
        print(found.item())
        return found

    run = traced(workload(loss))
    assert run.assumptions == (
        Assumption(
            kind="value",
            source=run.assumptions[0].source,
            asked="print(found.item())",
            taken="about 1",
            times=3,
        ),
    )


def test_a_selection_by_random_numbers_is_as_large_as_it_was_at_most_so_far() -> None:
    sizes = []

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Any:
        kept = model(batch[0])[torch.rand(ROWS, device=batch[0].device) < 0.5]
        sizes.append(kept.shape[0])
        return kept.mean()

    run = trace_with_alternatives(from_callable(workload(loss), params={}), TraceSettings(num_steps=1000))
    assert run.period is not None
    assert run.num_steps == 1000
    assert 0 < sizes[-1] < ROWS
