"""`lrtool replay`: a trace under other settings and capacities, from the command line."""

import gzip
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrtool.errors import UnavailableError
from tests import DATA
from tests.conftest import Lrtool

MIB = 2**20
Write = Callable[..., Path]


def alloc(name: str, mib: float, **more: Any) -> dict[str, Any]:
    return {"op": "alloc", "id": name, "size": int(mib * MIB), **more}


def free(name: str) -> dict[str, Any]:
    return {"op": "free", "id": name}


FRAGMENTED = [alloc("a", 30), alloc("b", 30), alloc("c", 30), free("a"), free("c"),
              alloc("d", 50, phase="forward", source="model.py:12")]  # fmt: skip
"""90 MiB in three segments of 30; then 50 MiB fit into 100 MiB only where segments can grow or be flushed."""

SPLIT = [alloc("a", 40), free("a"), alloc("b", 10), alloc("c", 10), free("b"), alloc("d", 32, source="model.py:7")]
"""40 MiB reserved and split: 20 MiB of it are free behind what is in use, and 32 more are asked for."""


@pytest.fixture
def trace(tmp_path: Path) -> Write:
    def write(requests: list[dict[str, Any]], name: str = "trace.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(request) + "\n" for request in requests))
        return path

    return write


def test_one_row_is_answered_in_a_sentence(lrtool: Lrtool, trace: Write) -> None:
    outcome = lrtool("replay", trace([alloc("a", 1), alloc("b", 15)]))

    assert outcome.code == 0
    assert outcome.out.splitlines()[0] == (
        "It survives: peak reserved 18.0 MiB, peak allocated 17.0 MiB, fragmentation 5.56%."
    )
    assert outcome.out.splitlines()[-1] == "Wrote runs/0001-replay/timeline.png. Next: lrtool report runs/0001-replay"


def test_it_has_a_table_of_the_settings_file(lrtool: Lrtool, trace: Write) -> None:
    Path("lrtool.toml").write_text('[replay]\ncapacity = ["100MiB"]\ntorch = "2.6"\nno-caching = true\n')
    in_file = lrtool("replay", trace(FRAGMENTED), "--json").json
    given = lrtool("replay", trace(FRAGMENTED), "--capacity", "64MiB", "--json").json

    assert in_file["settings"] == {"settings": [""], "capacity": ["100MiB"], "torch": "2.6", "no_caching": True}
    assert given["settings"]["capacity"] == ["64MiB"]


def test_the_best_settings_are_named_first(lrtool: Lrtool, trace: Write) -> None:
    settings = ("--settings", "", "--settings", "expandable_segments:True")
    outcome = lrtool("replay", trace(SPLIT), *settings, "--capacity", "64MiB")

    assert outcome.out.startswith("Best: expandable_segments:True on 64.0 MiB: peak reserved ")
    assert "Row 1 runs out of memory (fragmentation) at request 6 of 6 (model.py:7)" in outcome.out
    assert "asked for 32.0 MiB; largest free piece 24.0 MiB, all free 54.0 MiB" in outcome.out
    assert "would survive with expandable_segments:True" in outcome.out


def test_json_has_every_figure_of_the_table(lrtool: Lrtool, trace: Write) -> None:
    document = lrtool("replay", trace(SPLIT), "--capacity", "64MiB", "--json", "--min-capacity").json
    (row,) = document["rows"]

    assert (document["schema"], document["command"], document["best"]) == (1, "replay", 0)
    assert (row["outcome"], row["peak_reserved_bytes"], row["num_device_allocs"]) == ("oom", 40 * MIB, 1)
    assert row["death"]["cause"] == "fragmentation"
    assert row["death"]["source"] == "model.py:7"
    assert row["death"]["surviving_settings"][0] == "expandable_segments:True"
    assert row["least_capacity"]["capacity_bytes"] == 72 * MIB
    assert row["segments"][0]["blocks"][0] == {"offset_bytes": 0, "size_bytes": 10 * MIB, "state": "split"}


def test_a_row_for_each_settings_on_each_capacity(lrtool: Lrtool, trace: Write) -> None:
    arguments = ("--settings", "", "--settings", "PYTORCH_CUDA_ALLOC_CONF=max_split_size_mb:64")
    document = lrtool(
        "replay", trace(FRAGMENTED), *arguments, "--capacity", "24GiB", "--capacity", "rtx4090", "--json"
    ).json
    rows = [(row["settings"], row["capacity_bytes"], row["card"]) for row in document["rows"]]

    assert [row[2] for row in rows] == [None, "rtx4090", None, "rtx4090"]
    assert rows[0][1] == 24 * 2**30
    assert 22 * 2**30 < rows[1][1] < 24 * 2**30


def test_min_capacity_is_told_beside_the_unpressured_peak(lrtool: Lrtool, trace: Write) -> None:
    out = lrtool("replay", trace(FRAGMENTED), "--min-capacity").out

    assert "min capacity, default settings: 90.0 MiB (94,371,840 B), with 1 cache flush; " in out
    assert "unpressured it reserves 140 MiB" in out


def test_no_caching_asks_the_device_each_time(lrtool: Lrtool, trace: Write) -> None:
    plain = lrtool("replay", trace(FRAGMENTED), "--json").json["rows"][0]
    bare = lrtool("replay", trace(FRAGMENTED), "--no-caching", "--json").json["rows"][0]
    by_variable = lrtool("replay", trace(FRAGMENTED), "--settings", "PYTORCH_NO_CUDA_MEMORY_CACHING=1", "--json").json

    assert (plain["num_device_allocs"], bare["num_device_allocs"]) == (4, 4)
    assert (plain["peak_reserved_bytes"], bare["peak_reserved_bytes"]) == (140 * MIB, 90 * MIB)
    assert by_variable["rows"][0]["peak_reserved_bytes"] == 90 * MIB


@pytest.mark.painted
def test_seven_thousand_equal_steps_are_proven(lrtool: Lrtool, trace: Write) -> None:
    step = [{"op": "repeat", "times": 7000}, alloc("x", 8), alloc("y", 30), free("x"), free("y"), {"op": "end_repeat"}]
    document = lrtool("replay", trace([alloc("w", 100), *step]), "--json").json
    (row,) = document["rows"]

    assert document["num_requests"] == 28_001
    assert row["num_played"] < 50
    assert row["timeline"]["repeats_to"] == 28_000


def test_per_op_rows_say_status_place_and_statistics(lrtool: Lrtool, trace: Write) -> None:
    outcome = lrtool("replay", trace([*SPLIT, free("d")]), "--capacity", "64MiB", "--per-op", "rows.jsonl")
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]

    assert (outcome.code, outcome.out) == (0, "")
    assert [row["status"] for row in rows] == ["ok", "ok", "ok", "ok", "ok", "oom", "noop"]
    assert [row["where"] for row in rows] == [[0, 0], None, [0, 0], [0, 10 * MIB], None, None, None]
    assert rows[0]["stats"]["reserved_bytes.all.current"] == 40 * MIB
    assert not Path("runs").exists()


