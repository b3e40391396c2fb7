"""Where a sweep's LRs come from: the options, the last range test of the same target, or the optimizer itself."""

from dataclasses import dataclass
from pathlib import Path

from lrtool.config import MemSweepSettings
from lrtool.results import RangeTest, Result
from lrtool.results.stored.run_dir import last_of
from lrtool.units import format_lr


@dataclass(frozen=True, kw_only=True, slots=True)
class LearningRates:
    """The ends of the cycle and where they are from, in words; None where the trial takes the optimizer's own."""

    base_lr: float | None
    max_lr: float | None
    source: str


def find_learning_rates(settings: MemSweepSettings, *, target: str, runs: Path) -> LearningRates:
    """The LRs given; else those that the newest range test of `target` below `runs` suggests; else the optimizer's."""
    if settings.base_lr is not None and settings.max_lr is not None:
        return LearningRates(base_lr=settings.base_lr, max_lr=settings.max_lr, source="the options or settings")
    found = last_of(runs, "range-test", lambda result: _suggests(result, target))
    if found is None:
        return LearningRates(base_lr=None, max_lr=None, source="the optimizer: its own LR, and a tenth of it")
    run_dir, result = found
    assert isinstance(result, RangeTest)
    return LearningRates(base_lr=result.base_lr, max_lr=result.max_lr, source=f"the range test {run_dir}")


def describe(rates: LearningRates) -> str:
    if rates.base_lr is None or rates.max_lr is None:
        return f"LR from {rates.source}"
    return f"LR {format_lr(rates.base_lr)} to {format_lr(rates.max_lr)}, from {rates.source}"


def _suggests(result: Result, target: str) -> bool:
    if not isinstance(result, RangeTest) or result.base_lr is None or result.max_lr is None:
        return False
    return _location(result.target) == _location(target)


def _location(target: str) -> tuple[str, str]:
    """One spelling for one target: the file's full path, and its function."""
    file, _, function = target.partition(":")
    return (str(Path(file).resolve()), function or "build") if file.endswith(".py") else (target, "")
