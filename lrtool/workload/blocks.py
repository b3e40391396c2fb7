"""The blocks that a model repeats, such as the layers of a transformer: what is checkpointed, or sharded, one by one."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A module of a model, by its dotted name."""

    name: str
    module: nn.Module


def repeated_blocks(model: nn.Module) -> list[Block]:
    """The modules that the model repeats: siblings of one class that consist of modules themselves and have parameters.

    Found from the outside in, and not inside each other; a pair is passed over where a longer row stands inside it.
    """
    return _blocks_below(model, "")


def blocks_to_shard(model: nn.Module) -> list[nn.Module]:
    """The repeated blocks; where there are none, the layers of the outermost ModuleLists, else Sequentials."""
    blocks = [block.module for block in repeated_blocks(model)]
    if blocks:
        return blocks
    for kind in (nn.ModuleList, nn.Sequential):
        found = [block for holder in _outermost(model, kind) for block in holder.children() if _has_parameters(block)]
        if len(found) > 1:
            return found
    return []


def _outermost(module: nn.Module, kind: type[nn.Module]) -> Iterator[nn.Module]:
    if isinstance(module, kind):
        yield module
        return
    for child in module.children():
        yield from _outermost(child, kind)


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _blocks_below(module: nn.Module, prefix: str) -> list[Block]:
    found: list[Block] = []
    children = list(module.named_children())
    for name, child in children:
        inside = _blocks_below(child, f"{prefix}{name}.")
        row = sum(type(other) is type(child) for _, other in children)
        is_block = row > 1 and _is_composite(child) and not (row == 2 and len(inside) > row)
        found += [Block(name=f"{prefix}{name}", module=child)] if is_block else inside
    return found


def _is_composite(module: nn.Module) -> bool:
    has_parts = next(module.children(), None) is not None
    return has_parts and not isinstance(module, CONTAINERS) and next(module.parameters(), None) is not None
