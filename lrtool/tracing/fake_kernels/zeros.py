"""The last resort for an operator without a meta kernel: it runs on zeros, without CUDA on the CPU, and tells its shapes."""

from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree
from torch.utils._mode_utils import no_dispatch

from lrtool.tracing.fake_kernels.sparse import is_in_coordinates, made_of, parts_of, zeros_at


def run_on_zeros(mode: Any, func: Any, flat_args: Any, args_spec: Any, _error: Any) -> Any:
    """In place of torch's `run_fallback_kernel`."""
    device = next(value.fake_device for value in flat_args if isinstance(value, FakeTensor))
    zeros = _Zeros(mode, device)
    args, kwargs = _pytree.tree_unflatten([zeros.real(value) for value in flat_args], args_spec)
    with no_dispatch():
        result = func(*args, **kwargs)
    return _pytree.tree_map(zeros.fake, result)


class _Zeros:
    """Real tensors for fake ones, and back: what an operator returns of what it was given is that again."""

    def __init__(self, mode: Any, device: torch.device) -> None:
        self._mode, self._device = mode, device
        self._originals: dict[int, Tensor] = {}
        self._parts: dict[int, Tensor] = {}

    def real(self, value: Any) -> Any:
        if not isinstance(value, FakeTensor):
            return torch.device("cpu") if isinstance(value, torch.device) else value
        made = self._real_sparse(value) if is_in_coordinates(value) else self._zeros_like(value)
        self._originals[id(made)] = value
        return made

    def fake(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        original = self._originals.get(id(value))
        if original is not None:
            return original
        return self._fake_sparse(value) if is_in_coordinates(value) else self._fake_dense(value)

    def _zeros_like(self, value: Tensor) -> Tensor:
        with no_dispatch():
            return torch.zeros_like(value, device="cpu")

    def _real_sparse(self, value: Tensor) -> Tensor:
        with self._mode:
            parts, is_coalesced = parts_of(value), value.is_coalesced()
        with no_dispatch():
            made = zeros_at(parts, value.shape, is_coalesced=is_coalesced)
            for real, part in zip(parts_of(made), parts, strict=True):
                self._parts[real.untyped_storage()._cdata] = part
        return made

    def _fake_sparse(self, value: Tensor) -> Tensor:
        with no_dispatch():
            indices, values = (self._part(part) for part in parts_of(value))
            is_coalesced = value.is_coalesced()
        with self._mode:
            return made_of((indices, values), value.shape, is_coalesced=is_coalesced)

    def _part(self, real: Tensor) -> Tensor:
        known = self._parts.get(real.untyped_storage()._cdata)
        return known if known is not None and known.shape == real.shape else self._fake_dense(real)

    def _fake_dense(self, value: Tensor) -> Tensor:
        with no_dispatch():
            meta = value.to("meta")
        return FakeTensor(self._mode, meta, self._device)
