"""Causes outside of the training itself: other processes on the device, and allocator options that are not in force. Pure."""

from lrtool.diagnosis.causes.cause import cause
from lrtool.diagnosis.run_figures import RunFigures
from lrtool.results import Finding
from lrtool.units import format_bytes

OTHERS_SHARE = 0.05
PRESSURE = 0.9


@cause("other-process", "outside")
def other_process(figures: RunFigures, name: str) -> Finding | None:
    """Others hold part of the device, and it matters: the run ran out of memory, or came close to its limit."""
    others, capacity = figures.other_processes_bytes, figures.capacity_bytes
    if not others or capacity is None or others < OTHERS_SHARE * (capacity + others):
        return None
    is_pressed = figures.oom is not None or figures.peak_reserved_bytes > PRESSURE * capacity
    if not is_pressed:
        return None
    return Finding(
        cause=name,
        title="another process holds memory of the device",
        confidence="high",
        evidence=(
            f"{format_bytes(others)} of the device belong to other processes; {format_bytes(capacity)} were left for this one",
            f"this process reserved {format_bytes(figures.peak_reserved_bytes)} at most",
        ),
        proof="nvidia-smi, or torch.cuda.list_gpu_processes()",
        cure="end that process, or move to another device with CUDA_VISIBLE_DEVICES",
        num_bytes=others,
    )


@cause("option-not-in-force", "outside")
def option_not_in_force(figures: RunFigures, name: str) -> Finding | None:
    """Options were asked for that this torch did not take."""
    if not figures.settings_problems:
        return None
    return Finding(
        cause=name,
        title="an allocator option that was asked for is not in force",
        confidence="high",
        evidence=figures.settings_problems,
        proof="lrtool doctor",
        cure="set it under the name this torch knows, before torch is imported",
    )
