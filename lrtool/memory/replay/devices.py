"""A program on several devices: each device's requests replayed by themselves, and which device is full first."""

from dataclasses import dataclass

from lrtool.memory.replay.replay import ReplayResult, Scenario, replay
from lrtool.memory.trace.allocation_trace import AllocationTrace
from lrtool.memory.trace.devices import devices_of, on_device
from lrtool.results import DeviceMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class Fullest:
    """The device that is full first: its own requests, and how they were replayed; `devices` are all, if several."""

    trace: AllocationTrace
    played: ReplayResult
    devices: tuple[DeviceMemory, ...]


def play_fullest(trace: AllocationTrace, scenario: Scenario) -> Fullest:
    """Replay each device's requests; the first to run out of memory is told, else the one that reserves most."""
    numbers = devices_of(trace)
    if len(numbers) == 1:
        return Fullest(trace=trace, played=replay(trace, scenario), devices=())
    traces = {number: on_device(trace, number) for number in numbers}
    played = {number: replay(each, scenario) for number, each in traces.items()}
    fullest = min(played, key=lambda number: _place(played[number]))
    return Fullest(
        trace=traces[fullest],
        played=played[fullest],
        devices=tuple(_memory(number, each) for number, each in played.items()),
    )


def _place(played: ReplayResult) -> tuple[float, int, int]:
    """Those that run out of memory first, by step; of others the one that reserves most."""
    end = float("inf") if played.oom is None else played.oom.step
    return end, -played.peaks.reserved_bytes, -played.peaks.allocated_bytes


def _memory(number: int, played: ReplayResult) -> DeviceMemory:
    return DeviceMemory(
        device=f"cuda:{number}",
        peak_allocated_bytes=played.peaks.allocated_bytes,
        peak_reserved_bytes=played.peaks.reserved_bytes,
        runs_out=not played.survived,
    )
