"""Run figures from a recording, a trace, a stored trial or a snapshot."""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrtool.diagnosis.run_figures import EvaluationPeak, FailedRetry, RunFigures
from lrtool.diagnosis.snapshots import devices_of, held_by
from lrtool.memory.allocator.environment import allocator_variables, conf_asked_for, not_in_force
from lrtool.memory.attribution.budget import Moment, budget_at, budget_at_peak
from lrtool.memory.attribution.peak import num_elements
from lrtool.memory.attribution.step_profile import leftovers, profile_steps
from lrtool.memory.gpus import CONTEXT_BYTES
from lrtool.memory.growth import BoundedGrowth, bounded_growth, is_growing, step_growth
from lrtool.memory.metrics import Peaks, died_of_fragmentation
from lrtool.memory.recorders.predicted import Traced, card_memory, peak_lines, source_of
from lrtool.memory.recorders.recording import Recording, series_of
from lrtool.memory.replay.interval import peak_interval
from lrtool.memory.replay.replay import CANNOT_COMPARE, ReplayResult, Scenario, is_otherwise, recorded_settings, replay
from lrtool.memory.replay.segments import SegmentView, segments_after
from lrtool.memory.snapshot.contents import Snapshot
from lrtool.memory.snapshot.reader import read_trace_and_snapshot
from lrtool.memory.trace.allocation_trace import AllocationTrace, FailedRequest, Op
from lrtool.results import Budget, Category, Oom, StepSeries, Trial
from lrtool.tracing.tracer.caught import CaughtOom
from lrtool.tracing.tracer.growth.leaks import Leak
from lrtool.tracing.tracer.tracer import TracedRun

FEW_SIZES = 0.2
MANY_REQUESTS = 20
LOG_SOFTMAX = "_log_softmax"
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution", "_cudnn_rnn", "_thnn_fused_lstm_cell")


def figures_of_trial(trial: Trial, series: StepSeries, *, target: str, capacity_bytes: int | None) -> RunFigures:
    """A run that was measured, or predicted earlier: its steps are known, its phases are not."""
    return _measured(
        trial,
        series,
        (trial.max_memory_allocated_bytes, trial.max_memory_active_bytes, trial.max_memory_reserved_bytes),
        target=target,
        capacity_bytes=capacity_bytes,
        recorder=trial.recorder,
        settings=trial.condition.settings,
        peak_interval=trial.peak_interval,
        assumptions=trial.assumptions,
        on_card=trial.on_card,
        devices=trial.devices,
        **({} if trial.growth is None else {"growth": trial.growth}),
    )


def figures_of_recording(recording: Recording, *, target: str, settings: str, problems: tuple[str, ...]) -> RunFigures:
    """What a recording says. Raises what ended it, unless memory ran out."""
    if recording.error is not None:
        raise recording.error
    return _measured(
        recording,
        recording.series,
        (0, 0, 0) if recording.peaks is None else _three(recording.peaks),
        target=target,
        capacity_bytes=recording.capacity_bytes,
        recorder="cuda",
        settings=settings,
        settings_problems=problems,
        notes=() if recording.note is None else (recording.note,),
    )


def figures_of_traced_run(
    found: Traced, scenario: Scenario, *, target: str, gpu: str = "", settings_problems: tuple[str, ...] = ()
) -> RunFigures:
    """What a traced run says, replayed under `scenario`, whose capacity may end it; peaks and steps are those without a limit.

    With the name of a `gpu`, what nvidia-smi would show is part of it.
    """
    traced, fullest, unlimited = found.run, found.fullest, replace(scenario, capacity_bytes=None)
    trace, limited = fullest.trace, fullest.played
    catches = found.caught is not None and found.caught.traced is not None
    free = limited if scenario.capacity_bytes is None or catches else replay(trace, unlimited)
    interval = peak_interval(trace, scenario, traced.assumptions)
    evaluation = _evaluation(trace, free) if traced.has_evaluation else None
    profiles = profile_steps(trace)
    training = free if evaluation is None else replace(free, steps=free.steps[:-1])
    return _replayed(
        scenario,
        training,
        segments_after(trace, unlimited, request=free.num_played),
        trace=trace,
        target=target,
        recorder="cpu" if traced.kind == "cpu" else "predicted",
        is_traced=True,
        oom=limited.oom,
        budget=_in_evaluation(_budget(trace, scenario, unlimited, limited), evaluation),
        profiles=profiles[:-1] if evaluation is not None else profiles,
        evaluation=evaluation,
        leftovers=leftovers(trace),
        **_growth_of(traced, training),
        **_peak_of(trace),
        garbage_bytes=traced.garbage_bytes[0],
        step_garbage_bytes=max(traced.garbage_bytes[1:], default=0),
        settings_problems=settings_problems,
        notes=(*found.notes, *([] if evaluation is None else [evaluation.text])),
        caught=catches,
        failed_retry=_failed_retry(found.caught),
        peak_interval=interval,
        assumptions=traced.assumptions,
        devices=fullest.devices,
        on_card=card_memory(gpu, free.peaks.reserved_bytes, interval, num_ranks=traced.num_ranks) if gpu else None,
    )


