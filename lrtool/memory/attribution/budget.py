"""A budget of bytes: what is live at one moment of a trace by category and module, and the rest of what is reserved.

The lines add up to reserved memory exactly: what was requested, the allocator's rounding, blocks that wait for another
stream, free pieces of segments in use, and whole free segments.
"""

from collections import Counter
from dataclasses import dataclass

from lrtool.memory.allocator.caching_allocator import Allocator
from lrtool.memory.gpus import CONTEXT_BYTES
from lrtool.memory.replay.player import Player
from lrtool.memory.replay.replay import Scenario, build_allocator
from lrtool.memory.replay.segments import played_until
from lrtool.memory.trace.allocation_trace import NO_SLOT, AllocationTrace, Note, Op
from lrtool.memory.trace.live import Walk, walk_as_played
from lrtool.results import Budget, BudgetLine, Category, in_phase

MAX_MODULES = 10
PEAK = "the peak"
PLURALS: dict[str, str] = {each: each.plural for each in Category}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A moment of a replay: after `request` requests, in `step` (0 is the build), and what a person would call it."""

    request: int
    step: int
    name: str = PEAK


def budget_at_peak(trace: AllocationTrace, scenario: Scenario) -> Budget | None:
    """The budget where most was allocated, or at the failing request; None for a trace without an allocation."""
    moment = peak_moment(trace, scenario)
    return None if moment is None else budget_at(trace, scenario, moment)


def peak_moment(trace: AllocationTrace, scenario: Scenario) -> Moment | None:
    """Where allocated memory is highest, first of equals; what is proven to repeat has no higher peak than what was played.

    The start counts too: what a recorded process held before its first request may be the most there ever was.
    """
    watch = _PeakWatch(trace, scenario)
    watch.player.play()
    return watch.peak


def budget_at(trace: AllocationTrace, scenario: Scenario, moment: Moment) -> Budget:
    """The budget right after `moment.request` requests."""
    player = played_until(trace, scenario, request=moment.request - 1)
    allocator = player.allocator
    walked = walk_as_played(trace, moment.request)
    lines, modules = _live_lines(player, _notes_by_slot(trace, walked))
    phase = _last_note(trace, walked).phase
    return Budget(
        step=moment.step,
        phase=phase,
        moment=_told(trace, moment, phase),
        lines=tuple(BudgetLine(name=name, num_bytes=size) for name, size in _all_lines(lines, allocator)),
        modules=tuple(BudgetLine(name=name, num_bytes=size) for name, size in modules.most_common(MAX_MODULES)),
        reserved_bytes=allocator.now().reserved_bytes,
        context_bytes=CONTEXT_BYTES,
        is_context_measured=False,
        other_processes_bytes=None,
        device_used_bytes=None,
    )


def _told(trace: AllocationTrace, moment: Moment, phase: str | None) -> str:
    """The moment by its name and its place: a step where the trace has steps, else a request."""
    if not trace.has_history:
        return moment.name
    if moment.step or trace.repeats or Op.STEP in trace.ops:
        place = f"step {moment.step:,}" if moment.step else "the build"
        place += f", {in_phase(phase)}" if phase else ""
    elif moment.request:
        number = moment.request + (moment.name != PEAK)  # the state is that before a request that fails
        place = f"request {number:,} of {len(trace):,}"
    else:
        place = "as the recording begins"
    return f"{moment.name}: {place}"


def _notes_by_slot(trace: AllocationTrace, walked: Walk) -> dict[int, Note]:
    """Of what is live; tensors without a slot share the note of the last one."""
    segments = () if trace.start is None else trace.start.segments
    at_start = {block.slot: Note(source=block.source) for segment in segments for block in segment.blocks}
    return at_start | {trace.slots[each]: trace.note(each) for each in walked.requests[walked.live_after()].tolist()}


def _last_note(trace: AllocationTrace, walked: Walk) -> Note:
    """Of the last allocation."""
    return trace.note(int(walked.requests[walked.births.max()])) if len(walked.births) else Note()


def _live_lines(player: Player, notes: dict[int, Note]) -> tuple[Counter[str], Counter[str]]:
    """Requested bytes by line, and of activations by module; of a recording, which knows no categories, by source line."""
    lines: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    nameless = notes.get(NO_SLOT, Note())
    blocks = {id(block): slot for slot, block in enumerate(player.live) if block is not None and block.is_live}
    for segment in player.allocator.segments.values():
        for block in segment.blocks():
            if not block.is_live:
                continue
            slot = blocks.get(id(block), NO_SLOT)
            note = notes.get(slot, nameless)
            lines[PLURALS.get(note.category or "", "not known")] += block.requested
            lines["rounding"] += block.size - block.requested
            if note.category == Category.ACTIVATION:
                modules[note.module or "outside of modules"] += block.requested
            elif note.category is None:
                modules[note.source or "no line of a program"] += block.requested
    return lines, modules


def _all_lines(live: Counter[str], allocator: Allocator) -> list[tuple[str, int]]:
    now = allocator.now()
    rest = {
        "rounding": live["rounding"],
        "waiting for a stream": now.active_bytes - now.allocated_bytes,
        "split": now.inactive_split_bytes,
        "cache": now.reserved_bytes - now.active_bytes - now.inactive_split_bytes,
    }
    named = [(name, live[name]) for name in (*PLURALS.values(), "not known") if live[name]]
    lines = [*named, *rest.items()]
    assert sum(size for _, size in lines) == now.reserved_bytes, "the budget does not add up to reserved memory"
    return lines


class _PeakWatch:
    """Plays a trace and remembers after which request most was allocated."""

    def __init__(self, trace: AllocationTrace, scenario: Scenario) -> None:
        self.player = Player(trace, build_allocator(trace, scenario), watch=self._look, step_peaks=False)
        self._tally = self.player.allocator.statistics.overall
        self._highest = self._tally.allocated_bytes if trace.start is not None else -1
        self.peak = None if trace.start is None else Moment(request=0, step=0)

    def _look(self, request: int) -> None:
        if self._tally.allocated_bytes > self._highest:
            self._highest = self._tally.allocated_bytes
            step = len(self.player.steps) + self.player.is_in_step
            self.peak = Moment(request=request + 1, step=step)
