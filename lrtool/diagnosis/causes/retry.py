"""A program that catches torch's OutOfMemoryError, tries again, and dies of that. Pure."""

from lrtool.diagnosis.causes.cause import cause
from lrtool.diagnosis.causes.proofs import THEN_AGAIN
from lrtool.diagnosis.run_figures import RunFigures
from lrtool.results import Finding
from lrtool.units import format_bytes

HELD_SHARE = 0.05


@cause("failed-retry", "retry")
def failed_retry(figures: RunFigures, name: str) -> Finding | None:
    """What the first attempt made is still held while the next one runs, or the next one needs too much as well."""
    retry = figures.failed_retry
    if retry is None:
        return None
    is_held = retry.held_bytes >= HELD_SHARE * figures.own_peak_bytes
    where = f" at {retry.first_source}" if retry.first_source else ""
    again = f" at {retry.source}" if retry.source else ""
    evidence = [
        f"in step {retry.step} memory runs out{where}; the program catches that and tries again",
        f"the next attempt fails{again}, asking for {format_bytes(retry.size_bytes)}",
    ]
    if is_held:
        evidence.append(f"{format_bytes(retry.held_bytes)} that the first attempt made are still there")
    if retry.in_handler:
        evidence.append(
            "it tries again within the except clause: the error's traceback holds the frames, and their tensors"
        )
    title = "the retry after an out-of-memory runs out of memory too"
    cure = "smaller pieces in the retry"
    if is_held:
        title = "the retry runs out of memory, as what the first attempt made is still held"
        cure = "drop what the first attempt made before the retry: del its variables, and leave the except clause"
    if is_held and retry.in_handler:
        title = "the retry dies within the except clause, whose traceback holds the first attempt's tensors"
        cure = "set a flag in the except clause, and try again after it: the traceback is gone by then"
    return Finding(
        cause=name,
        title=title,
        confidence="high",
        evidence=tuple(evidence),
        proof=f"{cure.partition(':')[0]}, {THEN_AGAIN}",
        cure=cure,
        num_bytes=retry.held_bytes if is_held else retry.size_bytes,
        source=retry.source,
    )
