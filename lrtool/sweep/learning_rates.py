"""Where a sweep's LRs come from: the options, the last range test of the same target, or the optimizer itself."""

from dataclasses import dataclass
from pathlib import Path

from lrtool.config import MemSweepSettings
from lrtool.results import RangeTest, Result
from lrtool.results.mem_sweep import PerGroup
from lrtool.results.schedules import values_of
from lrtool.results.stored.run_dir import last_of
from lrtool.units import format_lr


@dataclass(frozen=True, kw_only=True, slots=True)
class LearningRates:
    """The ends of the cycle and where they are from, in words; None where the trial takes the optimizer's own."""

    base_lr: PerGroup | None
    max_lr: PerGroup | None
    source: str


def find_learning_rates(settings: MemSweepSettings, *, target: str, runs: Path) -> LearningRates:
    """The LRs given; else those that the newest range test of `target` below `runs` suggests; else the optimizer's.

    None too where they vary from trial to trial, or come with the user's own scheduler.
    """
    if settings.schedule == ("own",):
        return LearningRates(base_lr=None, max_lr=None, source="the scheduler that build() returns")
    low, high = values_of(settings.base_lr), values_of(settings.max_lr)
    if len(low) == 1 and len(high) == 1:
        return LearningRates(base_lr=low[0], max_lr=high[0], source="the options or settings")
    if low or high:
        return LearningRates(base_lr=None, max_lr=None, source="the options or settings, which vary it")
    found = last_of(runs, "range-test", lambda result: _suggests(result, target))
    if found is None:
        return LearningRates(base_lr=None, max_lr=None, source="the optimizer: its own LR, and a tenth of it")
    run_dir, result = found
    assert isinstance(result, RangeTest)
    base_lr, max_lr = _per_group(result)
    return LearningRates(base_lr=base_lr, max_lr=max_lr, source=f"the range test {run_dir}")


def describe(rates: LearningRates) -> str:
    if rates.base_lr is None or rates.max_lr is None:
        return f"LR from {rates.source}"
    return f"LR {_text(rates.base_lr)} to {_text(rates.max_lr)}, from {rates.source}"


def _text(lr: PerGroup) -> str:
    return format_lr(lr) if not isinstance(lr, tuple) else f"[{', '.join(map(format_lr, lr))}]"


def _per_group(result: RangeTest) -> tuple[PerGroup | None, PerGroup | None]:
    """A list for each end where every group was ramped; else the group with the largest LR, which the others follow."""
    groups = [group for test in result.optimizer_tests or (result,) for group in test.param_groups]
    low, high = (tuple(getattr(each, name) for each in groups) for name in ("base_lr", "max_lr"))
    if not (result.group_tests or result.optimizer_tests) or None in (*low, *high):
        return result.base_lr, result.max_lr
    return low, high


def _suggests(result: Result, target: str) -> bool:
    if not isinstance(result, RangeTest) or result.base_lr is None or result.max_lr is None:
        return False
    if result.optimizer_name is not None and not _knows_all(result):
        return False
    return _location(result.target) == _location(target)


def _knows_all(result: RangeTest) -> bool:
    """Whether it has a range for each of several optimizers."""
    return bool(result.optimizer_tests) and all(test.max_lr is not None for test in result.optimizer_tests)


def _location(target: str) -> tuple[str, str]:
    """One spelling for one target: the file's full path, and its function."""
    file, _, function = target.partition(":")
    return (str(Path(file).resolve()), function or "build") if file.endswith(".py") else (target, "")
