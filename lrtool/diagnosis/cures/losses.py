"""A cure of what follows the model: cross-entropy over many classes, in chunks of tokens."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lrtool.diagnosis.cures.applied import AppliedCure, CannotHelp, CureOptions
from lrtool.diagnosis.cures.cure import Stage, cure
from lrtool.workload.step import loss_of
from lrtool.workload.workload import Workload

NUM_CHUNKS = 8
MIN_CLASSES = 1_000


@cure(
    name="chunked-loss",
    title="cross-entropy in chunks",
    stage=Stage.RECOMPUTATION,
    alters="rounding",
    time_by_operations=True,
    note="fused with the head, as Liger's FusedLinearCrossEntropy is, it saves the logits too",
)
def chunked_loss(workload: Workload, _options: CureOptions) -> AppliedCure:
    """Every cross-entropy over many classes in chunks of tokens, each computed again in backward."""
    if not _has_many_classes(workload):
        raise CannotHelp(f"no layer of the model has {MIN_CLASSES:,} outputs or more")
    if workload.step is not None:
        changed = replace(workload, step=_chunking(workload.step))
    else:
        changed = replace(workload, loss=_chunking(loss_of(workload)))
    return AppliedCure(
        workload=changed,
        how=(
            f"chunks = zip(logits.chunk({NUM_CHUNKS}), targets.chunk({NUM_CHUNKS}))",
            'piece = partial(checkpoint, F.cross_entropy, reduction="sum", use_reentrant=False)',
            "loss = sum(piece(x, y) for x, y in chunks) / len(targets)",
        ),
    )


def _chunking(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with torch's cross-entropy in chunks while it runs."""

    @wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        original = functional.cross_entropy
        functional.cross_entropy = partial(_in_chunks, original)
        try:
            return function(*arguments, **named)
        finally:
            functional.cross_entropy = original

    return called


def _has_many_classes(workload: Workload) -> bool:
    sizes = (getattr(module, "out_features", 0) for module in workload.model.modules())
    return any(isinstance(size, int) and size >= MIN_CLASSES for size in sizes)


def _in_chunks(original: Callable[..., Tensor], input: Tensor, target: Tensor, *arguments: Any, **named: Any) -> Tensor:
    """Cross-entropy of (tokens, classes) as the sum over chunks; whatever else is asked for goes to torch's own."""
    is_plain = not arguments and named.get("reduction", "mean") in ("mean", "sum") and named.get("weight") is None
    is_plain = is_plain and not named.get("label_smoothing") and input.dim() == 2 and target.dim() == 1
    if not is_plain or len(input) < NUM_CHUNKS or input.shape[1] < MIN_CLASSES or not input.requires_grad:
        return original(input, target, *arguments, **named)
    ignored = named.get("ignore_index", -100)
    piece = partial(original, reduction="sum", ignore_index=ignored)
    total = torch.zeros((), dtype=input.dtype, device=input.device)
    for logits, targets in zip(input.chunk(NUM_CHUNKS), target.chunk(NUM_CHUNKS), strict=True):
        total = total + checkpoint(piece, logits, targets, use_reentrant=False)
    return total if named.get("reduction") == "sum" else total / (target != ignored).sum()
