"""Causes of memory that grows from step to step, told apart by what is left behind, by which pass, and who holds it. Pure."""

import re
from collections.abc import Sequence
from itertools import pairwise

from lrtool.diagnosis.causes.cause import cause
from lrtool.diagnosis.causes.proofs import longer_runs
from lrtool.diagnosis.run_figures import RunFigures
from lrtool.memory.growth import forecast_step
from lrtool.results import Finding, GrowthSource
from lrtool.units import format_bytes

STEPS_THAT_GET_LONGER = 4
BOUND_THE_CACHE = "bound the cache, functools.lru_cache(maxsize=...), or empty it with cache_clear()"
EVALUATION_WORDS = re.compile(
    r"(?i)(?:^|[^a-z])(?:val|valid|validation|eval|evaluation|test|metrics?|preds?)(?:[^a-z]|$)"
)


@cause("hidden-state", "growth")
def hidden_state(figures: RunFigures, name: str) -> Finding | None:
    """State carried from step to step with its graph: each backward pass goes through all steps before."""
    requests = [profile.num_requests for profile in figures.steady][-STEPS_THAT_GET_LONGER:]
    if not figures.is_growing or len(requests) < STEPS_THAT_GET_LONGER:
        return None
    if not all(before < after for before, after in pairwise(requests)):
        return None
    return _growing(
        figures,
        cause=name,
        title="state is carried from step to step without detach",
        evidence=[
            f"steps get longer: {requests[0]} requests, then {', '.join(map(str, requests[1:]))}: each backward pass goes "
            "through the graphs of all steps before it",
        ],
        cure="detach it where a step takes it over: hidden = hidden.detach()",
    )


@cause("evaluation", "growth")
def kept_evaluation(figures: RunFigures, name: str) -> Finding | None:
    """What grows was born in evaluation: the model was in eval mode, or what keeps it is called so."""
    total = sum(each.num_bytes for each in figures.leftovers)
    in_eval_mode = sum(each.num_bytes for each in figures.leftovers if each.phase == "evaluation")
    without_backward = sum(each.num_bytes for each in figures.leftovers if each.is_evaluation)
    is_named = any(EVALUATION_WORDS.search(f"{each.line or ''} {each.container or ''}") for each in figures.sources)
    kept = max(in_eval_mode, without_backward if is_named else 0)
    if not figures.is_growing or not kept or 2 * kept < total:
        return None
    graph = "with the graph behind it, which no backward pass frees" if without_backward else "without a graph"
    return _growing(
        figures,
        cause=name,
        title="outputs of evaluation are kept",
        evidence=[f"{format_bytes(kept)} a step are born in an evaluation pass, {graph}"],
        cure="evaluate under torch.no_grad() and keep numbers (.item()) or .cpu() copies",
    )


@cause("kept-tensors", "growth")
def kept_tensors(figures: RunFigures, name: str) -> Finding | None:
    """Tensors without a graph pile up in a cache."""
    source = figures.main_source
    if not figures.is_growing or source is None or figures.has_kept_graph or not source.is_cache:
        return None
    return _growing(
        figures,
        cause=name,
        title="a cache keeps tensors",
        evidence=["it ends where all arguments came by, or with the cache's maxsize"],
        cure=BOUND_THE_CACHE,
    )


@cause("retained-graph", "growth")
def retained_graph(figures: RunFigures, name: str) -> Finding | None:
    """Tensors of training steps pile up: kept losses or outputs, and the graphs behind them."""
    if not figures.is_growing:
        return None
    births = len({each.operator for each in figures.leftovers})
    evidence = []
    if figures.leftovers:
        total = sum(each.num_storages for each in figures.leftovers)
        what = "a tensor with the graph behind it" if births > 1 else "single tensors"
        evidence.append(f"each step leaves {total} {'storage' if total == 1 else 'storages'} behind: {what}")
    if any(each.is_evaluation for each in figures.leftovers):
        evidence.append("they come from a forward pass that no backward pass follows, so that its graph is never freed")
    return _growing(
        figures,
        cause=name,
        title="losses or outputs are kept, with the graph behind them",
        evidence=evidence,
        cure="keep numbers: history.append(loss.item()), or loss.detach() where a tensor is needed; no retain_graph=True",
    )


def _growing(
    figures: RunFigures, *, cause: str, title: str, evidence: Sequence[str], cure: str
) -> Finding:  # fmt: skip
    growth = figures.growth
    assert growth is not None
    low, high = (format_bytes(round(rate)) for rate in (growth.low_bytes_per_step, growth.high_bytes_per_step))
    rate = f"allocated memory grows {format_bytes(round(growth.bytes_per_step))} per step (95 %: {low} to {high})"
    source = figures.main_source
    full = _forecast(figures)
    return Finding(
        cause=cause,
        title=title,
        confidence="high" if source is not None else "medium",
        evidence=(rate, *evidence, *map(source_line, figures.sources[:2]), *full, *_last_hole(figures)),
        proof=longer_runs(figures),
        cure=cure,
        num_bytes=max(round(growth.bytes_per_step), 1),
        source=None if source is None else source.text,
    )


def _last_hole(figures: RunFigures) -> tuple[str, ...]:
    """How memory lay when growth had filled it: a footnote."""
    if figures.oom is None or figures.oom.cause != "fragmentation":
        return ()
    return ("at the request that failed, the free memory would still have been enough in one piece",)


def source_line(source: GrowthSource) -> str:
    """What one line keeps."""
    held = f", held by {source.container}" if source.container else ""
    return f"{format_bytes(round(source.bytes_per_step))} per step from {source.text}{held}"


def _forecast(figures: RunFigures) -> tuple[str, ...]:
    """When the capacity is reached, at this rate."""
    series, growth = figures.series, figures.growth
    if figures.capacity_bytes is None or growth is None or not series.allocated_bytes:
        return ()
    level, last = series.allocated_bytes[-1], len(series.allocated_bytes)
    step = forecast_step(
        level_bytes=level,
        at_step=last,
        bytes_per_step=growth.bytes_per_step,
        capacity_bytes=figures.capacity_bytes,
        within_step_bytes=series.peak_allocated_bytes[-1] - level,
    )
    if figures.oom is not None and figures.oom.step:
        return (f"{format_bytes(figures.capacity_bytes)} are full at step {figures.oom.step:,}",)
    return () if step is None else (f"{format_bytes(figures.capacity_bytes)} are full at step {step:,}, at this rate",)
