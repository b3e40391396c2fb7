"""The figures of a diagnosis from a traced run: phases, categories, lines, and a replay with and without the capacity."""

from lrtool.memory.budget import Moment, budget_at, budget_at_peak
from lrtool.memory.growth import step_growth
from lrtool.memory.recorded_figures import death_of, series_of
from lrtool.memory.replay import ReplayResult, Scenario, replay
from lrtool.memory.replay_picture import segments_after
from lrtool.memory.run_figures import RunFigures
from lrtool.memory.step_profile import leftovers, profile_steps
from lrtool.memory.stream import AllocationStream
from lrtool.memory.stream_steps import step_of
from lrtool.memory.traced import source_of
from lrtool.memory.tracer import Trace
from lrtool.results import Budget, Recorder


def figures_of_trace(
    traced: Trace, scenario: Scenario, *, target: str, settings_problems: tuple[str, ...] = ()
) -> RunFigures:
    """What a trace says, replayed under `scenario`, whose capacity may end it; peaks and steps are those without a limit."""
    stream = traced.stream
    unlimited = Scenario(settings=scenario.settings, version=scenario.version)
    free = replay(stream, unlimited)
    limited = free if scenario.capacity_bytes is None else replay(stream, scenario)
    side = [each for each in segments_after(stream, unlimited, request=free.num_played) if each.stream != 0]
    series = series_of(free.steps)
    recorder: Recorder = "cpu" if traced.kind == "cpu" else "predicted"
    return RunFigures(
        target=target,
        capacity_bytes=scenario.capacity_bytes,
        recorder=recorder,
        is_traced=True,
        series=series,
        growth=step_growth(series.allocated_bytes),
        peak_allocated_bytes=free.peaks.allocated_bytes,
        peak_active_bytes=free.peaks.active_bytes,
        peak_reserved_bytes=free.peaks.reserved_bytes,
        death=None if limited.failure is None else death_of(limited.failure, stream),
        budget=_budget(stream, scenario, unlimited, limited),
        profiles=profile_steps(stream),
        leftovers=leftovers(stream),
        sources=tuple(map(source_of, traced.survivors)),
        garbage_bytes=traced.garbage_bytes,
        side_reserved_bytes=sum(each.size_bytes for each in side),
        side_free_bytes=sum(each.free_bytes for each in side),
        settings=scenario.settings,
        settings_problems=settings_problems,
        notes=traced.warnings,
    )


def _budget(stream: AllocationStream, scenario: Scenario, unlimited: Scenario, limited: ReplayResult) -> Budget | None:
    """Where the run dies, what is live just before the failing request; else the peak."""
    failure = limited.failure
    if failure is None or failure.request == 0:
        return budget_at_peak(stream, unlimited)
    moment = Moment(request=failure.request, step=step_of(stream, failure.request))
    return budget_at(stream, scenario, moment)
