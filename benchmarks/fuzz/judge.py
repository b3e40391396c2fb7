"""What lrtool promises of every command line, held against what one left behind."""

import json
import re
from collections.abc import Iterator

from benchmarks.fuzz.attempts import Attempt, Outcome
from lrtool.errors import EXIT_CODES, EXIT_DEFECT, EXIT_DONE, EXIT_GATE

MOST_GROWTH_BYTES = 2**30
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_COLOR_VARIABLES = ("FORCE_COLOR", "LRTOOL_COLOR", "GITHUB_ACTIONS")
_ASKS_FOR_MORE = re.compile(r"-[a-z]*v[a-z]*|--verb?o?s?e?")


def problems(attempt: Attempt, outcome: Outcome) -> Iterator[str]:
    """Everything that should be otherwise, in words."""
    if outcome.code is None:
        yield f"no end within {attempt.limit_s:g} s"
        return
    yield from _of_code(attempt, outcome)
    yield from _of_traceback(attempt, outcome)
    if outcome.grown_bytes > MOST_GROWTH_BYTES:
        yield f"memory grew by {outcome.grown_bytes / 2**20:.0f} MiB"
    for name, text in (("stdout", outcome.out), ("stderr", outcome.err)):
        yield from (f"{name}: {problem}" for problem in _of_text(text, attempt))
    if outcome.code == EXIT_DONE and outcome.out.startswith("{") and "--json" in attempt.arguments:
        yield from _of_document(outcome.out)


def _of_code(attempt: Attempt, outcome: Outcome) -> Iterator[str]:
    if outcome.code not in EXIT_CODES or outcome.code == EXIT_DEFECT:
        yield f"exit code {outcome.code}"
    if outcome.code == EXIT_GATE and not _is_gate(attempt):
        yield "exit code 1 without a gate"
    heads = [line.partition(" ")[0] for line in _COLOR.sub("", outcome.err).rstrip("\n").split("\n")]
    if outcome.code == EXIT_DONE:
        if "error:" in heads:
            yield "an error, and exit code 0"
    elif heads[-2:] != ["error:", "hint:"] and not (attempt.asks_for("github") and "error:" in heads):
        yield f"exit code {outcome.code} without error: and hint: at the end"
    if heads.count("error:") > 1 or heads.count("hint:") > 1:
        yield "more than one error"


def _is_gate(attempt: Attempt) -> bool:
    return attempt.asks_for("check", "--check") or "LRTOOL_CHECK" in attempt.environment


def _of_traceback(attempt: Attempt, outcome: Outcome) -> Iterator[str]:
    wanted = any(_ASKS_FOR_MORE.fullmatch(word) for word in attempt.arguments)
    if "Traceback (most recent" in outcome.out + outcome.err and not (
        wanted or "LRTOOL_VERBOSE" in attempt.environment
    ):
        yield "a traceback"


def _of_text(text: str, attempt: Attempt) -> Iterator[str]:
    may_be_colored = any(word.startswith(("--col", "always")) for word in attempt.arguments) or any(
        name in attempt.environment for name in _COLOR_VARIABLES
    )
    for line in (_COLOR.sub("", text) if may_be_colored else text).split("\n"):
        if not line.replace("\t", "").isprintable():
            yield f"control characters: {line[:200]!a}"
            return
        if line.lstrip().startswith("::") and not attempt.asks_for("github", "--format=github"):
            yield f"a command to GitHub's runner: {line[:200]!a}"
            return


def _of_document(text: str) -> Iterator[str]:
    try:
        json.loads(text)
    except ValueError as error:
        yield f"--json printed no document: {error}"
