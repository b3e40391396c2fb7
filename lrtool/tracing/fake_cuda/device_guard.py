"""Makes torch's C++ side believe in a CUDA device: autograd on fake CUDA tensors asks for a device guard and an accelerator.

Both stand behind exported C++ symbols, which are replaced through ctypes and put back afterwards.
"""

import ctypes
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from lrtool.errors import UnavailableError

CUDNN_OF_THE_BUILD = 91000
_CUDA_SLOT = 1
_NUM_GUARD_METHODS = 64
_NUM_HOOK_METHODS = 96
_HIDDEN_ENTRIES = 2  # a vtable points past its offset-to-top and its type information
_REGISTRY = "_ZN3c104impl26device_guard_impl_registryE"
_GET_HOOKS = "_ZN2at6detail12getCUDAHooksEv"
_CPU_ALLOCATOR = "_ZN3c1015GetCPUAllocatorEv"
_HINT = "predict on Linux with torch 2.9 or newer, or take --recorder cpu"
_Pointer = ctypes.c_void_p
_TABLES: list[Any] = []  # callbacks live as long as the process: C++ may hold on to a table it once saw


@contextmanager
def cuda_device() -> Iterator[None]:
    """Run the body with a CUDA device guard and CUDA hooks in place; nothing is done where there is a real GPU.

    Raises UnavailableError where this torch or this platform lacks what is needed.
    """
    if torch.cuda.is_available():
        yield
        return
    with ExitStack() as undo:
        try:
            undo.callback(_install_guard())
            undo.callback(_install_hooks())
        except (AttributeError, OSError, ValueError, KeyError) as error:
            raise UnavailableError(
                f"no fake CUDA device under torch {torch.__version__}: {error}", hint=_HINT
            ) from None
        accelerator = (
            torch._C._accelerator_getAccelerator() if hasattr(torch._C, "_accelerator_getAccelerator") else None
        )
        if accelerator is not None and accelerator.type != "cuda":
            raise UnavailableError(f"the fake CUDA device was not taken up by torch {torch.__version__}", hint=_HINT)
        yield


def _install_guard() -> Callable[[], None]:
    """Let libc10 install its own fake guard; it does so only over a guard that counts no devices."""
    ensure = torch._C._ensureCUDADeviceGuardSet
    registry = (_Pointer * (_CUDA_SLOT + 1)).in_dll(_library("c10"), _REGISTRY)
    before = registry[_CUDA_SLOT]
    if not before:
        table = (_Pointer * _NUM_GUARD_METHODS)(*([_returning(0)] * _NUM_GUARD_METHODS))
        guard = (_Pointer * 2)(ctypes.addressof(table), 0)
        _TABLES.extend((table, guard))
        registry[_CUDA_SLOT] = ctypes.addressof(guard)
    stub = registry[_CUDA_SLOT]
    ensure()
    if registry[_CUDA_SLOT] == stub and not before:
        registry[_CUDA_SLOT] = before
        raise ValueError("libc10 kept the stub guard")
    return lambda: registry.__setitem__(_CUDA_SLOT, before)


def _install_hooks() -> Callable[[], None]:
    """Give the CUDA hooks object a copy of its vtable that answers as a build with CUDA and cuDNN does."""
    get_hooks = getattr(_library("torch_cpu"), _GET_HOOKS)
    get_hooks.restype = _Pointer
    vtable_slot = ctypes.cast(get_hooks(), ctypes.POINTER(_Pointer))
    before = vtable_slot[0]
    assert before is not None
    size = _NUM_HOOK_METHODS + _HIDDEN_ENTRIES
    original = (_Pointer * size).from_address(before - _HIDDEN_ENTRIES * ctypes.sizeof(_Pointer))
    table = (_Pointer * size)(*original)
    _TABLES.append(table)
    methods = _hook_methods()
    for name, answer in _hook_answers().items():
        table[_HIDDEN_ENTRIES + methods[name]] = _returning(answer)
    if "getPinnedMemoryAllocator" in methods:
        table[_HIDDEN_ENTRIES + methods["getPinnedMemoryAllocator"]] = _returning(_host_allocator())
    if not torch.backends.cudnn.is_available():
        table[_HIDDEN_ENTRIES + methods["batchnormMinEpsilonCuDNN"]] = _returning(0.0)
    vtable_slot[0] = ctypes.addressof(table) + _HIDDEN_ENTRIES * ctypes.sizeof(_Pointer)
    return lambda: vtable_slot.__setitem__(0, before)


def _hook_answers() -> dict[str, int]:
    answers = {"isBuilt": 1, "hasPrimaryContext": 0, "init": 0}
    if torch.backends.cudnn.is_available():
        return answers
    yes = ("compiledWithCuDNN", "hasCuDNN", "supportsDilatedConvolutionWithCuDNN", "supportsDepthwiseConvolutionWithCuDNN",
           "supportsBFloat16ConvolutionWithCuDNNv8", "supportsBFloat16RNNWithCuDNN")  # fmt: skip
    known = _hook_methods()
    answers |= dict.fromkeys((name for name in yes if name in known), 1)
    versions = ("versionCuDNN", "versionRuntimeCuDNN")
    return answers | dict.fromkeys((name for name in versions if name in known), CUDNN_OF_THE_BUILD)


def _hook_methods() -> dict[str, int]:
    """Vtable index of each method of at::CUDAHooksInterface, counted in the headers that ship with torch.

    The two destructors come first, then the base class's virtual methods, then the new ones. Raises ValueError where
    the two that autograd needs are not where they always were.
    """
    folder = Path(torch.__file__).parent / "include" / "ATen" / "detail"
    names: list[str] = []
    for header in ("AcceleratorHooksInterface.h", "CUDAHooksInterface.h"):
        text = re.sub(r"//[^\n]*", "", (folder / header).read_text())
        text = text.partition("struct TORCH_API CUDAHooksArgs")[0]
        found = re.findall(r"\bvirtual\s+[^;{}()~]*?(\w+)\s*\(", text)
        names += [name for name in dict.fromkeys(found) if name not in names]
    methods = {name: index + 2 for index, name in enumerate(names)}
    if (methods.get("isBuilt"), methods.get("hasPrimaryContext")) != (2, 4):
        raise ValueError("the CUDA hooks have another layout")
    return methods


def _host_allocator() -> int:
    """Address of the CPU's allocator: pinned memory is the host's, and nothing copies from it here."""
    allocator = getattr(_library("c10"), _CPU_ALLOCATOR)
    allocator.restype = _Pointer
    return int(allocator() or 0)


def _library(name: str) -> ctypes.CDLL:
    suffix = "dylib" if sys.platform == "darwin" else "so"
    return ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / f"lib{name}.{suffix}"))


def _returning(value: float) -> int | None:
    """Address of a C++ method that ignores its arguments and returns an integer (or bool), or a double."""
    result = ctypes.c_double if isinstance(value, float) else ctypes.c_int64
    callback = ctypes.CFUNCTYPE(result, _Pointer)(lambda _this: value)
    _TABLES.append(callback)
    return ctypes.cast(callback, _Pointer).value
