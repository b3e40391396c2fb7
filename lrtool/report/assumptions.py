"""What a prediction took for granted, as lines: what moves the peak most comes first."""

from collections.abc import Iterator, Sequence

from lrtool.results import Assumption, CardMemory, DeviceMemory, PeakInterval
from lrtool.units import format_bytes, format_estimate

MAX_LINES = 5


def assumption_rows(assumptions: Sequence[Assumption]) -> Iterator[tuple[str, str]]:
    """A labelled line for each question, those that move the peak most first."""
    questions: dict[tuple[str, str | None, str], list[Assumption]] = {}
    for each in assumptions:
        questions.setdefault((each.kind, each.source, each.asked), []).append(each)
    asked = sorted(questions.values(), key=lambda answers: -max(map(_moved, answers)))
    for answers in asked[:MAX_LINES]:
        yield "assumed", _line(answers)
    if len(asked) > MAX_LINES:
        yield "assumed", f"and {len(asked) - MAX_LINES:,} more; run.json has them all"


def peak_rows(reserved_bytes: int | None, interval: PeakInterval | None) -> Iterator[tuple[str, str]]:
    """Where the peak lies, of a prediction that is not exact."""
    if reserved_bytes is not None and interval is not None:
        yield (
            "peak",
            f"reserved {format_estimate(reserved_bytes, interval.reserved_ends)} if what is assumed is otherwise",
        )


def card_rows(found: CardMemory | None) -> Iterator[tuple[str, str]]:
    """What nvidia-smi would show."""
    if found is not None:
        text = format_estimate(found.likely_bytes, (found.low_bytes, found.high_bytes))
        yield "on the card", f"{text}, as nvidia-smi shows it: reserved and the CUDA context"


def device_rows(devices: Sequence[DeviceMemory]) -> Iterator[tuple[str, str]]:
    """A line for each of several devices."""
    for each in devices:
        end = ", runs out of memory" if each.runs_out else ""
        peaks = (
            f"{format_bytes(each.peak_allocated_bytes)} allocated, {format_bytes(each.peak_reserved_bytes)} reserved"
        )
        yield each.device, f"{peaks}{end}"


def _line(answers: Sequence[Assumption]) -> str:
    first = answers[0]
    place = f"{first.source}, " if first.source else ""
    taken = "; ".join(f"{each.taken}{f' ({each.times:,} times)' if each.times > 1 else ''}" for each in answers)
    return f"{place}{first.asked}: {taken}{_otherwise(answers)}"


def _otherwise(answers: Sequence[Assumption]) -> str:
    below = max(each.below_bytes or 0 for each in answers)
    above = max(each.above_bytes or 0 for each in answers)
    if all(each.below_bytes is None for each in answers):
        return ""
    moves = [f"{format_bytes(size)} {how}" for size, how in ((above, "more"), (below, "less")) if size]
    return f"; otherwise {' or '.join(moves) or 'the same'}"


def _moved(assumption: Assumption) -> int:
    return max(assumption.below_bytes or 0, assumption.above_bytes or 0)
