"""Which module of the model runs, by its name: the innermost one whose forward has begun and not ended."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook


class Named(Protocol):
    """What is told which module runs; modules that `module_names` does not know (by id) leave it as it is."""

    module: str | None
    module_names: Mapping[int, str]


@contextmanager
def watched_modules(told: Named) -> Iterator[None]:
    """Tell `told` of every module that runs in the body."""
    outer: list[str | None] = []

    def begins(module: nn.Module, _args: Any) -> None:
        outer.append(told.module)
        told.module = told.module_names.get(id(module), told.module)

    def ends(_module: nn.Module, _args: Any, _output: Any) -> None:
        told.module = outer.pop() if outer else None

    hooks = [register_module_forward_pre_hook(begins), register_module_forward_hook(ends, always_call=True)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def names_of(model: nn.Module) -> dict[int, str]:
    """Every module of the model by its id; the model itself goes by the name of its class."""
    return {id(module): name or type(model).__name__ for name, module in model.named_modules()}
