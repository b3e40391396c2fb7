"""The whole of it: attempts by their seeds, what they come to, and the troubles among them."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from benchmarks.fuzz.arguments import argument_attempt
from benchmarks.fuzz.attempts import Attempt, Outcome, Trouble
from benchmarks.fuzz.files import file_attempt
from benchmarks.fuzz.folder import Template, make_template
from benchmarks.fuzz.inside import quicker, speaking_into, try_inside
from benchmarks.fuzz.judge import problems
from benchmarks.fuzz.processes import ROOT, as_process, circumstances, try_process

KINDS = ("arguments", "files", "processes")


@dataclass(slots=True)
class Tally:
    """The exit codes of a kind of attempt, counted, and its troubles."""

    codes: Counter[int | None] = field(default_factory=Counter)
    troubles: list[Trouble] = field(default_factory=list)


@contextmanager
def prepared() -> Iterator["Fuzz"]:
    """A template in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        with tempfile.TemporaryFile() as said, speaking_into(said, said):
            template = make_template(Path(folder).resolve() / "template")
        with quicker():
            yield Fuzz(template, Path(folder).resolve() / "work" / "here")


@dataclass(frozen=True, slots=True)
class Fuzz:
    """Tries command lines in `folder`, which is made anew each time."""

    template: Template
    folder: Path

    def run(self, kind: str, numbers: Iterable[int], *, seed: int) -> Iterator[tuple[int, Outcome, Trouble | None]]:
        """Each attempt by its number, with what it came to and what is wrong with that."""
        outside = _seen_outside()
        for number in numbers:
            attempt, outcome = self._tried(kind, Random(f"{seed} {kind} {number}"))
            found = list(problems(attempt, outcome))
            if _seen_outside() != outside:
                found.append("wrote outside of its folder")
                outside = _seen_outside()
            what = "; ".join(found)
            trouble = Trouble(name=f"{kind}:{number}", what=what, attempt=attempt, outcome=outcome) if found else None
            yield number, outcome, trouble

    def _tried(self, kind: str, draw: Random) -> tuple[Attempt, Outcome]:
        if kind == "processes":
            make = draw.choice((argument_attempt, file_attempt))
            around = circumstances(draw)
            attempt = as_process(make(draw, self.template), around)
            return attempt, try_process(attempt, around, self.template, self.folder)
        make = argument_attempt if kind == "arguments" else file_attempt
        attempt = make(draw, self.template)
        return attempt, try_inside(attempt, self.template, self.folder)


def tally(fuzz: Fuzz, kind: str, count: int, *, seed: int) -> Tally:
    """The first `count` attempts of a kind."""
    whole = Tally()
    for _, outcome, trouble in fuzz.run(kind, range(count), seed=seed):
        whole.codes[outcome.code] += 1
        whole.troubles += [trouble] if trouble else []
    return whole


def _seen_outside() -> tuple[frozenset[str], ...]:
    """The names in folders that nothing may write into."""
    return tuple(frozenset(os.listdir(folder)) for folder in ("/", ROOT))  # noqa: PTH208  names alone
