"""What the autograd engine does when nobody watches it, and which forward operator a backward node belongs to.

Under any dispatch mode torch's C++ code avoids in-place operators that it uses otherwise ("composite compliance"), so a
recorded trace has allocations that a real run does not have. `in_place_twin` finds them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
Twin = Callable[..., Any]

_FORMULA_TWINS = {
    getattr(getattr(aten, name), overload): getattr(getattr(aten, f"{name}_"), overload)
    for name, overload in (
        ("index_add", "default"), ("scatter_add", "default"), ("index_put", "default"), ("put", "default"),
        ("scatter", "src"), ("masked_scatter", "default"), ("masked_fill", "Scalar"), ("masked_fill", "Tensor"),
    )
}  # fmt: skip
_HAS_TWIN = {aten.add.Tensor, *_FORMULA_TWINS}
_COMPOSITES_WITH_TEMPORARIES = ("binary_cross_entropy_with_logits", "_safe_softmax", "dist", "_euclidean_dist",
                                "soft_margin_loss", "soft_margin_loss_backward")  # fmt: skip
_adds_in_place = False


@contextmanager
def composites_add_in_place() -> Iterator[None]:
    """Within the body an out-of-place add is one that a real run does in place."""
    global _adds_in_place
    before, _adds_in_place = _adds_in_place, True
    try:
        yield
    finally:
        _adds_in_place = before


class EngineView:
    """What is known of the backward pass that runs now; `calibrate` before use.

    `birth_node` tells in which backward node a storage was born, None for others.
    """

    def __init__(self, birth_node: Callable[[Tensor], object | None]) -> None:
        self.depth = 0
        self._birth_node = birth_node
        self._own_uses: tuple[int, int] | None = None

    @property
    def is_running(self) -> bool:
        return self.depth > 0

    def calibrate(self, device: str) -> None:
        """Learn from a small graph what use counts a tensor has that only the engine holds."""
        hidden = torch.ones(2, device=device, requires_grad=True) * 2
        (hidden.relu() * 2 + hidden.sigmoid() * 3).pow(2).sum().backward()

    def node(self) -> tuple[str, int] | None:
        """Name and sequence number of the backward node that runs now."""
        node = torch._C._current_autograd_node() if self.depth else None
        return None if node is None else (node.name(), node._sequence_nr())

    def in_place_twin(self, func: Any, args: tuple[Any, ...]) -> Twin | None:
        """The in-place operator that a run without a mode uses in place of `func`, None where it uses `func`."""
        if func not in _HAS_TWIN or args[0].layout is not torch.strided:
            return None
        if func is aten.add.Tensor:
            is_in_place = self._accumulates(args) if self.depth else _adds_in_place
            return aten.add_.Tensor if is_in_place else None
        twin = _FORMULA_TWINS.get(func) if self.depth else None
        return twin if twin is not None and self._is_formula_temporary(args[0]) else None

    def _accumulates(self, args: tuple[Any, ...]) -> bool:
        """`InputBuffer::accumulate`: the sum of two gradients goes into the first if the engine alone holds it."""
        if torch.is_grad_enabled() or len(args) != 2 or not isinstance(args[1], Tensor) or args[0] is args[1]:
            return False
        old, new = args
        uses = _uses(old)
        if self._own_uses is None:
            self._own_uses = uses  # the first sum of all is that of the calibration graph
        if uses != self._own_uses or old.shape != new.shape or not aten.is_non_overlapping_and_dense.default(old):
            return False
        node = self.node()
        if node is None or self._birth_node(old) != node:
            return True
        return _has_double_edge()  # born in this very node: a formula's temporary, unless two outputs share one edge

    def _is_formula_temporary(self, tensor: Tensor) -> bool:
        """A tensor made by the C++ formula that runs now, which nobody else can see."""
        running = torch._C._current_autograd_node()
        if torch.is_grad_enabled() or isinstance(running, torch.autograd.function.BackwardCFunction):
            return False
        node = self.node()
        if node is None or self._birth_node(tensor) != node or self._own_uses is None:
            return False
        tensor_uses, storage_uses = _uses(tensor)
        own_tensor, own_storage = self._own_uses
        return storage_uses == own_storage and tensor_uses in (own_tensor, own_tensor + 1)


@contextmanager
def watched_engine(view: EngineView, *, on_start: Callable[..., None]) -> Iterator[None]:
    """Keep the engine on this thread and `view.depth` right; `on_start` is called as an outermost backward begins,
    with `creates_graph` where it makes a graph of its own.
    """
    from torch.autograd import graph

    original = graph._engine_run_backward

    def run(*args: Any, **kwargs: Any) -> Any:
        if view.depth == 0:
            on_start(creates_graph=_creates_graph(args, kwargs))
        view.depth += 1
        try:
            return original(*args, **kwargs)
        finally:
            view.depth -= 1

    holders = [module for module in (graph, torch.autograd) if hasattr(module, "_engine_run_backward")]
    for module in holders:
        module._engine_run_backward = run  # type: ignore[attr-defined]
    try:
        with torch.autograd.set_multithreading_enabled(False):
            yield
    finally:
        for module in holders:
            module._engine_run_backward = original  # type: ignore[attr-defined]


def _creates_graph(arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Whether gradients that parameters get have graphs: (tensors, gradients, retain_graph, create_graph, ...)."""
    return bool(named.get("accumulate_grad")) and len(arguments) > 3 and bool(arguments[3])


def next_sequence_number() -> int:
    """The number that the next backward node to be made will get."""
    return torch.autograd._get_sequence_nr()  # type: ignore[attr-defined]


@cache
def composite_body(func: Any) -> Twin | None:
    """The C++ body of an operator that is made of others and keeps temporaries of input size; None for all the rest."""
    key = "CompositeExplicitAutograd"
    if func._opname not in _COMPOSITES_WITH_TEMPORARIES or not _has_kernel(func.name(), key):
        return None
    return partial(func._op_dk, torch._C.DispatchKey.CompositeExplicitAutograd)


def undecomposed_body(func: Any, device_type: str, *, in_composite: bool = False) -> Twin | None:
    """What an operator made of others runs where autograd, which takes it apart elsewhere, is left out: in inference mode,
    within a composite whose body runs below autograd, and within operators that take functions.
    """
    device = device_type.upper()
    is_left_out = in_composite or torch.is_inference_mode_enabled() or _is_excluded(torch._C.DispatchKey.AutogradOther)
    if not is_left_out or not _is_made_of_others(func) or _has_kernel(func.name(), device):
        return None
    own = f"Autograd{device}"
    key = own if _has_kernel(func.name(), own) else "CompositeImplicitAutograd"
    return partial(func._op_dk, getattr(torch._C.DispatchKey, key))


@cache
def _is_made_of_others(func: Any) -> bool:
    is_composite = func.namespace == "aten" and _has_kernel(func.name(), "CompositeImplicitAutograd")
    return is_composite and not _has_kernel(func.name(), "CPU")


def _has_kernel(name: str, key: str) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(name, key)


def _is_excluded(key: Any) -> bool:
    return torch._C._dispatch_tls_is_dispatch_key_excluded(key)


def _uses(tensor: Tensor) -> tuple[int, int]:
    """How often a tensor and its storage are held."""
    held: Any = tensor
    return held._use_count(), torch._C._storage_Use_Count(tensor.untyped_storage()._cdata)


def _has_double_edge() -> bool:
    node = torch._C._current_autograd_node()
    edges = [edge for edge in node.next_functions if edge[0] is not None]
    return len(set(edges)) < len(edges)