@pytest.mark.painted
@pytest.mark.parametrize("file", sorted((DATA / "snapshots").glob("*.gz")), ids=lambda path: path.stem)
def test_a_real_snapshot_is_replayed(lrtool: Lrtool, file: Path) -> None:
    outcome = lrtool("replay", file, "--torch", "2.9")

    assert outcome.code == 0
    assert outcome.out.startswith("It survives: peak reserved ")
    assert ("recorded from the middle of a process" in outcome.out) is ("midway" in file.name)


@pytest.mark.painted
def test_a_stored_replay_is_reported_again(lrtool: Lrtool, trace: Write) -> None:
    shown = lrtool("replay", trace(SPLIT), "--capacity", "64MiB", "--min-capacity").out
    drawn = {p.name: p.read_bytes() for p in Path("runs/0001-replay").iterdir()}

    assert lrtool("report", "last").out == shown
    assert {p.name: p.read_bytes() for p in Path("runs/0001-replay").iterdir()} == drawn
    assert set(drawn) == {
        "run.json", "rows.csv", "timeline.csv", "timeline.png", "timeline.svg", "segments.png", "segments.svg",
    }  # fmt: skip


def test_tables_fit_eighty_columns(lrtool: Lrtool, trace: Write) -> None:
    settings = ("--settings", "", "--settings", "expandable_segments:True,roundup_power2_divisions:[256:1,512:2,>:8]")
    out = lrtool("replay", trace(SPLIT), *settings, "--capacity", "64MiB").out

    assert "…" not in out
    assert all(len(line) <= 80 or line.startswith(("Best", "Every", "  no settings")) for line in out.splitlines())


