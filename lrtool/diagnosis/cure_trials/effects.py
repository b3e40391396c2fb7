"""What each cure did against the baseline, and which of them go together: reports in, effects out. Pure."""

from collections.abc import Iterable, Sequence

from lrtool.diagnosis.cure_trials.reports import CureReport, Refused, SettingsPeaks
from lrtool.diagnosis.cures.cure import Cure
from lrtool.results import CureEffect, CureFigures, CureOutcome, Recorder, TimeBasis, is_measured

MIN_EFFECT = 0.01
"""Of the baseline's reserved peak: less is no help, and on a GPU equal runs differ by a segment now and then."""
_WITHOUT_FIGURES: dict[str, CureOutcome] = {"cannot help": "cannot help", "advice": "advice"}


def figures_of(report: CureReport, peaks: SettingsPeaks) -> CureFigures:
    """A report's figures under one of its settings."""
    return CureFigures(
        peak_allocated_bytes=peaks.peak_allocated_bytes,
        peak_reserved_bytes=peaks.peak_reserved_bytes,
        reserved_at_capacity_bytes=peaks.reserved_at_capacity_bytes,
        fits=peaks.fits,
        num_operations=report.num_operations,
        step_duration_s=report.step_duration_s,
        loss=report.loss,
    )


def effect_of(cure: Cure, report: CureReport, baseline: CureFigures, *, recorder: Recorder) -> CureEffect:
    """The effect of a cure that changed the workload."""
    if not report.peaks:
        return CureEffect(
            name=cure.name,
            title=cure.title,
            outcome=_WITHOUT_FIGURES.get(report.ending, "failed"),
            reason=report.message,
            note=cure.note,
        )
    figures = figures_of(report, report.peaks[0])
    return _compared(cure, figures, baseline, how=report.how, settings=report.peaks[0].settings, recorder=recorder)


def effect_of_settings(
    cure: Cure,
    tried: Sequence[SettingsPeaks],
    report: CureReport,
    baseline: CureFigures,
    *,
    recorder: Recorder,
) -> CureEffect:
    """The effect of that text of settings which does best: fits, then reserves least; the first of equals."""
    at_capacity = cure.at_capacity
    best = min(tried, key=lambda each: (each.fits is False, _reserved_of(each, at_capacity)))
    return _compared(
        cure,
        figures_of(report, best),
        baseline,
        how=(f"PYTORCH_CUDA_ALLOC_CONF={best.settings}",),
        settings=best.settings,
        recorder=recorder,
    )


def effect_of_refusal(cure: Cure, refused: Refused) -> CureEffect:
    """The effect of a cure that has nothing to do here."""
    outcome: CureOutcome = "advice" if refused.is_advice else "cannot help"
    return CureEffect(name=cure.name, title=cure.title, outcome=outcome, reason=refused.reason, note=cure.note)


def going_together(effects: Iterable[CureEffect], cures: Sequence[Cure]) -> tuple[str, ...]:
    """Names of the cures to apply at once: all that help and leave the training what it is, of each family the best one."""
    known = {each.name: each for each in cures}
    best: dict[str, CureEffect] = {}
    for effect in effects:
        about = known.get(effect.name)
        if effect.outcome != "helps" or about is None or about.alters == "training":
            continue
        key = about.family or about.name
        if key not in best or _saved(effect) > _saved(best[key]):
            best[key] = effect
    chosen = {effect.name for effect in best.values()}
    return tuple(each.name for each in cures if each.name in chosen)


def in_order(effects: Iterable[CureEffect]) -> tuple[CureEffect, ...]:
    """Those that save most first; those without figures last, as they came."""
    return tuple(sorted(effects, key=lambda each: (each.figures is None, tuple(-saved for saved in _saved(each)))))


def _compared(
    cure: Cure,
    figures: CureFigures,
    baseline: CureFigures,
    *,
    how: tuple[str, ...],
    settings: str,
    recorder: Recorder,
) -> CureEffect:
    is_comparable = not is_measured(recorder) or (figures.fits is not False and baseline.fits is not False)
    before, after = (_reserved(each, cure.at_capacity) for each in (baseline, figures))
    saved_allocated = baseline.peak_allocated_bytes - figures.peak_allocated_bytes if is_comparable else None
    saved_reserved = before - after if is_comparable else None
    ratio, basis = _time_ratio(cure, figures, baseline)
    return CureEffect(
        name=cure.name,
        title=cure.title,
        outcome=_outcome(figures, baseline, saved=(saved_reserved, saved_allocated)),
        how=how,
        note=cure.note,
        settings=settings,
        figures=figures,
        saved_allocated_bytes=saved_allocated,
        saved_reserved_bytes=saved_reserved,
        time_ratio=ratio,
        time_basis=basis,
        loss_difference=_loss_difference(cure, figures, baseline),
    )


def _outcome(figures: CureFigures, baseline: CureFigures, *, saved: tuple[int | None, int | None]) -> CureOutcome:
    """It helps where it makes the workload fit, or takes less of what the device must give, or else of what is used."""
    if figures.fits is not baseline.fits and None not in (figures.fits, baseline.fits):
        return "helps" if figures.fits else "costs"
    for each in saved:
        if each is not None and abs(each) > MIN_EFFECT * baseline.peak_reserved_bytes:
            return "helps" if each > 0 else "costs"
    return "no effect"


def _time_ratio(cure: Cure, figures: CureFigures, baseline: CureFigures) -> tuple[float | None, TimeBasis | None]:
    if figures.step_duration_s and baseline.step_duration_s:
        return figures.step_duration_s / baseline.step_duration_s, "measured"
    if cure.time_by_operations and figures.num_operations and baseline.num_operations:
        return figures.num_operations / baseline.num_operations, "operations"
    return None, None


def _loss_difference(cure: Cure, figures: CureFigures, baseline: CureFigures) -> float | None:
    """None where the last step saw another batch: then the difference would be that of the batches."""
    if not cure.keeps_batches or figures.loss is None or baseline.loss is None:
        return None
    return figures.loss - baseline.loss


def _reserved(figures: CureFigures, at_capacity: bool) -> int:
    if at_capacity and figures.reserved_at_capacity_bytes is not None:
        return figures.reserved_at_capacity_bytes
    return figures.peak_reserved_bytes


def _reserved_of(peaks: SettingsPeaks, at_capacity: bool) -> int:
    if at_capacity and peaks.reserved_at_capacity_bytes is not None:
        return peaks.reserved_at_capacity_bytes
    return peaks.peak_reserved_bytes


def _saved(effect: CureEffect) -> tuple[int, int]:
    return effect.saved_reserved_bytes or 0, effect.saved_allocated_bytes or 0
