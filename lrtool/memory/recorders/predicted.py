"""Recorders without a GPU: the steps are traced ("predicted" or "cpu") and their trace replayed at the capacity."""

import linecache
import os
import re
import sys
from dataclasses import dataclass, replace

import torch

from lrtool.errors import LrtoolError
from lrtool.memory.allocator.versions import torch_version
from lrtool.memory.attribution.peak import PeakPart, lines_at_peak, most_by_category, peak_breakdown
from lrtool.memory.context import communicator_bytes, context_bytes
from lrtool.memory.gpus import find_card
from lrtool.memory.recorders.recording import Recording, RecordSettings, StepColumns, series_of
from lrtool.memory.replay.devices import Fullest, play_fullest
from lrtool.memory.replay.interval import peak_interval
from lrtool.memory.replay.replay import Scenario, parse_scenario
from lrtool.memory.trace.allocation_trace import AllocationTrace
from lrtool.results import CardMemory, GrowthSource, Oom, PeakInterval, PeakLine, PeakShare
from lrtool.tracing.fake_cuda.gpu import H100, FakeGpu
from lrtool.tracing.tracer.alternatives import trace_with_alternatives
from lrtool.tracing.tracer.caught import CaughtOom, may_catch, trace_with_limit
from lrtool.tracing.tracer.growth.leaks import Leak
from lrtool.tracing.tracer.limit import Limit
from lrtool.tracing.tracer.tracer import Kind, TracedRun, TraceSettings
from lrtool.units import count_of, format_bytes
from lrtool.workload.target import Factory
from lrtool.workload.user_code import is_users_file

