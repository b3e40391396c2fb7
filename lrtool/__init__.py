"""LR range test and GPU-memory profiler for PyTorch.

import lrtool
found = lrtool.range_test(build)                       # a factory, or "model.py:build"
found = lrtool.range_test({"model": ..., ...})         # live objects, put back exactly
CyclicLR(optimizer, base_lr=found.base_lr, max_lr=found.max_lr)
"""

from typing import TYPE_CHECKING, Any

from lrtool.errors import LrtoolError, UnavailableError, UsageError, WorkloadError

if TYPE_CHECKING:
    from lrtool.lr.range_test import range_test
    from lrtool.results import RangeTest
    from lrtool.workload.workload import Workload

__all__ = ["LrtoolError", "RangeTest", "UnavailableError", "UsageError", "Workload", "WorkloadError", "range_test"]

_LAZY = {
    "RangeTest": "lrtool.results",
    "Workload": "lrtool.workload.workload",
    "range_test": "lrtool.lr.range_test",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for, so that `lrtool --help` does not."""
    if name not in _LAZY:
        raise AttributeError(f"module 'lrtool' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
