"""Causes of running out of memory where all that is active at once does not fit: what makes it so much. Pure."""

from lrtool.diagnosis.causes.cause import cause
from lrtool.diagnosis.causes.dominant import cure_of, dominant
from lrtool.diagnosis.causes.proofs import THEN_AGAIN, needed, ran_out
from lrtool.diagnosis.run_figures import RunFigures
from lrtool.results import Category, Finding
from lrtool.units import format_bytes

WORKSPACE_SHARE = 0.25
COPY_SHARE = 0.1
STATE_SHARE = 0.1
NAMES: dict[str, str] = {each: each.finding_name for each in Category if each.finding_name is not None}


@cause("workspaces", "capacity")
def workspaces(figures: RunFigures, name: str) -> Finding | None:
    """Libraries' workspaces are the largest part."""
    highest = figures.highest
    shares = highest.at_peak if highest else {}
    size = shares.get(Category.WORKSPACE, 0)
    is_largest = size >= max(shares.values(), default=0)
    if not size or not _lacks(figures) or size < WORKSPACE_SHARE * figures.peak_allocated_bytes or not is_largest:
        return None
    if not figures.would_fit_without(size):
        return None
    return _lack(
        figures,
        cause=name,
        title="workspaces of cuBLAS and cuDNN use what is missing",
        evidence=(f"{format_bytes(size)} of workspaces at the peak, {size / figures.peak_allocated_bytes:.0%} of it",),
        proof=f"CUBLAS_WORKSPACE_CONFIG=:16:8 in the environment, {THEN_AGAIN}",
        cure="CUBLAS_WORKSPACE_CONFIG=:4096:2 or smaller; torch.backends.cudnn.benchmark = False",
        size=size,
    )


@cause("autocast-cache", "capacity")
def weight_copies(figures: RunFigures, name: str) -> Finding | None:
    """Autocast's copies of the weights make the difference."""
    size = max((profile.weight_copy_bytes for profile in figures.steady), default=0)
    if not _lacks(figures) or size < COPY_SHARE * figures.peak_allocated_bytes or not figures.would_fit_without(size):
        return None
    return _lack(
        figures,
        cause=name,
        title="autocast's copies of the weights use what is missing",
        evidence=(f"{format_bytes(size)} of half-precision copies of weights are live at the peak",),
        proof=f"without autocast, or with the model in bfloat16, {THEN_AGAIN}",
        cure="keep the model in bfloat16, or torch.autocast(..., cache_enabled=False)",
        size=size,
    )


@cause("foreach-temporaries", "capacity")
def foreach_temporaries(figures: RunFigures, name: str) -> Finding | None:
    """The optimizer's step is the peak, by temporaries of all parameters at once."""
    oom = figures.oom
    size = max((profile.optimizer_temporary_bytes for profile in figures.profiles[1:]), default=0)
    if not _lacks(figures) or oom is None or oom.phase != "optimizer" or oom.category == Category.OPTIMIZER_STATE:
        return None
    if not size or not figures.would_fit_without(size):
        return None
    return _lack(
        figures,
        cause=name,
        title="the optimizer's foreach temporaries use what is missing",
        evidence=(
            f"it ran out of memory in the optimizer's step, in {oom.operator}",
            f"that step makes {format_bytes(size)} of temporaries at once",
        ),
        proof=f"foreach=False or fused=True in the optimizer, {THEN_AGAIN}",
        cure="fused=True, or foreach=False (slower), in the optimizer",
        size=size,
    )


@cause("lazy-optimizer-state", "capacity")
def lazy_optimizer_state(figures: RunFigures, name: str) -> Finding | None:
    """The first forward and backward fit; then the optimizer makes its state."""
    oom = figures.oom
    state = figures.profiles[-1].at_end.get(Category.OPTIMIZER_STATE, 0) if figures.profiles else 0
    if not _lacks(figures) or oom is None or state < STATE_SHARE * figures.peak_allocated_bytes:
        return None
    is_made_there = oom.phase == "optimizer" and oom.category == Category.OPTIMIZER_STATE
    comes_next = oom.step == 2 and oom.phase != "optimizer" and figures.would_fit_without(state)
    if not is_made_there and not comes_next:
        return None
    how = "while the optimizer made its state" if is_made_there else "in the first step with the optimizer's state"
    return _lack(
        figures,
        cause=name,
        title="the optimizer's state, made at the first step, does not fit",
        evidence=(f"the first forward and backward fit; it ran out of memory in step {oom.step}, {how}",
                  f"optimizer state uses {format_bytes(state)}"),
        proof=f"torch.optim.SGD without momentum, {THEN_AGAIN}",
        cure="an 8-bit or stateless optimizer, or less of everything else",
        size=state,
    )  # fmt: skip


