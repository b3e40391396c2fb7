"""Memory that grew and came to an end: a pool, a cache, what an epoch keeps. Pure."""

from lrtool.diagnosis.causes.cause import cause
from lrtool.diagnosis.causes.growth import BOUND_THE_CACHE, source_line
from lrtool.diagnosis.run_figures import RunFigures
from lrtool.memory.growth import BoundedGrowth
from lrtool.results import Finding
from lrtool.units import format_bytes

NOTABLE_SHARE = 0.05


@cause("retained-graph", "waste")
def bounded_graphs(figures: RunFigures, name: str) -> Finding | None:
    """What is kept for a while holds the graphs of its steps."""
    if not figures.has_kept_graph:
        return None
    return _bounded(
        figures,
        cause=name,
        title="losses or outputs are kept for a while, with the graph behind them",
        cure="keep numbers: history.append(loss.item()); or x.detach() where a tensor is needed",
    )


@cause("kept-tensors", "waste")
def bounded_tensors(figures: RunFigures, name: str) -> Finding | None:
    """A cache without a bound keeps what it returned, or tensors are kept until they are thrown away together.

    A pool that fills up and stays full is what its author wanted.
    """
    growth, source = figures.bounded_growth, figures.main_source
    if growth is None or source is None or figures.has_kept_graph:
        return None
    if not source.is_cache and not growth.falls:
        return None
    return _bounded(
        figures,
        cause=name,
        title="a cache keeps tensors" if source.is_cache else "tensors are kept over many steps and then dropped",
        cure=BOUND_THE_CACHE if source.is_cache else "keep numbers or .cpu() copies, or use each as it comes",
    )


def _bounded(figures: RunFigures, *, cause: str, title: str, cure: str) -> Finding | None:
    growth, source = figures.bounded_growth, figures.main_source
    if figures.is_growing or growth is None or growth.added_bytes < NOTABLE_SHARE * figures.own_peak_bytes:
        return None
    return Finding(
        cause=cause,
        title=title,
        confidence="high" if source is not None else "medium",
        evidence=(course(growth), *map(source_line, figures.sources[:2])),
        proof=f"lrtool diagnose {figures.target}, once it keeps nothing: memory at the steps' ends does not grow",
        cure=cure,
        num_bytes=growth.added_bytes,
        source=None if source is None else source.text,
    )


def course(growth: BoundedGrowth) -> str:
    """How far it went, and what came then."""
    end = "falls and may rise anew" if growth.falls else "stays there"
    return (
        f"memory at the steps' ends grows by {format_bytes(growth.added_bytes)} until step {growth.until_step:,}, to "
        f"{format_bytes(growth.level_bytes)}, and {end}"
    )
