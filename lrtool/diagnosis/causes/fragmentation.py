"""Causes of memory that is reserved and cannot be used: more is reserved than is ever active at once. Pure."""

from lrtool.diagnosis.causes.cause import cause
from lrtool.diagnosis.causes.proofs import THEN_AGAIN, other_settings, ran_out
from lrtool.diagnosis.run_figures import RunFigures
from lrtool.memory.growth import device_allocs_per_step
from lrtool.results import Confidence, Finding
from lrtool.units import format_bytes

SIDE_SHARE = 0.1
UNUSED_SHARE = 0.2
LEAST_UNUSED_BYTES = 64 * 2**20
WARMUP_STEPS = 3


@cause("side-streams", "fragmentation")
def side_streams(figures: RunFigures, name: str) -> Finding | None:
    """Segments of other streams hold memory that the default stream cannot use; a captured graph has its own by design."""
    size, free = figures.side_reserved_bytes, figures.side_free_bytes
    is_captured = any(each.kind == "capture" for each in figures.assumptions)
    if not free or free < SIDE_SHARE * figures.peak_reserved_bytes or is_captured:
        return None
    return Finding(
        cause=name,
        title="memory is tied to side streams",
        confidence="high",
        evidence=(
            f"{format_bytes(size)} are reserved for streams other than the default one, {format_bytes(free)} of it unused",
            "a block is reused on the stream it was allocated on only",
        ),
        proof=f"allocate on the default stream, and use the tensors on the other, {THEN_AGAIN}",
        cure="make tensors on the stream that trains, keep few long-lived side streams, record_stream what crosses",
        num_bytes=free,
    )


@cause("variable-shapes-fragmentation", "fragmentation")
def variable_shapes(figures: RunFigures, name: str) -> Finding | None:
    """Free pieces of one batch's sizes do not fit those of the next."""
    return _fragmented(figures, name, is_varying=True)


@cause("split-fragmentation", "fragmentation")
def fixed_shapes(figures: RunFigures, name: str) -> Finding | None:
    """Large blocks were split, and what is left of them is too small for what comes."""
    return _fragmented(figures, name, is_varying=False)


def _fragmented(figures: RunFigures, name: str, *, is_varying: bool) -> Finding | None:
    evidence = _evidence(figures)
    if not evidence or bool(figures.has_varying_shapes) is not is_varying:
        return None
    sizes = figures.num_input_sizes
    if is_varying:
        shapes = f"batches come in {sizes} sizes" if sizes else "steps ask for different sizes"
    else:
        shapes = "batches have one size" if sizes else "steps ask for the same sizes"
    oom = figures.oom
    unused = figures.peak_reserved_bytes - figures.peak_active_bytes
    if figures.is_file and oom is not None and oom.free_bytes:
        unused = oom.free_bytes  # what lay there in pieces when it was needed, whatever was reserved at other times
    confidence: Confidence = "high" if oom is not None or figures.fragmentation_growth is not None else "medium"
    return Finding(
        cause=name,
        title="batches of varying shape fragment memory" if is_varying else "split blocks fragment memory",
        confidence=confidence,
        evidence=(*evidence, shapes),
        proof=other_settings(figures),
        cure="PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
        + ("; longest batch first, or batches bucketed by length" if is_varying else "; or max_split_size_mb"),
        num_bytes=max(unused, 0),
        source=oom.source if figures.is_file and oom is not None else None,
    )


def _evidence(figures: RunFigures) -> list[str]:
    """Why it counts as fragmented: it ran out although all that was active would have fitted, it climbs, or much is unused."""
    active, reserved, capacity = figures.peak_active_bytes, figures.peak_reserved_bytes, figures.capacity_bytes
    lost = 1 - active / max(reserved, 1)
    figure = f"peak reserved {format_bytes(reserved)} for {format_bytes(active)} active at once, {lost:.1%} lost"
    if figures.oom is not None:
        return [*([figure] if reserved > active else []), *_oom_lines(figures)] if _is_the_cause(figures) else []
    climb = figures.fragmentation_growth
    churn = device_allocs_per_step(figures.series.num_device_allocs, warmup_steps=WARMUP_STEPS) or 0.0
    if climb is not None:
        return [
            figure,
            f"reserved memory climbs {format_bytes(round(climb.reserved_bytes_per_step))} per step, active memory does not",
            f"{churn:.3g} device allocations per step after the warm-up; a steady run has none",
        ]
    unused = reserved - active
    is_much = unused >= max(UNUSED_SHARE * reserved, LEAST_UNUSED_BYTES)
    is_tight = capacity is None or reserved > capacity / 2
    return [figure] if is_much and (churn > 0 or is_tight or figures.has_varying_shapes) else []


def _is_the_cause(figures: RunFigures) -> bool:
    """Whether everything that is ever active at once would have fitted, packed without gaps."""
    oom, capacity = figures.oom, figures.capacity_bytes
    if figures.is_traced and capacity is not None:
        return figures.peak_active_bytes <= capacity
    return oom is not None and oom.cause == "fragmentation"


def _oom_lines(figures: RunFigures) -> list[str]:
    oom = figures.oom
    assert oom is not None
    lines = [f"{ran_out(figures)} though all that is active at once would fit"]
    if oom.at_start and oom.detail is not None:
        lines.append(oom.detail)
    elif oom.size_bytes is not None and oom.free_bytes is not None and oom.largest_free_bytes is not None:
        lines.append(
            f"the failing request asked for {format_bytes(oom.size_bytes)}: largest free piece "
            f"{format_bytes(oom.largest_free_bytes)}, all free {format_bytes(oom.free_bytes)}"
        )
    return lines