MAX_PEAK_PARTS = 24
"""As many parts of the peak are kept, largest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A traced run, replayed on its fullest device; `caught` where the program caught that memory ran out."""

    run: TracedRun
    fullest: Fullest
    caught: CaughtOom | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What limits that which is known, and what happened on the way."""
        if self.caught is None or self.caught.traced is None:
            return self.run.warnings
        first, times = self.caught.failures[0], len(self.caught.failures)
        where = f" at {first.source}" if first.source else ""
        told = f"in step {first.step} a request of {format_bytes(first.num_bytes)}{where} does not fit"
        steps = count_of(self.run.num_traced_steps, "traced step")
        return (*self.run.warnings, f"{told}; the program catches that and goes on ({times} in {steps})")


def trace_on_capacity(factory: Factory, settings: TraceSettings, scenario: Scenario) -> Traced:
    """Trace, and replay under the scenario; a program that may catch torch's error feels the limit in a second trace.

    Raises as `trace` does.
    """
    run = trace_with_alternatives(factory, settings)
    fullest = play_fullest(run.trace, scenario)
    oom = fullest.played.oom
    if settings.kind != "predicted" or oom is None or scenario.capacity_bytes is None:
        return Traced(run=run, fullest=fullest)
    if not 0 < oom.step <= run.num_traced_steps or not may_catch():
        return Traced(run=run, fullest=fullest)
    limit = Limit(capacity_bytes=scenario.capacity_bytes, settings=parse_scenario(scenario), version=scenario.version)
    caught = trace_with_limit(factory, settings, limit)
    if caught is None or caught.traced is None:
        return Traced(run=run, fullest=fullest, caught=caught)
    return Traced(run=caught.traced, fullest=play_fullest(caught.traced.trace, scenario), caught=caught)


def record_traced(factory: Factory, settings: RecordSettings) -> Recording:
    """Trace as many steps as it takes until they repeat, and replay the whole run."""
    kind: Kind = "cpu" if settings.recorder == "cpu" else "predicted"
    try:
        scenario = Scenario(settings=settings.settings, capacity_bytes=settings.capacity_bytes, version=torch_version())
        found = trace_on_capacity(
            factory,
            TraceSettings(
                num_steps=settings.num_steps,
                kind=kind,
                seed=settings.seed,
                gpu=fake_gpu(settings.gpu, count=settings.gpus),
                keeps_failed=True,
            ),
            scenario,
        )
        traced, fullest = found.run, found.fullest
        trace, played = fullest.trace, fullest.played
        interval = peak_interval(trace, scenario, traced.assumptions)
    except (LrtoolError, KeyboardInterrupt) as error:
        return Recording(series=StepColumns().series(), peaks=None, error=error)
    return Recording(
        series=series_of(played.steps),
        peaks=played.peaks,
        at_peak=played.at_peak,
        num_steps_traced=traced.num_traced_steps,
        death=None if played.oom is None else played.oom.as_stored_of_trial,
        error=traced.failure,
        note="; ".join(found.notes) or None,
        growth_sources=tuple(map(source_of, traced.leaks)),
        peak_breakdown=tuple(map(_stored, _largest_parts(trace, played.oom))),
        most_by_category=most_by_category(trace),
        peak_interval=interval,
        devices=fullest.devices,
        on_card=card_memory(settings.gpu, played.peaks.reserved_bytes, interval, num_ranks=traced.num_ranks)
        if kind == "predicted"
        else None,
        assumptions=traced.assumptions,
    )


def card_memory(
    card_name: str, reserved_bytes: int, interval: PeakInterval | None, *, num_ranks: int = 0
) -> CardMemory:
    """What nvidia-smi would show of this process on that card; with a communicator where it is one of `num_ranks`."""
    context = context_bytes(find_card(card_name), cuda_version=_cuda_version())
    parts = [context, communicator_bytes(num_ranks)] if num_ranks else [context]
    low, high = (reserved_bytes, reserved_bytes) if interval is None else interval.reserved_ends
    return CardMemory(
        low_bytes=low + sum(part.low_bytes for part in parts),
        likely_bytes=reserved_bytes + sum(part.likely_bytes for part in parts),
        high_bytes=high + sum(part.high_bytes for part in parts),
        source="; ".join(part.source for part in parts),
    )


def _cuda_version() -> tuple[int, int]:
    """That of the installed torch; of a build without CUDA, that of the wheels on PyPI."""
    found = re.findall(r"\d+", torch.version.cuda or "")
    return (int(found[0]), int(found[1])) if len(found) > 1 else (12, 8)


def fake_gpu(card_name: str, *, count: int = 1) -> FakeGpu:
    """The card as user code sees it while it is traced, with `count` of them."""
    card = find_card(card_name)
    if card is None or card.capability is None or card.num_multiprocessors is None:
        return replace(H100, count=count)
    return FakeGpu(
        capability=card.capability,
        total_bytes=card.total_bytes,
        num_multiprocessors=card.num_multiprocessors,
        count=count,
    )


def _largest_parts(trace: AllocationTrace, oom: Oom | None) -> tuple[PeakPart, ...]:
    until = None if oom is None else oom.request
    return peak_breakdown(trace, until_request=until)[:MAX_PEAK_PARTS]


def _stored(part: PeakPart) -> PeakShare:
    return PeakShare(
        category=part.category,
        module=part.module,
        source=part.source,
        line=_line_at(part.source or ""),
        num_bytes=part.num_bytes,
    )


def peak_lines(trace: AllocationTrace, *, of_last_step: bool = False) -> tuple[PeakLine, ...]:
    """The largest lines at the peak, or at that of the last step, with their text."""
    return tuple(
        PeakLine(
            source=each.source,
            line=_line_at(each.source),
            phase=each.phase,
            category=each.category,
            module=each.module,
            operator=each.operator,
            shape=each.shape,
            num_tensors=each.num_tensors,
            num_alike=each.num_alike,
            num_bytes=each.num_bytes,
        )
        for each in lines_at_peak(trace, of_last_step=of_last_step)[:MAX_PEAK_PARTS]
        if each.source is not None
    )


def source_of(leak: Leak) -> GrowthSource:
    """What piles up, by the line that keeps it where that is known, else by its line of birth."""
    place, _, line = (leak.stored_at or leak.source or "unknown").partition(" ")
    return GrowthSource(
        source=place,
        line=line or _line_at(place),
        container=leak.holder,
        bytes_per_step=leak.bytes_per_step,
        graph=leak.graph,
        may_end=leak.may_end,
        until_step=leak.until_step,
    )


def _line_at(place: str) -> str | None:
    """The text of `file.py:line`, of a user's module that was imported from a file of that name."""
    name, _, number = place.rpartition(":")
    if not number.isdecimal():
        return None
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    found = [file for file in files if file.endswith(f"{os.sep}{name}") and is_users_file(file)]
    return linecache.getline(found[0], int(number)).strip() or None if found else None
