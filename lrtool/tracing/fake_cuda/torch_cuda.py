"""Python-level answers of a GPU that is not there: torch.cuda, fake tensors' missing methods, optimizers and loaders."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.optim import optimizer as optimizers
from torch.utils import _foreach_utils
from torch.utils._mode_utils import no_dispatch

from lrtool.tracing.fake_cuda.moved import moving, take_content, take_data
from lrtool.tracing.fake_kernels.sparse import is_in_coordinates, made_of, parts_of_real
from lrtool.tracing.fake_kernels.zeros import run_on_zeros
from lrtool.tracing.fake_values.answers import Answers
from lrtool.tracing.fake_values.listener import Listener
from lrtool.tracing.fake_values.values import hold, number_in, values_of
from lrtool.tracing.patching import replaced

_MAX_CONSTANT_ELEMENTS = 1024
# fake tensors with a constant are left out of the cache of shapes, in which lengths do not count
_RealGenerator = torch.Generator


@contextmanager
def cuda_api(mode: FakeTensorMode, listener: Listener, answers: Answers, *, device: SimpleNamespace) -> Iterator[None]:
    """Answer torch.cuda as one GPU with the properties of `device` does, and mend what fake tensors cannot do."""
    swaps = torch.__future__.get_swap_module_params_on_conversion()
    with ExitStack() as stack:
        torch.__future__.set_swap_module_params_on_conversion(True)  # a moved parameter stays the optimizer's
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swaps)
        stack.enter_context(replaced(*_device_calls(listener, device), *_memory_calls(listener, device.total_memory)))
        stack.enter_context(
            replaced(*_stream_classes(listener), *_tensor_methods(listener, answers), *_library_calls(mode))
        )
        lists = [getattr(module, "_foreach_supported_types", None) for module in (optimizers, _foreach_utils)]
        for types in {id(each): each for each in lists if each is not None}.values():
            types.append(FakeTensor)
            stack.callback(types.remove, FakeTensor)
        stack.callback(_choose, listener, 0)
        yield


def device_of(tensor: Any) -> torch.device | None:
    """Of a fake tensor, which a step is asked for more often than anything else; None where its mode has to be asked."""
    if not isinstance(tensor, FakeTensor) or tensor.fake_mode.in_kernel_invocation:
        return None
    device: torch.device = tensor.fake_device
    return device


def without_real_tensors(values: Any) -> Any:
    """Nested arguments with every real tensor as a fake one, under a fake tensor mode.

    The mode could do it, but would remember the real tensor by a weak reference, and such parameters cannot be moved.
    """
    if isinstance(values, dict):
        return {key: without_real_tensors(value) for key, value in values.items()}
    if isinstance(values, tuple | list):
        return type(values)(without_real_tensors(value) for value in values)
    if not isinstance(values, Tensor) or isinstance(values, FakeTensor):
        return values
    if is_in_coordinates(values):
        parts, is_coalesced = parts_of_real(values)
        fakes = without_real_tensors(parts)
        for part in fakes:
            part.constant = None  # of constants the mode would make a constant, and look for its storage
        return made_of(fakes, values.shape, is_coalesced=is_coalesced)
    if values.layout is not torch.strided:
        return values
    fake = torch.empty_strided(values.shape, values.stride(), dtype=values.dtype, device=values.device)
    fake.requires_grad_(values.requires_grad)
    if values.numel() <= _MAX_CONSTANT_ELEMENTS:
        fake.constant = values  # type: ignore[attr-defined]
    hold(fake, values)
    return fake


def _always(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value


def _device_calls(listener: Listener, device: SimpleNamespace) -> list[tuple[Any, str, Any]]:
    answers = {
        "is_available": True, "is_initialized": True,
        "is_bf16_supported": True, "get_device_capability": (device.major, device.minor), "get_device_name": device.name,
        "get_device_properties": device, "get_rng_state_all": [],
    }  # fmt: skip
    nothing = ("_lazy_init", "init", "synchronize", "ipc_collect", "manual_seed", "manual_seed_all", "seed",
               "seed_all", "set_rng_state", "set_rng_state_all", "set_per_process_memory_fraction")  # fmt: skip
    answers |= dict.fromkeys(nothing)
    calls = [(torch.cuda, name, _always(value)) for name, value in answers.items()]
    rng_state = lambda *_: torch.zeros(16, dtype=torch.uint8)  # noqa: E731
    current = {
        "get_rng_state": rng_state, "device": _device_context(listener), "device_count": lambda: listener.num_devices,
        "current_device": lambda: listener.device, "set_device": lambda wanted: _choose(listener, wanted),
    }  # fmt: skip
    accelerator = (torch._C, "_get_accelerator", _always(torch.device("cuda")))
    return [*calls, accelerator, *((torch.cuda, name, call) for name, call in current.items())]


def _choose(listener: Listener, wanted: Any) -> None:
    """Make a GPU the current one; a negative number, or a device that is none, leaves it as it is."""
    device = torch.device(wanted) if isinstance(wanted, str) else wanted
    number = device.index if isinstance(device, torch.device) else device
    if isinstance(number, int) and number >= 0 and number != listener.device:
        FakeTensorMode.cache_clear()  # it knows what "cuda" meant before
        listener.device = number
        listener.num_devices = max(listener.num_devices, number + 1)
        torch._C._accelerator_setDeviceIndex(number)  # C++ fills in the number of "cuda" by it


def _device_context(listener: Listener) -> type:
    class Device:
        """torch.cuda.device."""

        def __init__(self, device: Any) -> None:
            self._wanted = device

        def __enter__(self) -> None:
            self._before = listener.device
            _choose(listener, self._wanted)

        def __exit__(self, *_: object) -> None:
            _choose(listener, self._before)

    return Device


def _memory_calls(listener: Listener, total_bytes: int) -> list[tuple[Any, str, Any]]:
    def current(*_: Any, **__: Any) -> int:
        return listener.allocated_bytes()

    def peak(*_: Any, **__: Any) -> int:
        return listener.peak_bytes()

    def stats(*_: Any, **__: Any) -> dict[str, int]:
        return {"allocated_bytes.all.current": current(), "allocated_bytes.all.peak": peak(), "num_alloc_retries": 0}

    calls: dict[str, Callable[..., Any]] = {
        "memory_allocated": current, "memory_reserved": current, "max_memory_allocated": peak,
        "max_memory_reserved": peak, "memory_stats": stats, "memory_summary": _always(""),
        "mem_get_info": lambda *_: (total_bytes - current(), total_bytes),
        "empty_cache": lambda: listener.on_empty_cache(), "reset_peak_memory_stats": _always(None),
        "reset_max_memory_allocated": _always(None), "reset_accumulated_memory_stats": _always(None),
    }  # fmt: skip
    return [(torch.cuda, name, call) for name, call in calls.items()]


class _Event:
    """torch.cuda.Event: everything is done at once."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def record(self, *_: Any) -> None:
        pass

    wait = record

    def synchronize(self) -> None:
        pass

    def query(self) -> bool:
        return True

    def elapsed_time(self, _other: Any) -> float:
        return 1.0


