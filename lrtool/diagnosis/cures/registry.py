"""All cures: what to try against a shortage of memory, each with the lines that do the same in the user's own code."""

from collections.abc import Iterable, Sequence
from importlib import import_module
from pkgutil import iter_modules

from lrtool.diagnosis import cures
from lrtool.diagnosis.cures.applied import AppliedCure, CureOptions
from lrtool.diagnosis.cures.batches import resized
from lrtool.diagnosis.cures.cure import OPTION_CURES, WORKLOAD_CURES, OptionCure, WorkloadCure
from lrtool.errors import UsageError, did_you_mean
from lrtool.workload.workload import Workload

for _module in iter_modules(cures.__path__, f"{cures.__name__}."):
    import_module(_module.name)

CURES = tuple(sorted(WORKLOAD_CURES, key=lambda each: (each.stage, each.apply.__module__)))
"""In the order in which they are applied together: by stage, and in each by their place in the file."""
OPTIONS = tuple(OPTION_CURES)
NAMES = tuple(cure.name for cure in (*CURES, *OPTIONS))


def find_cures(names: Iterable[str]) -> tuple[WorkloadCure, ...]:
    """Those of these names that change a workload, in the order in which they are applied. Raises UsageError."""
    wanted = _known(names)
    return tuple(cure for cure in CURES if cure.name in wanted)


def find_options(names: Iterable[str]) -> tuple[OptionCure, ...]:
    """Those of these names that are options of the allocator. Raises UsageError."""
    wanted = _known(names)
    return tuple(option for option in OPTIONS if option.name in wanted)


def _known(names: Iterable[str]) -> list[str]:
    wanted = list(names)
    for name in wanted:
        if name not in NAMES:
            raise UsageError(f"unknown cure {name!r}", hint=did_you_mean(name, NAMES))
    return wanted


def apply_cures(workload: Workload, cures: Sequence[WorkloadCure], options: CureOptions) -> AppliedCure:
    """The workload with all of the cures, one after the other, and their lines. Raises CannotHelp, UsageError."""
    lines: list[str] = []
    if options.batch_size is not None:
        workload = resized(workload, options.batch_size)
    for cure in cures:
        applied = cure.apply(workload, options)
        workload = applied.workload
        lines += applied.how
    return AppliedCure(workload=workload, how=tuple(dict.fromkeys(lines)))