@cause("variable-shapes-capacity", "capacity")
def variable_shapes(figures: RunFigures, name: str) -> Finding | None:
    """The largest batches do not fit; others do."""
    capacity, steps = figures.capacity_bytes, figures.steady
    if not _lacks(figures) or capacity is None or (figures.num_input_sizes or 1) < 2:
        return None
    largest = max(steps, key=lambda each: each.input_bytes)
    smallest = min(steps, key=lambda each: each.input_bytes)
    if smallest.peak_bytes > capacity or largest.peak_bytes <= smallest.peak_bytes:
        return None
    return _lack(
        figures,
        cause=name,
        title="the largest batches do not fit",
        evidence=(
            f"batches come in {figures.num_input_sizes} sizes: the smallest peaks at {format_bytes(smallest.peak_bytes)}, "
            f"the largest at {format_bytes(largest.peak_bytes)}",
        ),
        proof="the largest batch first: it runs out in step 1 or 2, or never",
        cure="cap lengths, bucket batches by length, and run the largest first",
        size=largest.peak_bytes - smallest.peak_bytes,
    )


@cause("capacity", "capacity")
def plain(figures: RunFigures, name: str) -> Finding | None:
    """More is active at once than there is."""
    if not _lacks(figures):
        return None
    highest = figures.highest
    shares = sorted((highest.at_peak if highest else {}).items(), key=lambda each: -each[1])
    total = sum(size for _, size in shares) or 1
    parts = ", ".join(f"{NAMES.get(name, name)} {size / total:.0%}" for name, size in shares[:4])
    first = shares[0][0] if shares else ""
    made_by = dominant(figures)
    kind = f"{NAMES[first]} dominate" if first in NAMES else ""
    what = made_by.what if made_by is not None else kind
    recorded = figures.oom.source if figures.is_file and figures.oom is not None else None
    return _lack(
        figures,
        cause=name,
        title=f"too little memory: {what}" if what else "too little memory",
        evidence=(
            ran_out(figures),
            _request(figures),
            f"at the peak: {parts}" if parts else "",
            *(made_by.evidence if made_by is not None else ()),
        ),
        proof=needed(figures),
        cure=made_by.cure if made_by is not None else cure_of(first, figures),
        size=(made_by.num_bytes if made_by is not None else dict(shares).get(first)) or None,
        source=made_by.source if made_by is not None else recorded,
    )


def _request(figures: RunFigures) -> str:
    """What a recording asked for in vain."""
    oom = figures.oom
    if oom is None or not figures.is_file or oom.free_bytes is None or oom.largest_free_bytes is None:
        return ""
    if oom.at_start:
        return oom.detail or ""
    size = "" if oom.size_bytes is None else f"the failing request asked for {format_bytes(oom.size_bytes)}: "
    return f"{size}largest free piece {format_bytes(oom.largest_free_bytes)}, all free {format_bytes(oom.free_bytes)}"


def _lacks(figures: RunFigures) -> bool:
    """Whether it ran out of memory, and not for gaps between what was active."""
    if figures.oom is None:
        return False
    if figures.is_traced and figures.capacity_bytes is not None:
        return figures.peak_active_bytes > figures.capacity_bytes
    return figures.oom.cause != "fragmentation"


def _lack(
    figures: RunFigures, *, cause: str, title: str, evidence: tuple[str, ...], proof: str, cure: str, size: int | None,
    source: str | None = None,
) -> Finding:  # fmt: skip
    need = f"{format_bytes(figures.peak_active_bytes)} are needed at once"
    room = f", {format_bytes(figures.capacity_bytes)} are there" if figures.capacity_bytes is not None else ""
    return Finding(
        cause=cause,
        title=title,
        confidence="high" if figures.is_traced else "medium",
        evidence=(need + room, *filter(None, evidence)),
        proof=proof,
        cure=cure,
        num_bytes=size,
        source=source,
    )
