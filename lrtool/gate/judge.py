"""Limits held against a run, each against the case that is worst for it: what holds, what does not, and by how much."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lrtool.errors import UsageError
from lrtool.gate.alignment import Alignment, align, difference_text, label_of, varying_axes
from lrtool.gate.grown import grown_peak, grown_per_step
from lrtool.gate.limits import Limit, format_limit, format_value
from lrtool.gate.summary import MEASURES
from lrtool.results import METRICS, Case, Check, Figure, GateLine, Grown, RunSummary

DEFAULT_INCREASES = (
    Limit(metric="peak_allocated", kind="increase", value=0.01, is_share=True),
    Limit(metric="growth", kind="increase", value=0),
)
"""What a baseline is good for where no limit is given: 1 % is as much as counts as equal where noise is not known."""
_SURPLUS = {"max": 1, "increase": 1, "min": -1}


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """What a run is compared with, and its name; `allow_different` compares where the runs are not comparable."""

    name: str
    summary: RunSummary
    allow_different: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class _Held:
    """A limit held against one case."""

    line: GateLine
    case: Case
    base: Case | None


def check(run: RunSummary, limits: Sequence[Limit], baseline: Baseline | None = None) -> Check:
    """Hold a run against limits, and against a baseline where there is one; its own limits then need not be given.

    A budget may have limits for several commands: those that are not about this one's runs are left out. Raises
    UsageError where none is left.
    """
    wanted = _applicable(run, limits, baseline)
    compared = None if baseline is None or all(limit.kind != "increase" for limit in wanted) else baseline
    alignment = None if compared is None else align(run, compared.summary)
    is_comparable = compared is None or compared.allow_different or not (alignment and alignment.differences)
    paired = _Paired(run=run, alignment=alignment, is_comparable=is_comparable)
    held = [_worst(limit, paired) for limit in wanted]
    return Check(
        passed=_passed(held),
        answer=_answer(held, alignment, is_comparable=is_comparable),
        lines=tuple(each.line for each in held),
        grown=tuple(dict.fromkeys(grown for each in held for grown in _grown(each))),
        baseline=None if compared is None else compared.name,
        differences=() if alignment is None else alignment.differences,
        notes=tuple(_notes(run, limits, wanted, compared)),
    )


def _applicable(run: RunSummary, limits: Sequence[Limit], baseline: Baseline | None) -> tuple[Limit, ...]:
    by_default: Sequence[Limit] = ()
    if baseline is not None and all(limit.kind != "increase" for limit in limits):
        measured = _measured(run) & _measured(baseline.summary)
        by_default = [limit for limit in DEFAULT_INCREASES if limit.metric in measured]
    wanted = tuple(limit for limit in (*limits, *by_default) if limit.metric in MEASURES[run.command])
    if not wanted:
        names = ", ".join(dict.fromkeys(limit.metric for limit in limits)) or "memory"
        raise UsageError(
            f"`lrtool {run.command}` does not measure {names}",
            hint=f"it measures {', '.join(sorted(MEASURES[run.command]))}",
        )
    return wanted


def _measured(run: RunSummary) -> set[str]:
    return {metric for case in run.cases for metric in case.figures}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Paired:
    """A run, and how it lies beside its baseline."""

    run: RunSummary
    alignment: Alignment | None
    is_comparable: bool

    @property
    def pairs(self) -> list[tuple[Case, Case]]:
        return list(self.alignment.pairs) if self.alignment is not None and self.is_comparable else []

    def label(self, case: Case) -> str:
        return label_of(case, varying_axes([self.run]))


def _worst(limit: Limit, paired: _Paired) -> _Held:
    """The line of the case that exceeds the limit most; one without a figure only where none exceeds it."""
    partners = [(case, other) for case, other in paired.pairs]
    if limit.kind == "increase":
        cases: list[tuple[Case, Case | None]] = [*partners]
    else:
        cases = [(case, next((o for c, o in partners if c is case), None)) for case in paired.run.cases]
    if not cases:
        reason = "the runs are not comparable" if paired.alignment else "there is no baseline"
        line = GateLine(metric=limit.metric, limit=format_limit(limit), verdict="unknown", reason=reason)
        return _Held(line=line, case=paired.run.cases[0], base=None)
    held = [_Held(line=_hold(limit, case, base, paired.label(case)), case=case, base=base) for case, base in cases]
    return min(held, key=_order)


def _order(held: _Held) -> tuple[int, float]:
    margin = held.line.margin
    rank = {"over": 0, "unknown": 1, "ok": 2}[held.line.verdict]
    return rank, float("inf") if margin is None else margin


def _hold(limit: Limit, case: Case, base: Case | None, label: str) -> GateLine:
    line = GateLine(metric=limit.metric, limit=format_limit(limit), verdict="unknown", case=label)
    figure = case.figures.get(limit.metric)
    before = base.figures.get(limit.metric) if base is not None and limit.kind == "increase" else None
    if figure is None or (limit.kind == "increase" and before is None):
        return _unmeasured(line, limit, case, base)
    bound = limit.value if before is None else before.value + limit.value * (before.value if limit.is_share else 1)
    value = figure.value if limit.kind != "max" or figure.high is None else figure.high
    margin = (bound - value) * _SURPLUS[limit.kind]
    noise = _noise(limit, figure.noise, None if before is None else before.noise)
    reason = _reason(limit, case, margin=margin, noise=noise, rise=figure.value - (before.value if before else 0))
    return replace(
        line,
        verdict="over" if reason.is_over else "ok",
        bound=bound,
        measured=value,
        margin=margin,
        baseline=None if before is None else before.value,
        noise=noise,
        reason=reason.text or _upper_end(limit, figure, value),
    )


def _upper_end(limit: Limit, figure: Figure, value: float) -> str | None:
    """That a prediction is held by the upper end of its interval."""
    if value == figure.value:
        return None
    return f"the most it may be; {format_value(limit.metric, figure.value)} are predicted"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reason:
    is_over: bool
    text: str | None = None


def _reason(limit: Limit, case: Case, *, margin: float, noise: float | None, rise: float) -> _Reason:
    """Whether the limit is exceeded, and what there is to say of it."""
    if case.status == "oom" and METRICS[limit.metric].is_peak and limit.kind != "min":
        return _Reason(is_over=True, text=f"{case.trouble}: the peak is not known, it would have risen further")
    if margin >= 0:
        return _Reason(is_over=False)
    if noise is None:
        return _Reason(is_over=True)
    if METRICS[limit.metric].is_estimate and -margin <= noise:
        return _Reason(is_over=False, text="its 95 % interval reaches down to the limit")
    if limit.kind == "increase" and rise <= noise:
        return _Reason(is_over=False, text=f"within the noise: repeats differ by {format_value(limit.metric, noise)}")
    return _Reason(is_over=True)


def _noise(limit: Limit, mine: float | None, others: float | None) -> float | None:
    known = [noise for noise in (mine, others) if noise is not None]
    return max(known, default=None) if limit.kind == "increase" or METRICS[limit.metric].is_estimate else mine


def _unmeasured(line: GateLine, limit: Limit, case: Case, base: Case | None) -> GateLine:
    """An LR that a finished range test does not suggest is an answer: there is none."""
    is_lr = METRICS[limit.metric].unit == "lr" and "best_loss" in case.figures
    if limit.kind == "min" and is_lr and case.status == "ok":
        return replace(line, verdict="over", bound=limit.value, reason="the curve supports no suggestion")
    if limit.metric in case.figures:
        ending = "" if base is None or base.trouble is None else f", which ended {base.trouble},"
        return replace(line, reason=f"the baseline{ending} has no such figure")
    return replace(line, reason=case.trouble or "this kind of run has no such figure")


def _passed(held: Sequence[_Held]) -> bool | None:
    verdicts = {each.line.verdict for each in held}
    return False if "over" in verdicts else None if "unknown" in verdicts else True


def _answer(held: Sequence[_Held], alignment: Alignment | None, *, is_comparable: bool) -> str:
    """The outcome in one sentence."""
    over = [each.line for each in held if each.line.verdict == "over"]
    if over:
        rest = f"; {len(over)} of {len(held)} limits do not hold" if len(over) > 1 else ""
        return f"Failed: {_sentence(over[0])}{rest}."
    if not is_comparable and alignment is not None:
        return f"Not comparable: {difference_text(alignment.differences)}."
    unknown = [each.line for each in held if each.line.verdict == "unknown"]
    if unknown:
        return f"Not measured: {unknown[0].metric}: {unknown[0].reason}."
    return "Passed: the limit holds." if len(held) == 1 else f"Passed: all {len(held)} limits hold."


def _sentence(line: GateLine) -> str:
    where = f" at {line.case}" if line.case else ""
    if line.measured is None or line.margin is None or line.bound is None or line.margin >= 0:
        return f"{line.metric}{where}: {line.reason}"
    side = "below" if line.limit.startswith("≥") else "above"
    bound, measured, excess = (format_value(line.metric, value) for value in (line.bound, line.measured, -line.margin))
    if line.baseline is not None:
        base = format_value(line.metric, line.baseline)
        return f"{line.metric}{where} went from {base} to {measured}, {excess} above the {line.limit} that are allowed"
    reason = f" ({line.reason})" if line.reason else ""
    return f"{line.metric}{where} is {measured}, {excess} {side} its limit of {bound}{reason}"


def _grown(held: _Held) -> tuple[Grown, ...]:
    """What stands behind a limit that does not hold."""
    if held.line.verdict != "over":
        return ()
    base = held.base
    if held.line.metric == "growth":
        return grown_per_step(held.case, base)
    if METRICS[held.line.metric].is_peak or held.line.metric == "out_of_memory":
        per_step = grown_per_step(held.case, base) if held.case.status == "oom" else ()
        return (*grown_peak(held.case, base), *per_step)
    return ()


def _notes(
    run: RunSummary, limits: Sequence[Limit], wanted: Sequence[Limit], baseline: Baseline | None
) -> Iterator[str]:
    left_out = dict.fromkeys(limit.metric for limit in limits if limit not in wanted)
    if left_out:
        yield f"not held: `lrtool {run.command}` does not measure {', '.join(left_out)}"
    cautions = dict.fromkeys(METRICS[limit.metric].caution for limit in wanted)
    yield from (caution for caution in cautions if caution)
    if baseline is not None and baseline.allow_different and (found := align(run, baseline.summary)).differences:
        yield f"compared although the runs differ: {difference_text(found.differences)}"
    if baseline is not None and baseline.summary.lrtool != run.lrtool:
        yield f"the baseline was made by lrtool {baseline.summary.lrtool}, this run by {run.lrtool}"