def _growth_of(traced: TracedRun, training: ReplayResult) -> dict[str, Any]:
    """What grew, and whether it came to its end."""
    known_steps = traced.num_traced_steps * (1 if traced.period is None else 2)  # equal steps are known to go on
    levels = [each.allocated_bytes for each in training.steps[:known_steps]]
    bounded = bounded_growth(levels)
    leaks = traced.leaks if bounded is None else traced.early_leaks
    return {
        "sources": tuple(map(source_of, leaks)),
        "bounded_growth": bounded or _full_holder(leaks, levels),
        "has_kept_graph": any(leak.has_graph for leak in leaks),
    }


def _peak_of(trace: AllocationTrace) -> dict[str, Any]:
    """What is live at the peak, and what of cures is in force there."""
    return {
        "peak_lines": peak_lines(trace),
        "loss_shape": _largest_shape(trace, LOG_SOFTMAX),
        "has_checkpointing": _computes_again(trace),
        "computes_in_half": _computes_in_half(trace),
    }


def _failed_retry(caught: CaughtOom | None) -> FailedRetry | None:
    """The retry that a program died of."""
    if caught is None or caught.traced is not None:
        return None
    first, last = caught.failures[0], caught.failures[-1]
    return FailedRetry(
        step=last.step,
        size_bytes=last.num_bytes,
        source=last.source,
        first_source=first.source,
        in_handler=last.in_handler,
        held_bytes=last.held_bytes,
    )


def _largest_shape(trace: AllocationTrace, operator: str) -> str | None:
    """That of the largest tensor which the operator made."""
    shapes = (note.shape for note in trace.note_table if note.operator == operator and note.shape is not None)
    return max(shapes, key=num_elements, default=None)


def _computes_again(trace: AllocationTrace) -> bool:
    """Whether a backward pass runs modules, and saves their activations."""
    again = (
        note.phase == "backward" and note.category == Category.ACTIVATION and note.module for note in trace.note_table
    )
    return any(again)


def _computes_in_half(trace: AllocationTrace) -> bool:
    """Whether most of what matrix products and convolutions return in the forward pass is in half precision."""
    shapes = [
        note.shape for note in trace.note_table if note.phase == "forward" and note.operator in PRODUCTS and note.shape
    ]
    half = sum(num_elements(shape) for shape in shapes if shape.startswith(("bfloat16", "float16")))
    return 2 * half > sum(map(num_elements, shapes)) > 0


def _evaluation(trace: AllocationTrace, free: ReplayResult) -> EvaluationPeak | None:
    """The pass of evaluation that is the last step; None where it was not reached."""
    if len(free.steps) < 2:
        return None
    *training, last = free.steps
    return EvaluationPeak(
        step=len(free.steps),
        peak_allocated_bytes=last.peak_allocated_bytes,
        training_peak_bytes=max(each.peak_allocated_bytes for each in training),
        reserved_bytes=last.reserved_bytes,
        training_reserved_bytes=training[-1].reserved_bytes,
        lines=peak_lines(trace, of_last_step=True),
    )


def _in_evaluation(budget: Budget | None, evaluation: EvaluationPeak | None) -> Budget | None:
    """A moment of the step after the last is one of evaluation."""
    if budget is None or evaluation is None or budget.step != evaluation.step:
        return budget
    name = (budget.moment or "").partition(":")[0]
    return replace(budget, moment=f"{name}: evaluation, after the last step")


