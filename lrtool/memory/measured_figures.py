"""The figures of a diagnosis from a run that was measured on a GPU: its steps, its death, and what others hold."""

from lrtool.memory.growth import step_growth
from lrtool.memory.recorded_figures import peaks_vary
from lrtool.memory.recording import Recording
from lrtool.memory.run_figures import DeathFigures, RunFigures


def figures_of_recording(recording: Recording, *, target: str, settings: str, problems: tuple[str, ...]) -> RunFigures:
    """What a recording says. Raises what ended it, if that was not a want of memory."""
    if recording.error is not None:
        raise recording.error
    peaks, death, series = recording.peaks, recording.death, recording.series
    return RunFigures(
        target=target,
        capacity_bytes=recording.capacity_bytes,
        recorder="cuda",
        is_traced=False,
        series=series,
        growth=step_growth(series.allocated_bytes),
        peak_allocated_bytes=peaks.allocated_bytes if peaks else 0,
        peak_active_bytes=peaks.active_bytes if peaks else 0,
        peak_reserved_bytes=peaks.reserved_bytes if peaks else 0,
        death=None if death is None else DeathFigures(
            step=death.step, size_bytes=death.request_bytes, cause=death.cause, source=death.source
        ),
        sources=recording.growth_sources,
        other_processes_bytes=recording.other_processes_bytes,
        settings=settings,
        settings_problems=problems,
        request_sizes_vary=peaks_vary(series),
        notes=() if recording.note is None else (recording.note,),
    )  # fmt: skip
