"""The curves of runs that are compared: loss over LR, memory over steps, memory over requests; thinned to what is drawn."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lrtool.gate.comparison import Subject, cases_by_label
from lrtool.gate.summary import trials_of
from lrtool.results import ComparedCurve, MemSweep, RangeTest, Replay
from lrtool.results.stored.trial_dir import read_series

MAX_POINTS = 600


def curves_of(subjects: Sequence[Subject], run_dirs: Sequence[Path]) -> list[ComparedCurve]:
    """The curve of every case of every run. Raises UsageError where the steps of a trial cannot be read."""
    return [
        ComparedCurve(case=label, run=index, x=x, y=y)
        for label, cases in cases_by_label([subject.summary for subject in subjects]).items()
        for index, case in enumerate(cases)
        if case is not None
        for x, y in _curve(subjects[index], subjects[index].summary.cases.index(case), run_dirs[index])
    ]


_Points = tuple[tuple[float, ...], tuple[float, ...]]


def _curve(subject: Subject, number: int, run_dir: Path) -> Iterator[_Points]:
    """The curve of a run's case, none where nothing was measured; of repeats the first one that has steps."""
    result = subject.result
    if isinstance(result, RangeTest):
        yield result.curve.lr, result.curve.smoothed_loss
    elif isinstance(result, Replay):
        timeline = result.rows[number].timeline
        if timeline is not None:
            yield _thinned([float(each) for each in timeline.request], timeline.active_bytes)
    elif isinstance(result, MemSweep):
        series = (read_series(run_dir, trial.number) for trial in trials_of(result)[number])
        steps = next((each for each in series if each is not None), None)
        if steps is not None:
            yield _thinned(range(1, len(steps.peak_allocated_bytes) + 1), steps.peak_allocated_bytes)


def _thinned(x: Sequence[float], y: Sequence[float]) -> _Points:
    """Of the values that fall into one point, the highest at the last place; the last point takes the rest."""
    every = -(-len(x) // MAX_POINTS)
    starts = range(0, max(1, len(x) - every + 1), max(1, every))
    ends = [*starts[1:], len(x)]
    pieces = list(zip(starts, ends, strict=True))
    return tuple(float(x[end - 1]) for _, end in pieces), tuple(float(max(y[a:b])) for a, b in pieces)
