"""What is told of a zoo of models: outcomes, and a table. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrtool.units import format_bytes

NEAR = 0.01
"""A difference to the CPU of which nothing is said."""
LONGEST_ERROR = 160


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Peaks in bytes of what was allocated: predicted, predicted without workspaces, and of a run on the CPU."""

    name: str
    predicted_bytes: int | None = None
    bare_bytes: int | None = None
    cpu_bytes: int | None = None
    seconds: float | None = None
    skipped: str | None = None
    failure: str | None = None
    cpu_failure: str | None = None

    @property
    def difference(self) -> float | None:
        """Of the bare prediction over the CPU's peak."""
        if self.bare_bytes is None or not self.cpu_bytes:
            return None
        return self.bare_bytes / self.cpu_bytes - 1

    @property
    def outcome(self) -> str:
        if self.skipped:
            return f"skipped: {self.skipped}"
        if self.failure and self.failure == self.cpu_failure:
            return f"runs on neither: {self.failure}"
        if self.failure:
            return f"not predicted: {self.failure}"
        if self.cpu_failure:
            return f"predicted; on the CPU: {self.cpu_failure}"
        return "predicted"


def result_of(kept: Mapping[str, Any]) -> Result:
    """Of what one process said, as it is stored."""
    predicted, bare, cpu = (kept.get(stage) or {} for stage in ("predicted", "bare", "cpu"))
    skipped = kept.get("skipped")
    if skipped is None and "OperatorsMissing" in predicted.get("error", ""):
        skipped = predicted["error"].partition(": ")[2]
    ended = kept.get("ended") or "said nothing"
    return Result(
        name=kept["key"],
        predicted_bytes=predicted.get("bytes"),
        bare_bytes=bare.get("bytes"),
        cpu_bytes=cpu.get("bytes"),
        seconds=kept.get("seconds"),
        skipped=skipped,
        failure=None if skipped or "bytes" in predicted else _failure(predicted, ended),
        cpu_failure=None if skipped or "bytes" in cpu else _failure(cpu, ended),
    )


def _failure(stage: Mapping[str, Any], ended: str) -> str:
    if "error" not in stage:
        return ended
    sentence = str(stage["error"]).partition(". ")[0][:LONGEST_ERROR]
    return f"{sentence} ({stage['place']})" if stage.get("place") else sentence


def report(results: Sequence[Result]) -> str:
    """How many of each outcome, and a line for each model."""
    counts = Counter(each.outcome.partition(":")[0].partition(";")[0] for each in results)
    near = sum(each.difference is not None and abs(each.difference) <= NEAR for each in results)
    compared = sum(each.difference is not None for each in results)
    lines = [
        f"{len(results)} models: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()) + ". "
        f"{near} of {compared} are within {NEAR:.0%} of the CPU.", "",
        "| model | predicted | without workspaces | on the CPU | difference | seconds | outcome |",
        "| --- | --: | --: | --: | --: | --: | --- |",
        *map(_row, results), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _row(each: Result) -> str:
    sizes = [_bytes(size) for size in (each.predicted_bytes, each.bare_bytes, each.cpu_bytes)]
    difference = "-" if each.difference is None else f"{each.difference:+.2%}"
    seconds = "-" if each.seconds is None else f"{each.seconds:.0f}"
    outcome = each.outcome.replace("|", "\\|")
    return f"| {each.name} | {' | '.join(sizes)} | {difference} | {seconds} | {outcome} |"


def _bytes(size: int | None) -> str:
    return "-" if size is None else format_bytes(size)
