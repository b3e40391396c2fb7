"""What a snapshot without history leaves open: its segments show what is there, and nothing of what led there. Pure."""

from lrtool.diagnosis.causes.cause import cause
from lrtool.diagnosis.causes.proofs import plain_run
from lrtool.diagnosis.run_figures import RunFigures
from lrtool.results import Finding
from lrtool.units import count_of, format_bytes


@cause("no-history", "untold")
def no_history(figures: RunFigures, name: str) -> Finding | None:
    """Nobody recorded what was asked for."""
    held = figures.held
    if held is None:
        return None
    reserved, free = held.reserved_bytes, held.reserved_bytes - held.active_bytes
    evidence = [
        f"{format_bytes(reserved)} reserved in {count_of(held.num_segments, 'segment')}, {format_bytes(held.active_bytes)} of "
        "it active",
        f"{format_bytes(free)} free, {format_bytes(held.split_bytes)} of it split; largest free piece "
        f"{format_bytes(held.largest_free_bytes)}",
    ]
    if held.largest_blocks:
        evidence.append(f"the largest blocks: {', '.join(held.largest_blocks)}")
    if figures.capacity_bytes:
        evidence.append(
            f"{reserved / figures.capacity_bytes:.1%} of {format_bytes(figures.capacity_bytes)} are reserved"
        )
    return Finding(
        cause=name,
        title="the snapshot has no history: it shows what is there, and cannot tell what led here",
        confidence="high",
        evidence=tuple(evidence),
        proof=plain_run(figures),
        cure="torch.cuda.memory._record_memory_history(max_entries=100000) before the model is built, then _dump_snapshot",
        num_bytes=reserved or None,
    )
