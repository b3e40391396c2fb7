"""The JSON-lines form of a trace: written, read, and refused with the line that is wrong."""

import gzip
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings

from lrtool.memory.snapshot.reader import read_trace
from lrtool.memory.trace.allocation_trace import ALL_STREAMS, NO_SLOT, AllocationTrace, Note, Op, TraceError
from lrtool.memory.trace.jsonl import parse_jsonl
from tests.memory.traces import Call, calls, trace_of

EVERY_OP = """
{"op": "alloc", "id": "w", "size": 4096, "phase": "setup", "category": "parameter", "source": "train.py:7"}
{"op": "repeat", "times": 3}
{"op": "step"}
{"op": "alloc", "id": 5, "size": 1024, "stream": 2}
{"op": "record_stream", "id": 5, "stream": 0}
{"op": "free", "id": 5}
{"op": "end_repeat"}
{"op": "alloc", "id": null, "size": 77}
{"op": "advance"}
{"op": "advance", "stream": 1}

{"op": "empty_cache"}
{"op": "reset_peak"}
{"op": "reset_accumulated"}
{"op": "set_memory_fraction", "fraction": 0.5}
{"op": "set_limit", "bytes": 1000000}
{"op": "settings", "conf": "expandable_segments:True"}
"""


def parse(text: str) -> AllocationTrace:
    return parse_jsonl(BytesIO(text.encode()), name="trace.jsonl")


def columns(trace: AllocationTrace) -> tuple[object, ...]:
    return trace.ops, trace.slots, trace.values, trace.streams, trace.repeats, trace.texts, trace.fractions


def format_jsonl(trace: AllocationTrace) -> Iterator[str]:
    """The lines of a trace, without line ends."""
    ends = {repeat.stop for repeat in trace.repeats}
    times = {repeat.start: repeat.times for repeat in trace.repeats}
    for index in range(len(trace.ops)):
        if index in ends:
            yield '{"op": "end_repeat"}'
        if index in times:
            yield json.dumps({"op": "repeat", "times": times[index]})
        yield json.dumps(_request(trace, index))
    if len(trace.ops) in ends:
        yield '{"op": "end_repeat"}'


def _request(trace: AllocationTrace, index: int) -> dict[str, object]:
    """One stored request as it is written; slots serve as ids."""
    op, slot, value = Op(trace.ops[index]), trace.slots[index], trace.values[index]
    request: dict[str, object] = {"op": op.name.lower()}
    if slot != NO_SLOT or op is Op.ALLOC:
        request["id"] = None if slot == NO_SLOT else slot
    if op is Op.ALLOC:
        note = trace.note(index)
        request["size"] = value
        request |= {"stream": trace.streams[index]} if trace.streams[index] else {}
        request |= {
            field: text
            for field in ("phase", "category", "source", "operator")
            if (text := getattr(note, field)) is not None
        }
    elif op is Op.RECORD_STREAM or (op is Op.ADVANCE and value != ALL_STREAMS):
        request["stream"] = value
    elif op is Op.SET_MEMORY_FRACTION:
        request["fraction"] = trace.fractions[value]
    elif op is Op.SET_LIMIT:
        request["bytes"] = value
    elif op is Op.SETTINGS:
        request["conf"] = trace.texts[value]
    return request


def test_every_op_is_read() -> None:
    trace = parse(EVERY_OP)
    assert set(trace.ops) == set(Op)
    assert len(trace.ops) == 14
    assert len(trace) == 14 + 2 * 4
    assert trace.has_manual_events
    assert trace.note(0) == Note(phase="setup", category="parameter", source="train.py:7")
    assert trace.note(1) == Note()


def test_what_is_written_reads_back_the_same() -> None:
    trace = parse(EVERY_OP)
    again = parse("\n".join(format_jsonl(trace)))
    assert columns(again) == columns(trace)
    assert again.note(0) == trace.note(0)


@settings(max_examples=40, deadline=None)
@given(calls().filter(bool))
def test_any_stream_survives_the_round_trip(requests: list[Call]) -> None:
    trace = trace_of(*requests)
    assert columns(parse("\n".join(format_jsonl(trace)))) == columns(trace)


def test_equal_steps_get_equal_slots_whatever_their_ids() -> None:
    lines = [
        f'{{"op": "step"}}\n{{"op": "alloc", "id": "a{i}", "size": 512}}\n{{"op": "alloc", "id": "b{i}", "size": 9}}\n'
        f'{{"op": "free", "id": "a{i}"}}\n{{"op": "free", "id": "b{i}"}}'
        for i in range(3)
    ]
    trace = parse("\n".join(lines))
    assert trace.num_slots == 2
    assert list(trace.slots[:5]) == list(trace.slots[5:10]) == list(trace.slots[10:])


