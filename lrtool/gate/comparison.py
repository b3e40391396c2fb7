"""Runs beside each other: each figure's difference from the first run, and whether that is more than noise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lrtool.gate.alignment import align, difference_text, key_of, label_of, varying_axes
from lrtool.gate.limits import format_value
from lrtool.results import Case, ComparedCurve, ComparedFigure, ComparedRun, Comparison, Result, RunSummary

SHOWN = {
    "mem-sweep": ("peak_allocated", "peak_reserved", "fragmentation", "growth"),
    "replay": ("peak_allocated", "peak_active", "peak_reserved", "fragmentation"),
    "range-test": ("max_lr", "base_lr", "suggested_lr", "best_loss"),
}
"""The metrics that are compared, the first of which the answer is about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A run that is compared: its name, its summary, and the result that its curves are read from."""

    name: str
    summary: RunSummary
    result: Result


def compare(subjects: Sequence[Subject], curves: Sequence[ComparedCurve]) -> Comparison:
    """Compare runs of one command with the first of them."""
    summaries = [subject.summary for subject in subjects]
    figures = tuple(_figures(summaries))
    apart = tuple(
        f"{subject.name}: {difference_text(found)}"
        for subject in subjects[1:]
        if (found := align(subject.summary, summaries[0]).differences)
    )
    return Comparison(
        compared=summaries[0].command,
        answer=_answer(figures, [subject.name for subject in subjects], is_comparable=not apart),
        runs=tuple(
            ComparedRun(name=subject.name, created=subject.summary.created, facts=subject.summary.facts)
            for subject in subjects
        ),
        not_comparable=apart,
        figures=figures,
        curves=tuple(curves),
    )


def is_within_noise(figure: ComparedFigure, difference: float) -> bool | None:
    """None where noise is not known; a difference of nothing is within any."""
    if difference == 0:
        return True
    return None if figure.noise is None else abs(difference) <= figure.noise


def cases_by_label(summaries: Sequence[RunSummary]) -> dict[str, list[Case | None]]:
    """The case of each run, None where it has none, by what tells the cases of a run apart."""
    axes = varying_axes(summaries)
    found: dict[tuple[str, ...], list[Case | None]] = {}
    labels: dict[tuple[str, ...], str] = {}
    for index, summary in enumerate(summaries):
        for case in summary.cases:
            key = key_of(case, axes)
            labels.setdefault(key, label_of(case, axes))
            found.setdefault(key, [None] * len(summaries))[index] = case
    return {labels[key]: cases for key, cases in found.items()}


def _figures(summaries: Sequence[RunSummary]) -> Iterator[ComparedFigure]:
    for label, cases in cases_by_label(summaries).items():
        for metric in SHOWN[summaries[0].command]:
            figures = [None if case is None else case.figures.get(metric) for case in cases]
            if any(figures):
                values = tuple(None if figure is None else figure.value for figure in figures)
                noises = [figure.noise for figure in figures if figure is not None and figure.noise is not None]
                yield ComparedFigure(
                    case=label,
                    metric=metric,
                    values=values,
                    differences=tuple(_difference(value, values[0]) for value in values),
                    noise=max(noises, default=None),
                )


def _difference(value: float | None, first: float | None) -> float | None:
    return None if value is None or first is None else value - first


def _answer(figures: Sequence[ComparedFigure], names: Sequence[str], *, is_comparable: bool) -> str:
    """The largest difference of the metric that matters most, with its noise."""
    main = [figure for figure in figures if figure.metric == figures[0].metric]
    apart = [
        (abs(difference), figure, index)
        for figure in main
        for index, difference in enumerate(figure.differences)
        if index and difference is not None
    ]
    head = "" if is_comparable else "Not comparable as they are: "
    if not apart:
        return f"{head}no condition was measured in two of the runs."
    _, figure, index = max(apart, key=lambda item: item[0])
    return f"{head}{_sentence(figure, index, names)}."


def _sentence(figure: ComparedFigure, index: int, names: Sequence[str]) -> str:
    difference, first, value = figure.differences[index], figure.values[0], figure.values[index]
    assert difference is not None
    assert first is not None
    assert value is not None
    where = f" at {figure.case}" if figure.case else ""
    if difference == 0:
        return f"{figure.metric} is the same in all runs, {format_value(figure.metric, first)}{where}"
    change = format_value(figure.metric, abs(difference))
    share = f" ({100 * abs(difference) / first:.3g}%)" if first else ""
    side = "above" if difference > 0 else "below"
    noise = {
        True: f", within the noise of {format_value(figure.metric, figure.noise or 0)}",
        False: f", more than the noise of {format_value(figure.metric, figure.noise or 0)}",
        None: "; noise is not known without repeats",
    }[is_within_noise(figure, difference)]
    return (
        f"{figure.metric}{where} is {format_value(figure.metric, value)} in {names[index]}, {change}{share} {side} the "
        f"{format_value(figure.metric, first)} of {names[0]}{noise}"
    )