class Hostile:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (exec, ("open('executed', 'w').close()",))


NO_TRACES = {
    "empty": (b"", "trace:1: no requests in it"),
    "cut line": (b'{"op": "alloc", "id": "a", "size": 512}\n{"op": "alloc"', "trace:2: "),
    "free of an unknown id": (b'{"op": "free", "id": "a"}\n', "trace:1: "),
    "double free": (b'{"op": "alloc", "id": "a", "size": 512}\n' + 2 * b'{"op": "free", "id": "a"}\n', "trace:3: "),
    "negative size": (b'{"op": "alloc", "id": "a", "size": -1}\n', "trace:1: "),
    "enormous size": (b'{"op": "alloc", "id": "a", "size": 1e300}\n', "trace:1: "),
    "unknown operation": (b'{"op": "explode"}\n', "trace:1: "),
    "garbage": (b"\xff\xfe\x00garbage", ""),
    "hostile pickle": (pickle.dumps({"segments": [], "device_traces": [[]], "x": Hostile()}), ""),
    "hostile gzip": (gzip.compress(pickle.dumps(Hostile()), mtime=0), ""),
    "cut pickle": (pickle.dumps({"segments": []})[:-5], ""),
    "cut gzip": (gzip.compress(b"x" * 1000, mtime=0)[:-12], ""),
}


@pytest.mark.parametrize(("content", "message"), NO_TRACES.values(), ids=NO_TRACES)
def test_a_file_that_is_no_trace_is_an_error_and_runs_nothing(
    lrtool: Lrtool, tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "trace"
    path.write_bytes(content)
    outcome = lrtool("replay", path)
    lines = outcome.err.splitlines()

    assert outcome.code == 2, outcome.err
    assert [line.partition(" ")[0] for line in lines] == ["error:", "hint:"]
    assert message in lines[0]
    assert not Path("executed").exists()
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--settings", "max_split_size:64"], "max_split_size"),
        (["--settings", "max_split_size_mb:5"], "max_split_size_mb"),
        (["--settings", "expandable_segments:True", "--torch", "2.0"], "expandable_segments"),
        (["--torch", "1.13"], "1.13"),
        (["--torch", "banana"], "banana"),
        (["--capacity", "rtx4091"], "rtx4091"),
        (["--capacity", "-1"], "-1"),
        (["--capacity", "1GiB", "--capacity", "2GiB", "--per-op", "x.jsonl"], "--per-op"),
    ],
)
def test_a_wrong_argument_is_told(lrtool: Lrtool, trace: Write, arguments: list[str], message: str) -> None:
    outcome = lrtool("replay", trace(SPLIT), *arguments)

    assert outcome.code == 2
    assert message in outcome.err.splitlines()[-2]
    assert outcome.err.splitlines()[-1].startswith("hint: ")


def test_a_missing_trace_and_a_directory_are_told(lrtool: Lrtool, tmp_path: Path) -> None:
    for name in ("none.jsonl", str(tmp_path)):
        outcome = lrtool("replay", name)
        assert outcome.code == 2
        assert outcome.err.splitlines()[-2].startswith("error: ")


@pytest.mark.painted
def test_a_trace_that_allocates_nothing_is_drawn_without_a_word(lrtool: Lrtool, trace: Write) -> None:
    outcome = lrtool("replay", trace([alloc("a", 0)]))

    assert (outcome.code, outcome.err) == (0, "")


def test_a_plot_without_room_costs_neither_the_run_nor_its_place(
    lrtool: Lrtool, trace: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(path: Path, content: str | bytes) -> None:
        raise UnavailableError(f"cannot write {path}: no space left on device", hint="make room")

    monkeypatch.setattr("lrtool.report.files.write_file", no_room)
    outcome = lrtool("replay", trace(SPLIT))

    assert outcome.code == 4
    assert outcome.out.splitlines()[-1] == "Wrote runs/0001-replay/run.json. Next: lrtool report runs/0001-replay"
    assert "no space left on device" in outcome.err
    monkeypatch.undo()


def test_a_narrow_terminal_costs_no_digits(lrtool: Lrtool, trace: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")

    assert "60.0 MiB" in lrtool("replay", trace(SPLIT), "--settings", "expandable_segments:True").out