def test_a_file_may_be_compressed(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl.gz"
    path.write_bytes(gzip.compress(EVERY_OP.encode()))
    assert columns(read_trace(path)) == columns(parse(EVERY_OP))


ALLOC = '{"op": "alloc", "id": "a", "size": 512}\n'
FREE = '{"op": "free", "id": "a"}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: no requests"),
        ("\n\n", ":2: no requests"),
        (ALLOC + '{"op": "alloc", "id": "b", "si', ":2: not a JSON object"),
        (ALLOC + "[1, 2]", ":2: no request"),
        (ALLOC + '{"op": 7}', ":2: no request"),
        ('{"op": "aloc", "id": "a", "size": 1}', ":1: unknown op 'aloc'"),
        (ALLOC + '{"op": "free", "id": "b"}', ":2: free of 'b', which is not allocated here"),
        (ALLOC + FREE + FREE, ":3: free of 'a', which is not allocated here"),
        (ALLOC + ALLOC, ":2: alloc of 'a', which is allocated already"),
        ('{"op": "record_stream", "id": "a", "stream": 1}', ":1: record_stream of 'a'"),
        ('{"op": "alloc", "id": "a", "size": -1}', ":1: alloc of -1 bytes"),
        ('{"op": "alloc", "id": "a", "size": 1' + "0" * 40 + "}", ":1: alloc of 1000"),
        ('{"op": "alloc", "id": "a", "size": 1' + "0" * 9000 + "}", ":1: not a JSON object"),
        ('{"op": "alloc", "id": "a", "size": 1.5}', ":1: alloc: size is 1.5"),
        ('{"op": "alloc", "id": "a", "size": true}', ":1: alloc: size is True"),
        ('{"op": "alloc", "id": "a"}', ":1: alloc: size is missing"),
        ('{"op": "alloc", "size": 1}', ":1: alloc: id is missing"),
        ('{"op": "alloc", "id": "a", "size": 1, "stream": -1}', ":1: stream -1"),
        ('{"op": "alloc", "id": "a", "size": 1, "phase": 3}', ":1: alloc: phase is 3"),
        ('{"op": "set_memory_fraction", "fraction": NaN}', ":1: memory fraction nan"),
        ('{"op": "set_limit", "bytes": -5}', ":1: limit of -5 bytes"),
        ('{"op": "settings"}', ":1: settings: conf is missing"),
        ('{"op": "repeat", "times": 0}', ":1: repeat 0 times"),
        ('{"op": "repeat", "times": 2}\n{"op": "repeat", "times": 2}', ":2: a repeat inside a repeat"),
        (ALLOC + '{"op": "repeat", "times": 2}\n' + FREE, ":2: the trace ends inside a repeat"),
        (
            '{"op": "repeat", "times": 2}\n' + ALLOC + '{"op": "end_repeat"}',
            ":3: the repeated requests do not leave 'a'",
        ),
        (ALLOC + '{"op": "end_repeat"}', ":2: end_repeat without a repeat"),
        ('{"op":' + "[" * 100_000, ":1: not a JSON object"),
        ('{"op": "free", "id": "' + "a" * 2_000_000 + '"}', ":1: a line of over 1 MiB"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(TraceError) as caught:
        parse(text)
    assert caught.value.message.startswith("trace.jsonl" + message)
    assert caught.value.hint
    assert len(caught.value.message) < 200


def test_a_process_has_a_few_streams() -> None:
    """What is looked up in every stream would take the square of their number."""
    lines = b"".join(b'{"op": "alloc", "id": null, "size": 1, "stream": %d}\n' % number for number in range(1_001))

    assert len(parse_jsonl(BytesIO(lines[: lines.rindex(b"{")]), name="t")) == 1_000
    with pytest.raises(TraceError, match=r"t:1001: allocations on over 1000 streams"):
        parse_jsonl(BytesIO(lines), name="t")


def test_texts_can_be_printed_and_settings_encoded() -> None:
    alloc = b'{"op": "alloc", "id": "a\\ud800", "size": 1, "source": "a\\u001b[31m.py:1%s"}' % (b"x" * 10_000)
    (note,) = parse_jsonl(BytesIO(alloc), name="t").note_table

    assert note.source is not None
    assert (note.source[:9], len(note.source)) == ("a?[31m.py", 500)
    for odd in (b"source", b"conf"):
        line = b'{"op": "%s", "id": 1, "size": 1, "%s": "\\udfff"}' % (
            b"alloc" if odd == b"source" else b"settings",
            odd,
        )
        with pytest.raises(TraceError, match=r"t:1: .* is '.udfff'"):
            parse_jsonl(BytesIO(line), name="t")