def _full_holder(leaks: Sequence[Leak], levels: Sequence[int]) -> BoundedGrowth | None:
    """Growth that comes to its end when its holder has its largest length."""
    growth = step_growth(levels)
    if not leaks or leaks[0].until_step is None or not is_growing(growth) or growth is None:
        return None
    until, last = leaks[0].until_step, len(levels)
    added = round(growth.bytes_per_step * until)
    level = levels[-1] + round(growth.bytes_per_step * (until - last))
    return BoundedGrowth(until_step=until, level_bytes=level, added_bytes=added, falls=False)


def figures_of_trace(trace: AllocationTrace, scenario: Scenario, *, target: str) -> RunFigures:
    """A recorded trace, replayed with and without the capacity. An out-of-memory that the recording holds comes first."""
    unlimited = replace(scenario, capacity_bytes=None)
    free, recorded = replay(trace, unlimited), trace.recorded_oom
    limited = free if recorded is not None or scenario.capacity_bytes is None else replay(trace, scenario)
    is_what_if = trace.start is not None and is_otherwise(trace, scenario)
    return _replayed(
        scenario,
        free,
        segments_after(trace, unlimited, request=len(trace)),
        trace=trace,
        target=target,
        is_file=True,
        oom=limited.oom if recorded is None else _as_oom(recorded),
        budget=_recorded_budget(trace, scenario, limited),
        request_sizes_vary=_sizes_vary(trace),
        notes=(*trace.warnings, CANNOT_COMPARE) if is_what_if else trace.warnings,
    )


def _as_oom(failed: FailedRequest) -> Oom:
    is_in_pieces = died_of_fragmentation(
        failed.size_bytes, largest_free_bytes=failed.largest_free_bytes, free_bytes=failed.free_bytes
    )
    return Oom(
        step=0,
        request=failed.request,
        size_bytes=failed.size_bytes,
        cause="fragmentation" if is_in_pieces else "capacity",
        is_barred=failed.size_bytes <= failed.largest_free_bytes,
        largest_free_bytes=failed.largest_free_bytes,
        free_bytes=failed.free_bytes,
        source=failed.source,
    )


def _recorded_budget(trace: AllocationTrace, scenario: Scenario, limited: ReplayResult) -> Budget | None:
    """Where the recording ran out of memory, where the replay does, or at the peak."""
    unlimited = replace(scenario, capacity_bytes=None)
    if not trace.has_history:
        return budget_at(trace, unlimited, Moment(request=len(trace), step=0, name="the snapshot"))
    if trace.recorded_oom is not None:
        failed, values = trace.recorded_oom.request, array("q", trace.values)
        for each in trace.recorded_oom.earlier:
            values[each] = 0  # it was not granted then, and so took nothing
        moment = Moment(request=failed, step=0, name="the recorded out-of-memory")
        return budget_at(replace(trace, values=values), unlimited, moment)
    return _budget(trace, scenario, unlimited, limited)


def _measured(
    run: Trial | Recording, series: StepSeries, peaks: tuple[int | None, int | None, int | None], **known: Any
) -> RunFigures:
    return _run_figures(
        series,
        peaks,
        oom=None if run.death is None else run.death.oom,
        sources=run.growth_sources,
        other_processes_bytes=run.other_processes_bytes,
        request_sizes_vary=peaks_vary(series),
        **known,
    )


def _own_streams(trace: AllocationTrace) -> frozenset[int]:
    """Streams of torch's own: fully_shard gathers and reduces on its own, by design."""
    kinds = (Category.COMMUNICATION_BUFFER, Category.UNSHARDED_PARAMETER, Category.GRADIENT_BUCKET)
    by_design = {number for number, note in enumerate(trace.note_table) if note.category in kinds}
    return frozenset(stream for note, stream in zip(trace.notes, trace.streams, strict=True) if note in by_design)


