"""A small part of the search for command lines and files that end otherwise than documented, and what it would notice."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from benchmarks.fuzz.arguments import declared
from benchmarks.fuzz.attempts import Attempt, Outcome
from benchmarks.fuzz.damage import damaged_bytes, damaged_document, json_bytes
from benchmarks.fuzz.files import KINDS, file_attempt
from benchmarks.fuzz.judge import problems
from benchmarks.fuzz.runs import Fuzz, prepared, tally

SEED = 8
TWO_LINES = "error: no\nhint: yes\n"
WELL = Outcome(code=2, out="", err=TWO_LINES)


@pytest.fixture(scope="module")
def fuzz() -> Iterator[Fuzz]:
    with prepared() as made:
        yield made


@pytest.mark.parametrize(("kind", "count"), [("arguments", 60), ("files", 150), ("processes", 3)])
def test_nothing_ends_otherwise_than_documented(fuzz: Fuzz, kind: str, count: int) -> None:
    found = tally(fuzz, kind, count, seed=SEED)

    assert [line for trouble in found.troubles for line in trouble.lines()] == []
    assert found.codes.total() == count


def test_the_same_seed_makes_the_same_attempts(fuzz: Fuzz) -> None:
    first, second = ([file_attempt(Random(7), fuzz.template) for _ in range(3)] for _ in range(2))

    assert first == second


def test_every_command_and_every_file_of_the_template_is_tried(fuzz: Fuzz) -> None:
    files = {Path(name) for kind in KINDS for name in kind.files} - {Path("user.py")}

    assert len(declared()) == 11
    assert files <= {*fuzz.template.files}


@pytest.mark.parametrize(
    ("outcome", "what"),
    [
        (replace(WELL, code=70), "exit code 70"),
        (replace(WELL, code=5), "exit code 5"),
        (replace(WELL, code=-11), "exit code -11"),
        (replace(WELL, code=1), "exit code 1 without a gate"),
        (replace(WELL, code=0), "an error, and exit code 0"),
        (replace(WELL, code=None), "no end within"),
        (replace(WELL, err="error: no\n"), "without error: and hint:"),
        (replace(WELL, err=TWO_LINES * 2), "more than one error"),
        (replace(WELL, err=f"Traceback (most recent call last):\n{TWO_LINES}"), "a traceback"),
        (replace(WELL, out="a\x1b[31mb"), "stdout: control characters"),
        (replace(WELL, err=f"a\u2028b\n{TWO_LINES}"), "stderr: control characters"),
        (replace(WELL, out="  ::error::x"), "a command to GitHub's runner"),
        (replace(WELL, grown_bytes=2**31), "memory grew"),
        (Outcome(code=0, out="{", err=""), "--json printed no document"),
    ],
)
def test_what_is_noticed(outcome: Outcome, what: str) -> None:
    attempt = Attempt(arguments=("report", "--json"))

    assert list(problems(attempt, WELL)) == []
    assert any(what in problem for problem in problems(attempt, outcome))


def test_damage_is_done() -> None:
    document = {"a": [1, 2.5, "x"], "b": {"c": None}}
    changed = [damaged_document(document, Random(seed)) for seed in range(100)]
    written = {json_bytes(each, Random(0)) for each in changed}

    assert document == {"a": [1, 2.5, "x"], "b": {"c": None}}
    assert len(written) > 50
    assert len({damaged_bytes(b"some bytes\n", Random(seed)) for seed in range(100)}) > 50
