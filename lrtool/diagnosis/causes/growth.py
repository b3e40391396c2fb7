"""Causes of memory that grows from step to step, told apart by what is left behind, by which pass, and who holds it. Pure."""

import re
from collections.abc import Sequence
from itertools import pairwise

from lrtool.diagnosis.causes.cause import cause
from lrtool.diagnosis.causes.proofs import longer_runs
from lrtool.diagnosis.run_figures import RunFigures
from lrtool.results import Category, Finding, GraphKept, GrowthSource
from lrtool.units import format_bytes

STEPS_THAT_GET_LONGER = 4
BY_LINE = 2
"""So many lines that grow are told."""
BOUND_THE_CACHE = "bound the cache, functools.lru_cache(maxsize=...), or empty it with cache_clear()"
EVALUATION_WORDS = re.compile(
    r"(?i)(?:^|[^a-z])(?:val|valid|validation|eval|evaluation|test|metrics?|preds?)(?:[^a-z]|$)"
)


@cause("hidden-state", "growth")
def hidden_state(figures: RunFigures, name: str) -> Finding | None:
    """State carried from step to step with its graph: each backward pass goes through all steps before."""
    requests = [profile.num_requests for profile in figures.steady][-STEPS_THAT_GET_LONGER:]
    gets_longer = len(requests) == STEPS_THAT_GET_LONGER and all(before < after for before, after in pairwise(requests))
    gets_longer = gets_longer and (_graph_of(figures) is not None or not figures.is_traced)
    if not figures.is_growing or not (gets_longer or _graph_of(figures) == "chained"):
        return None
    evidence = "one tensor holds the graphs of all steps before it, though no backward pass goes through them"
    if gets_longer:
        evidence = (
            f"steps get longer: {requests[0]} requests, then {', '.join(map(str, requests[1:]))}: each backward pass goes "
            "through the graphs of all steps before it"
        )
    return _growing(
        figures,
        cause=name,
        title="state is carried from step to step without detach",
        evidence=[evidence],
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
    """Tensors without a graph pile up in a cache, a list, or one tensor that gets longer."""
    source = figures.main_source
    if not figures.is_growing or source is None or source.graph is not None or not figures.is_traced:
        return None
    if source.is_cache:
        ends = ["it ends where all arguments came by, or with the cache's maxsize"]
        return _growing(figures, cause=name, title="a cache keeps tensors", evidence=ends, cure=BOUND_THE_CACHE)
    holder = f"what keeps them, {source.container}" if source.container else "what keeps them"
    return _growing(
        figures,
        cause=name,
        title="tensors are kept from step to step, without a graph",
        evidence=["what is kept needs no graph: detach() changes nothing"],
        cure=f"bound or clear {holder}; keep numbers (.item()) or .cpu() copies",
    )


@cause("kept-tensors", "growth")
def growing_optimizer_state(figures: RunFigures, name: str) -> Finding | None:
    """An optimizer that remembers more with each step, as LBFGS does up to its history_size."""
    ends = [profile.at_end.get(Category.OPTIMIZER_STATE, 0) for profile in figures.steady]
    if not figures.is_growing or figures.main_source is not None or len(ends) < STEPS_THAT_GET_LONGER:
        return None
    if figures.growth is None or 2 * (ends[-1] - ends[-2]) < figures.growth.bytes_per_step:
        return None
    return _growing(
        figures,
        cause=name,
        title="the optimizer's state grows with every step",
        evidence=[f"optimizer state has grown from {format_bytes(ends[0])} to {format_bytes(ends[-1])}"],
        cure="a bound on what it remembers: torch.optim.LBFGS(..., history_size=10)",
    )


@cause("retained-graph", "growth")
def gradients_with_graph(figures: RunFigures, name: str) -> Finding | None:
    """`create_graph=True`: gradients that are added to hold the graphs of all steps."""
    if not figures.is_growing or _graph_of(figures) != "gradients":
        return None
    return _growing(
        figures,
        cause=name,
        title="gradients hold the graphs that create_graph=True made",
        evidence=["a parameter whose gradient nobody sets to None adds to it, and keeps the graph of each step"],
        cure="set all gradients to None, model.zero_grad(set_to_none=True); or torch.autograd.grad(..., create_graph=True), "
        "which leaves p.grad alone",
    )


@cause("retained-graph", "growth")
def summed_graphs(figures: RunFigures, name: str) -> Finding | None:
    """A running total of losses that holds the graph of each."""
    if not figures.is_growing or _graph_of(figures) != "summed":
        return None
    return _growing(
        figures,
        cause=name,
        title="losses are added up with the graph behind each",
        evidence=["one number holds the graphs of all steps before it"],
        cure="add numbers: total += loss.item(), or loss.detach()",
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
        confidence="high" if source is not None and (source.may_end is False or figures.ends_too_late) else "medium",
        evidence=(
            rate,
            *evidence,
            *map(source_line, figures.sources[:BY_LINE]),
            *_ending(figures),
            *full,
            *_last_hole(figures),
        ),
        proof=longer_runs(figures),
        cure=cure,
        num_bytes=max(round(growth.bytes_per_step), 1),
        source=None if source is None else source.text,
    )


def _graph_of(figures: RunFigures) -> GraphKept | None:
    return None if figures.main_source is None else figures.main_source.graph


def _ending(figures: RunFigures) -> tuple[str, ...]:
    """What is known of how long it goes on."""
    source = figures.main_source
    if source is None or not figures.is_traced or source.container is None:
        return ()
    if source.may_end is False and source.graph in (None, "each"):
        return (f"nothing in the program takes anything out of {source.container}",)
    if source.until_step is not None:
        return (f"{source.container} is full at step {source.until_step:,} only",)
    return () if source.may_end is False else ("it may come to an end, which cannot be known",)


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
    if figures.capacity_bytes is None:
        return ()
    room = format_bytes(figures.capacity_bytes)
    if figures.oom is not None and figures.oom.step:
        return (f"{room} are full at step {figures.oom.step:,}",)
    source = figures.main_source
    is_sure = not figures.is_traced or (source is not None and source.may_end is False) or figures.ends_too_late
    goes_on = "at this rate" if is_sure else "if it goes on"
    if figures.full_at_step is None:
        return (f"no law is found in how the peaks grow: when {room} are full cannot be told",)
    return (f"{room} are full at step {figures.full_at_step:,}, {goes_on}",)