class _Stream:
    """torch.cuda.Stream: a number, which allocations made while it is current carry."""

    device = torch.device("cuda", 0)
    device_index = 0
    device_type = 1

    def __init__(self, number: int) -> None:
        self.stream_id = self.cuda_stream = number

    def synchronize(self) -> None:
        pass

    def wait_stream(self, _other: Any) -> None:
        pass

    wait_event = wait_stream

    def record_event(self, event: Any = None) -> Any:
        return event or _Event()

    def query(self) -> bool:
        return True


def _stream_classes(listener: Listener) -> list[tuple[Any, str, Any]]:
    class Stream(_Stream):
        def __init__(self, *_: Any, **__: Any) -> None:
            super().__init__(listener.num_streams)
            listener.num_streams += 1

        def __enter__(self) -> None:
            self._context = stream(self)
            self._context.__enter__()

        def __exit__(self, *error: Any) -> None:
            self._context.__exit__(*error)

    @contextmanager
    def stream(wanted: Any) -> Iterator[None]:
        before = listener.stream
        listener.stream = before if wanted is None else wanted.stream_id
        try:
            yield
        finally:
            listener.stream = before

    def set_stream(wanted: Any) -> None:
        listener.stream = wanted.stream_id

    return [
        (torch.cuda, "Stream", Stream), (torch.cuda, "Event", _Event), (torch.cuda, "stream", stream),
        (torch.cuda, "set_stream", set_stream), (torch.cuda, "default_stream", lambda *_: _Stream(0)),
        (torch.cuda, "current_stream", lambda *_: _Stream(listener.stream)),
    ]  # fmt: skip


class _GeneratorType(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _RealGenerator)


