"""A budget from options and settings, a run held against it, and the exit code that follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrtool.config import BudgetSettings
from lrtool.errors import GateFailed, LrtoolError, UnavailableError, UsageError, WorkloadError
from lrtool.gate.limits import Kind, Limit, parse_limit
from lrtool.results import Check, Result, Run

if TYPE_CHECKING:
    from lrtool.gate.judge import Baseline

NOTHING_TO_CHECK = (
    "give --max peak_allocated=14GiB or --baseline FILE, or write \\[tool.lrtool.budget] into a settings file"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What a run is going to be held against."""

    limits: tuple[Limit, ...]
    baseline: "Baseline | None"


def bounds(texts: Sequence[str] | None, kind: Kind, *, below: Mapping[str, Any]) -> dict[str, Any] | None:
    """The limits given on the command line over those of a settings file, by metric. Raises UsageError."""
    if not texts:
        return None
    given = {parse_limit(text, kind).metric: _value(text) for text in texts}
    return {**below, **given}


def open_budget(settings: BudgetSettings, *, runs: Path) -> Budget:
    """Read the baseline, before anything is measured. Raises UsageError where there is nothing to check."""
    if not settings.limits and settings.baseline is None:
        raise UsageError("there is nothing to check", hint=NOTHING_TO_CHECK.replace("\\[", "["))
    if settings.baseline is None:
        if any(limit.kind == "increase" for limit in settings.limits):
            raise UsageError("an increase needs a baseline", hint="give --baseline RUN or a file of `lrtool baseline`")
        return Budget(limits=settings.limits, baseline=None)
    from lrtool.gate.baseline_file import find_baseline
    from lrtool.gate.judge import Baseline

    summary = find_baseline(settings.baseline, parent=runs)
    baseline = Baseline(name=settings.baseline, summary=summary, allow_different=settings.allow_different)
    return Budget(limits=settings.limits, baseline=baseline)


def check_run(run: Run[Result], budget: Budget | None, *, run_dir: Path | None) -> Check | None:
    """None without a budget. What is found is kept in the run directory, if there is one.

    Raises UsageError where the run's command measures nothing that can be gated.
    """
    if budget is None:
        return None
    from lrtool.gate.check_file import keep_check
    from lrtool.gate.judge import check
    from lrtool.gate.summary import summarize

    found = check(summarize(run), budget.limits, budget.baseline)
    if run_dir is not None:
        keep_check(run_dir, found)
    return found


def failure_of(check: Check | None, run: Run[Result], run_dir: Path | None) -> LrtoolError | None:
    """What a check ends with where it does not pass: exit code 1 only where something was measured that says no."""
    if check is None or check.passed:
        return None
    answer = check.answer.removesuffix(".").removeprefix("Failed: ")
    if check.passed is False:
        accept = f"lrtool baseline {run_dir or 'RUN'} -o FILE makes it the new baseline" if check.baseline else ""
        return GateFailed(answer, hint=accept or "make it smaller, or allow for more")
    if check.differences and answer.startswith("Not comparable"):
        return UnavailableError(answer, hint="compare runs of equal conditions, or add --allow-different")
    hint = f"see lrtool report {run_dir or 'last'}"
    has_failed = any(trial.status == "failed" for trial in getattr(run.result, "trials", ()))
    return WorkloadError(answer, hint=hint) if has_failed else UnavailableError(answer, hint=hint)


def _value(text: str) -> str:
    """What stands behind the name, if there is one."""
    return text.replace(":", "=", 1).rpartition("=")[2].strip()
