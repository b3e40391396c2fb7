"""Tells what the fake GPU lacks from what the user's code does wrong: an operator that a GPU has is nobody's mistake."""

import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import lrtool

_TYPES = {
    "DataDependentOutputException", "DynamicOutputShapeException", "UnsupportedOperatorException",
    "UnsupportedFakeTensorException", "UnsupportedMutationAliasingException", "GuardOnDataDependentSymNode",
    "MetadataMismatchError",
}  # fmt: skip
"""torch's own exceptions of fake tensors, by name: releases differ in which there are."""
_TEXTS = [re.compile(text, re.DOTALL) for text in (
    r"Could not run '(?P<operator>[\w:.]+)' with arguments from the",
    r"no rule registered for HigherOrderOperator (?P<operator>\w+)",
    r"(?P<operator>\w+::[\w.]+)[^\n]*(?:no fake impl|Meta tensors|no meta implementation|fake tensors)",
    r"Tried to instantiate dummy base class (?P<operator>\w+)",
    r"module '(?P<operator>torch\._C(?:\.\w+)?)' has no attribute",
    r"Cannot copy out of meta tensor",
    r"Cannot access (?:data pointer|storage) of|data is not allocated yet|invalid python storage",
    r"is not supported for tensor subclasses",
    r"(?:F|f)ake ?(?:T|t)ensor(?!.*(?:two different devices|is on cpu, expected|Expected all tensors))",
    r"Cannot initialize CUDA|Torch not compiled with CUDA|not linked with support for cuda",
    r"No CUDA GPUs are available|no NVIDIA driver|Backend doesn.t support create a new Stream",
    r"tensor layout but got Sparse|SparseCsrTensorImpl|sparse compressed",
    r"doesn't have NCCL|No backend type associated with device type cuda|Cannot access accelerator device",
    r"cannot be accessed from Triton|0 active drivers",
    r"'types.SimpleNamespace' object has no attribute '(?P<operator>\w+)'",
)]  # fmt: skip
"""What torch says where a fake tensor, or a build without CUDA, cannot do what a GPU does."""
_DATA = ("DataDependentOutputException", "DynamicOutputShapeException", "GuardOnDataDependentSymNode")
_HINT_OF_DATA = "data decide it: take --recorder cpu, which runs the step really"
_HINT = "take --recorder cpu: it runs the step on the CPU, and plays what that allocates on the GPU's allocator"
_OURS = str(Path(lrtool.__file__).parent / "tracing")
_TRACERS = tuple(
    str(Path(torch.__file__).parent / name)
    for name in ("_subclasses", "_dynamo", "_inductor", "_higher_order_ops", "fx", "_functorch/_aot_autograd")
)
_ODD_TYPES = (AssertionError, AttributeError, IndexError, KeyError, TypeError, ZeroDivisionError)


def note_operator(error: BaseException, operator: str, source: str | None) -> None:
    """Remember which operator raised, and for which line of the user's; the innermost one counts."""
    if not hasattr(error, "_lrtool_operator"):
        error._lrtool_operator, error._lrtool_source = operator, source  # type: ignore[attr-defined]


def source_of(error: BaseException) -> str | None:
    """The user's line that `note_operator` was told, here or in what `error` was raised from."""
    return next((each._lrtool_source for each in _chain(error) if hasattr(each, "_lrtool_source")), None)


def missing_operator(error: BaseException) -> str | None:
    """What the fake GPU lacks, where `error` or what it was raised from tells so; None for any other error."""
    for each in _chain(error):
        if isinstance(each, AssertionError | KeyError) and not _is_raised_in_fakes(each):
            continue  # raised by Python code, whatever tensors its text shows
        found = next(filter(None, (text.search(str(each)) for text in _TEXTS)), None)
        if found is None and type(each).__name__ not in _TYPES and not _is_raised_in_fakes(each):
            continue
        named = (found.groupdict().get("operator") if found else None) or getattr(each, "_lrtool_operator", None)
        return str(named or getattr(each, "func", None) or _innermost(each))
    return None


def way_out(error: BaseException) -> str:
    """What to do about what is lacking."""
    is_of_data = any(type(each).__name__ in _DATA for each in _chain(error))
    return _HINT_OF_DATA if is_of_data else _HINT


def _is_raised_in_fakes(error: BaseException) -> bool:
    """Whether code stumbled that only traces, and computes nothing: an error of shapes or values comes as another type."""
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, _ODD_TYPES) and bool(frames) and frames[-1].filename.startswith((_OURS, *_TRACERS))


def _innermost(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].name if frames else type(error).__name__


def _chain(error: BaseException) -> Iterator[Any]:
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__
