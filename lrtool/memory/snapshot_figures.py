"""The figures of a diagnosis from a CUDA snapshot: its stream, the out-of-memory it holds, and the settings in force."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lrtool.memory.cards import CONTEXT_BYTES
from lrtool.memory.recorded_figures import figures_of_stream
from lrtool.memory.replay import Scenario
from lrtool.memory.run_figures import DeathFigures, RunFigures
from lrtool.memory.settings_in_force import allocator_variables, conf_asked_for, not_in_force
from lrtool.memory.snapshot_trace import Snapshot
from lrtool.memory.stream_reader import read_trace


def figures_of_file(
    path: Path, scenario: Scenario, *, total_bytes: int | None, environment: Mapping[str, str]
) -> RunFigures:
    """What a snapshot, or a stream in JSON lines, says. `total_bytes` is the device's memory, where it is known.

    Raises StreamError for a file that is neither.
    """
    stream, snapshot = read_trace(path)
    own = scenario if scenario.settings else replace(scenario, settings=stream.recorded_settings or "")
    if snapshot is None:
        return figures_of_stream(stream, own, target=str(path))
    figures = figures_of_stream(stream, own, target=str(path), death=_death(snapshot))
    figures = replace(figures, settings_problems=_not_in_force(snapshot, own, environment))
    return _with_limits(figures, snapshot, total_bytes=total_bytes)


def _death(snapshot: Snapshot) -> DeathFigures | None:
    """The last out-of-memory of the recording, with what the final segments hold: torch releases its cache before it dies."""
    failed = [event for event in snapshot.events if event.action == "oom"]
    if not failed:
        return None
    device_free = failed[-1].address
    free = [block.size for segment in snapshot.segments for block in segment.blocks if not block.is_active]
    largest, total = max([device_free, *free]), device_free + sum(free)
    size = failed[-1].size
    return DeathFigures(
        step=0,
        size_bytes=size,
        cause="fragmentation" if largest < size <= total else "capacity",
        largest_free_bytes=largest,
        free_bytes=total,
        source=failed[-1].source,
    )


def _not_in_force(snapshot: Snapshot, scenario: Scenario, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Options that the environment, or the recorded process's own configuration, asks for and the snapshot does not show."""
    recorded = snapshot.settings_shown
    if recorded is None:
        return ()
    asked = dict.fromkeys(filter(None, (scenario.settings, conf_asked_for(allocator_variables(environment)))))
    return tuple(problem for text in asked for problem in not_in_force(text, recorded, scenario.version))


def _with_limits(figures: RunFigures, snapshot: Snapshot, *, total_bytes: int | None) -> RunFigures:
    """Where it ran out: what there was for this process, and what others held of the device."""
    failed = [event for event in snapshot.events if event.action == "oom"]
    if not failed:
        return figures
    room = failed[-1].address + sum(segment.size for segment in snapshot.segments)
    others = None if total_bytes is None else max(0, total_bytes - room - CONTEXT_BYTES)
    return replace(figures, capacity_bytes=figures.capacity_bytes or room, other_processes_bytes=others)