def _replayed(
    scenario: Scenario, free: ReplayResult, segments: Iterable[SegmentView], *, trace: AllocationTrace, **known: Any
) -> RunFigures:
    """`free` is the replay without a limit, `segments` are those that the trace leaves in the end."""
    own = {0, *_own_streams(trace)}
    side = [segment for segment in segments if segment.stream not in own]
    return _run_figures(
        series_of(free.steps),
        _three(free.peaks),
        capacity_bytes=scenario.capacity_bytes,
        settings=scenario.settings,
        side_reserved_bytes=sum(segment.size_bytes for segment in side),
        side_free_bytes=sum(segment.free_bytes for segment in side),
        **known,
    )


def _run_figures(series: StepSeries, peaks: tuple[int | None, int | None, int | None], **known: Any) -> RunFigures:
    """A run's figures from its steps, its peaks (allocated, active, reserved), and what else is `known`, by field."""
    allocated, active, reserved = (peak or 0 for peak in peaks)
    return RunFigures(
        series=series,
        peak_allocated_bytes=allocated,
        peak_active_bytes=active,
        peak_reserved_bytes=reserved,
        **{"growth": step_growth(series.allocated_bytes), **known},
    )


def _three(peaks: Peaks) -> tuple[int, int, int]:
    return peaks.allocated_bytes, peaks.active_bytes, peaks.reserved_bytes


def peaks_vary(series: StepSeries) -> bool | None:
    """Whether steps after the warm-up peak differently over what was there before them, so that batches seem to differ."""
    rises = [peak - end for peak, end in zip(series.peak_allocated_bytes[3:], series.allocated_bytes[2:], strict=False)]
    return len(set(rises)) > 1 if rises else None


def _sizes_vary(trace: AllocationTrace) -> bool:
    """Whether a good part of the large requests have sizes that come only once or twice."""
    sizes = Counter(
        size for op, size in zip(trace.ops, trace.values, strict=True) if op == Op.ALLOC and size >= 2**20
    )  # fmt: skip
    rare = sum(count for count in sizes.values() if count <= 2)
    return sum(sizes.values()) >= MANY_REQUESTS and rare > FEW_SIZES * sum(sizes.values())


def _budget(trace: AllocationTrace, scenario: Scenario, unlimited: Scenario, limited: ReplayResult) -> Budget | None:
    """What is live just before the request that does not fit; where all fit, at the peak."""
    oom = limited.oom
    if oom is None or not oom.request:
        return budget_at_peak(trace, unlimited)
    return budget_at(trace, scenario, Moment(request=oom.request, step=oom.step, name="the out-of-memory"))


def figures_of_file(
    path: Path, scenario: Scenario, *, total_bytes: int | None, environment: Mapping[str, str]
) -> RunFigures:
    """What a snapshot, or a trace in JSON lines, says. `total_bytes` is the device's memory, where it is known.

    Raises TraceError for a file that is neither.
    """
    trace, snapshot = read_trace_and_snapshot(path)
    own = scenario if scenario.settings else replace(scenario, settings=recorded_settings(trace, scenario.version))
    if snapshot is None:
        return figures_of_trace(trace, own, target=str(path))
    figures = figures_of_trace(trace, own, target=str(path))
    figures = replace(
        figures,
        settings_problems=_not_in_force(snapshot, own, environment),
        held=None if trace.has_history else held_by(snapshot),
        devices=tuple(devices_of(snapshot, trace)),
    )
    return _with_limits(figures, trace, total_bytes=total_bytes)


def _not_in_force(snapshot: Snapshot, scenario: Scenario, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Options that the environment, or the recorded process's own configuration, asks for and the snapshot does not show."""
    recorded = snapshot.settings_shown
    if recorded is None:
        return ()
    asked = dict.fromkeys(filter(None, (scenario.settings, conf_asked_for(allocator_variables(environment)))))
    return tuple(problem for text in asked for problem in not_in_force(text, recorded, scenario.version))


def _with_limits(figures: RunFigures, trace: AllocationTrace, *, total_bytes: int | None) -> RunFigures:
    """Where it ran out: what there was for this process, and what others held of the device."""
    if trace.recorded_oom is None:
        return figures
    room = trace.recorded_oom.capacity_bytes
    others = None if total_bytes is None else max(0, total_bytes - room - CONTEXT_BYTES)
    return replace(figures, capacity_bytes=figures.capacity_bytes or room, other_processes_bytes=others)
