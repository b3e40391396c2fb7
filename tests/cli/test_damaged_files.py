"""Every file that is read back, damaged at random: an answer or two lines, never a traceback."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrtool.errors import EXIT_CODES, EXIT_DEFECT
from tests.cli.conftest import Stored
from tests.conftest import Lrtool
from tests.sweep.made_sweeps import flat

Damage = Callable[[bytes], bytes]
FILES = {
    "run": ("run.json", [["report", "last"], ["report", "last", "--json"], ["check", "last", "--max", "growth=0"]]),
    "page": (
        "run.json",
        [["report", "last", "--html"], ["compare", "last", "last"], ["baseline", "last", "-o", "b.json"]],
    ),
    "steps": ("trials/001/steps.csv", [["report", "last"], ["compare", "last", "last"]]),
    "baseline": ("baseline.json", [["check", "last", "--baseline", "{file}", "--max-increase", "peak_allocated:5%"]]),
    "plan": ("plan.json", [["mem-sweep", "--resume", "last"]]),
}


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """Cut off, a few bits flipped, a number made huge, something of its own in the middle, or nothing left."""
    kind = draw(st.sampled_from(["cut", "flip", "huge", "insert", "null", "empty"]))
    where, seed = draw(st.floats(0, 1, exclude_max=True)), draw(st.binary(min_size=1, max_size=8))

    def damage(content: bytes) -> bytes:
        at = int(where * len(content))
        if kind == "cut":
            return content[:at]
        if kind == "flip":
            return b"".join([content[:at], bytes([content[at] ^ (1 << seed[0] % 8)]), content[at + 1 :]])
        if kind == "huge":
            return content[:at] + content[at:].replace(b"1", b"9" * 400, 1)
        if kind == "insert":
            return content[:at] + seed + content[at:]
        return b"null" if kind == "null" else b""

    return damage


@pytest.mark.parametrize("name", sorted(FILES))
@given(damage=damages())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_told_or_read(name: str, lrtool: Lrtool, stored: Stored, damage: Damage) -> None:
    run_dir = stored(flat())
    file, commands = FILES[name]
    path = run_dir / file
    if name == "baseline":
        assert lrtool("baseline", run_dir, "-o", path).code == 0
    if name == "plan":
        path.write_bytes(b'{"setup": {"target": "there_is_none.py"}, "trials": []}')
    path.write_bytes(damage(path.read_bytes()))
    for command in commands:
        outcome = lrtool(*(each.format(file=path) for each in command))
        assert outcome.code in EXIT_CODES
        assert outcome.code != EXIT_DEFECT, outcome.err
        assert "Traceback" not in outcome.err


@pytest.mark.parametrize("file", ["run.json", "trials/001/steps.csv"])
def test_a_link_in_place_of_a_file(file: str, lrtool: Lrtool, stored: Stored) -> None:
    """One to itself, to nothing or to a folder is an error, and what it names is not written."""
    path = stored(flat()) / file
    for target in (path, Path("nothing"), Path.cwd()):
        path.unlink()
        path.symlink_to(target)
        outcome = lrtool("report", "last")
        assert outcome.code in (0, 2), outcome.err
        assert "Traceback" not in outcome.err
    assert [path.name for path in Path.cwd().iterdir()] == ["runs"]
