"""Activation checkpointing of a model's repeated blocks, which are found by themselves: each keeps only its input and is
computed again in the backward pass (Chen et al. 2016, https://arxiv.org/abs/1604.06174).
"""

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from lrtool.diagnosis.cures.applied import AppliedCure, CannotHelp, CureOptions
from lrtool.diagnosis.cures.cure import Stage, cure
from lrtool.errors import UsageError, did_you_mean
from lrtool.workload.blocks import Block, repeated_blocks
from lrtool.workload.workload import Workload

MIN_LAYERS = 4
_IMPORT = "from torch.utils.checkpoint import checkpoint"


@cure(
    name="checkpointing",
    title="activation checkpointing",
    stage=Stage.RECOMPUTATION,
    time_by_operations=True,
    note="computes the forward pass of each block twice",
)
def checkpoint_model(workload: Workload, options: CureOptions) -> AppliedCure:
    """Checkpoint the named modules, else the repeated blocks, else a plain Sequential in pieces.

    A model of transformers does it by its own method, which also turns its cache off. Raises CannotHelp, UsageError.
    """
    model = workload.model
    if options.modules:
        return _checkpointed(workload, named_blocks(model, options.modules))
    own = next((m for m in model.modules() if getattr(m, "supports_gradient_checkpointing", False)), None)
    if own is not None:
        return _by_its_own_method(workload, own)
    blocks = repeated_blocks(model)
    if blocks:
        return _checkpointed(workload, blocks)
    return _in_pieces(workload)


def named_blocks(model: nn.Module, names: Sequence[str]) -> list[Block]:
    """The modules of these names or patterns ("encoder.layers.*"). Raises UsageError for one that names nothing."""
    known = dict(model.named_modules())
    found: dict[str, Block] = {}
    for wanted in names:
        matches = [name for name in known if name and (name == wanted or _matches(name, wanted))]
        if not matches:
            raise UsageError(f"the model has no module {wanted!r}", hint=did_you_mean(wanted, filter(None, known)))
        found |= {name: Block(name=name, module=known[name]) for name in matches}
    return list(found.values())


def _matches(name: str, pattern: str) -> bool:
    """Whether each dotted part fits: `*` stands for one part or a piece of it."""
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _checkpointed(workload: Workload, blocks: Sequence[Block]) -> AppliedCure:
    for block in blocks:
        block.module.forward = partial(checkpoint, block.module.forward, use_reentrant=False)
    kinds = sorted({type(block.module).__name__ for block in blocks})
    test = f'type(m).__name__ == "{kinds[0]}"' if len(kinds) == 1 else f"type(m).__name__ in {tuple(kinds)}"
    return AppliedCure(
        workload=workload,
        how=(
            f"from functools import partial; {_IMPORT}",
            f"for m in filter(lambda m: {test}, model.modules()):",
            "    m.forward = partial(checkpoint, m.forward, use_reentrant=False)",
        ),
    )


def _by_its_own_method(workload: Workload, module: Any) -> AppliedCure:
    if getattr(module, "is_gradient_checkpointing", False):
        raise CannotHelp("gradient checkpointing is on already")
    module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return AppliedCure(
        workload=workload,
        how=('model.gradient_checkpointing_enable({"use_reentrant": False})',),
    )


def _in_pieces(workload: Workload) -> AppliedCure:
    """The longest plain Sequential in about as many pieces as each has layers."""
    plain = {
        name: module
        for name, module in workload.model.named_modules()
        if isinstance(module, nn.Sequential) and len(module) >= MIN_LAYERS
    }
    if not plain:
        raise CannotHelp("no repeated blocks were found; name modules with --checkpoint")
    name, longest = max(plain.items(), key=lambda item: len(item[1]))
    pieces = math.isqrt(len(longest))
    longest.forward = partial(checkpoint_sequential, longest, pieces, use_reentrant=False)  # type: ignore[method-assign]
    path = f"model.{name}" if name else "model"
    return AppliedCure(
        workload=workload,
        how=(
            "from torch.utils.checkpoint import checkpoint_sequential",
            f"{path}.forward = lambda x: checkpoint_sequential({path}, {pieces}, x, use_reentrant=False)",
        ),
    )