class _Generator(metaclass=_GeneratorType):
    """torch.Generator on any device is one on the CPU; a class, because annotations say `torch.Generator | None`."""

    def __new__(cls, device: Any = "cpu") -> Any:
        return _RealGenerator("cpu")


def _tensor_methods(listener: Listener, answers: Answers) -> list[tuple[Any, str, Any]]:
    def record_stream(self: Tensor, stream: Any) -> None:
        listener.on_record_stream(self, stream.stream_id)

    def numpy(self: Any, *_: Any, **__: Any) -> Any:
        with no_dispatch():
            values = values_of(self)
            if values is not None:
                return values.numpy()
            answers.contents_unknown()
            plain = torch.empty((), dtype=torch.float32 if self.dtype is torch.bfloat16 else self.dtype)
            return np.zeros(tuple(self.shape), dtype=plain.numpy().dtype)

    def tolist(self: Any) -> Any:
        return answers.number(self) if self.dim() == 0 else numpy(self).tolist()

    def formatted(self: Any, spec: str) -> str:
        return format(_printed(self), spec) if self.dim() == 0 else object.__format__(self, spec)

    methods: dict[str, Callable[..., Any]] = {
        "numpy": numpy, "__array__": numpy, "tolist": tolist, "__format__": formatted, "__deepcopy__": _deepcopy,
        "pin_memory": lambda self, *_: self, "is_pinned": lambda self, *_: self.device.type == "cpu",
        "record_stream": record_stream,
    }  # fmt: skip
    data = property(torch._C.TensorBase.data.__get__, take_data)  # type: ignore[attr-defined]
    return [(torch.Tensor, "data", data), *((FakeTensor, name, method) for name, method in methods.items())]


def _printed(tensor: Tensor) -> float | int | bool:
    """What a number looks like in print, where nothing hangs on it."""
    value = number_in(tensor)
    return 1 if value is None else value


def _deepcopy(self: Any, memo: dict[int, Any]) -> Any:
    """As Tensor.__deepcopy__, but without copying the fake tensor mode along."""
    if id(self) not in memo:
        with torch.no_grad():
            copy = self.detach().clone(memory_format=torch.preserve_format)
            is_parameter = isinstance(self, nn.Parameter) or getattr(self, "_is_param", False)
            copied = nn.Parameter(copy, self.requires_grad) if is_parameter else copy.requires_grad_(self.requires_grad)
            memo[id(self)] = copied
            if self.is_leaf and self.grad is not None:
                copied.grad = _deepcopy(self.grad, memo)
    return memo[id(self)]


def _library_calls(mode: FakeTensorMode) -> list[tuple[Any, str, Any]]:
    swap: Callable[[Tensor, Tensor], None] = torch.utils.swap_tensors

    def swap_tensors(first: Tensor, second: Tensor) -> None:
        if take_content(first, second):
            return
        memo = mode.fake_tensor_converter.tensor_memo  # holds weak references, with which torch refuses to swap
        for key in [key for key, value in list(memo.items()) if value is first or value is second]:
            del memo[key]
        swap(first, second)

    return [
        (torch, "Generator", _Generator), (torch, "save", _always(None)), (torch.utils, "swap_tensors", swap_tensors),
        (nn.Module, "_apply", moving(nn.Module._apply)),
        (nn.RNNBase, "flatten_parameters", _flatten_parameters), (fake_tensor, "init_gpu_context", _always(None)),
        (fake_tensor, "run_fallback_kernel", run_on_zeros),
        (FakeTensorMode, "avoid_device_init", property(lambda _self: True)),
    ]  # fmt: skip


def _flatten_parameters(self: nn.RNNBase) -> None:
    """cuDNN keeps all weights of a recurrent network in one buffer, of which the parameters are views."""
    weights = [weight for weight in self._flat_weights if isinstance(weight, Tensor)]
    if not weights or weights[0].device.type != "cuda" or len({weight.dtype for weight in weights}) > 1:
        return
    if len(weights) > 1 and len({weight.untyped_storage()._cdata for weight in weights}) == 1:
        return
    with torch.no_grad():
        flat, offset = weights[0].new_empty(sum(weight.numel() for weight in weights)), 0
        for weight in weights:
            weight.set_(flat, offset, weight.shape, weight.contiguous().stride())  # type: ignore[call-overload]
            offset += weight.numel()
        weights[0]._lrtool_flat_weights = flat  # type: ignore[attr-defined]
