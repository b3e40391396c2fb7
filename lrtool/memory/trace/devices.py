"""The requests of a program that trains on several devices, each device by itself: each has an allocator of its own."""

from array import array
from collections.abc import Iterator
from dataclasses import replace

from lrtool.memory.trace.allocation_trace import NO_SLOT, AllocationTrace, Op, Repeat

_OF_A_TENSOR = (Op.FREE, Op.RECORD_STREAM)


def devices_of(trace: AllocationTrace) -> tuple[int, ...]:
    """The numbers of the devices on which anything is allocated."""
    used = set(trace.notes)
    return tuple(sorted({note.device for number, note in enumerate(trace.note_table) if number in used})) or (0,)


def on_device(trace: AllocationTrace, device: int) -> AllocationTrace:
    """The requests on one device, and what is asked of all: the marks of steps, and to empty the cache."""
    kept = list(_kept(trace, device))
    before = [0]
    for is_kept in kept:
        before.append(before[-1] + is_kept)
    chosen = [index for index, is_kept in enumerate(kept) if is_kept]
    repeats = (replace(each, start=before[each.start], stop=before[each.stop]) for each in trace.repeats)
    return replace(
        trace,
        ops=bytes(trace.ops[index] for index in chosen),
        slots=_of(trace.slots, chosen),
        values=_of(trace.values, chosen),
        streams=_of(trace.streams, chosen),
        notes=_of(trace.notes, chosen),
        repeats=tuple(each for each in repeats if _has_requests(each)),
    )


def _kept(trace: AllocationTrace, device: int) -> Iterator[bool]:
    """Of each stored request, whether it is for the device; a slot belongs to that of the tensor that has it."""
    device_of_slot: dict[int, int] = {}
    for index, (op, slot) in enumerate(zip(trace.ops, trace.slots, strict=True)):
        if op == Op.ALLOC:
            own = trace.note(index).device
            if slot != NO_SLOT:
                device_of_slot[slot] = own
            yield own == device
        else:
            yield op not in _OF_A_TENSOR or device_of_slot.get(slot, 0) == device


def _of(column: "array[int]", chosen: list[int]) -> "array[int]":
    return array(column.typecode, (column[index] for index in chosen))


def _has_requests(repeat: Repeat) -> bool:
    return repeat.stop > repeat.start
