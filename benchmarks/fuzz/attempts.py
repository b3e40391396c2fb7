"""One command line to try, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

QUICK_S, MEASURING_S = 20.0, 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """A command line with what it finds: one `file` with other `content`, and its environment.

    `paints` has its figures painted, too, which takes most of the time.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None
    content: bytes = b""
    limit_s: float = QUICK_S
    paints: bool = False

    def asks_for(self, *words: str) -> bool:
        """Whether one of these words is among the arguments."""
        return any(word in self.arguments for word in words)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a command line left behind; no code where it did not end in time."""

    code: int | None
    out: str
    err: str
    grown_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """What must not be, with the name that `--only` finds it by."""

    name: str
    what: str
    attempt: Attempt
    outcome: Outcome

    def lines(self) -> Sequence[str]:
        """What it was, how it came to be, and the end of what was said."""
        attempt = self.attempt
        shown = [f"{self.name}: {self.what}", f"    arguments: {', '.join(map(_short, attempt.arguments))}"]
        if attempt.environment:
            shown.append(
                f"    environment: {', '.join(f'{name!a}={_short(value)}' for name, value in attempt.environment.items())}"
            )
        if attempt.file is not None:
            shown.append(f"    {attempt.file}: {attempt.content[:300]!a}")
        return [*shown, f"    code {self.outcome.code}, said: {self.outcome.err[-1500:]!a}"]


def _short(word: str) -> str:
    return ascii(word if len(word) <= 100 else f"{word[:40]}... of {len(word)}")
