"""The tables of the finders' benchmark, as Markdown, and their place in RESULTS.md."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.finders.regrets import GOOD_REGRET, Score
from benchmarks.finders.truth import Truth

HEADING = "## Learning-rate finders"


def timing_table(times: dict[str, dict[str, float]]) -> str:
    """Time per step over the bare loop's, a column for each workload; `times` are seconds a step by workload and finder."""
    finders = list(next(iter(times.values())))
    heads = [f"{name} ({by_finder['bare loop'] * 1e3:.2f} ms a step)" for name, by_finder in times.items()]
    rows = [
        [finder, *(f"{by_finder[finder] / by_finder['bare loop']:.2f}" for by_finder in times.values())]
        for finder in finders
    ]
    return as_table(["time per step over a bare loop", *heads], rows)


def truth_table(truths: dict[str, Truth]) -> str:
    """The best LR of each case by schedule."""
    schedules = list(next(iter(truths.values())).losses)
    rows = [[name, *(f"{truth.best_lr(each):.2g}" for each in schedules)] for name, truth in truths.items()]
    return as_table(["case", *(f"best LR, {each}" for each in schedules)], rows)


def regret_table(scores: Sequence[Score]) -> str:
    """A line for each finder and rule."""
    schedules = list(scores[0].regrets)
    heads = [f"{each}: mean / median / worst" for each in schedules]
    rows = [
        [
            score.finder,
            *(_three(values) for values in score.regrets.values()),
            " / ".join(f"{_good(values):.0%}" for values in score.regrets.values()),
            f"{score.num_failed}",
            f"{score.num_steps:.0f}",
        ]
        for score in scores
    ]
    return as_table(["finder", *heads, f"runs <= {GOOD_REGRET}", "none", "steps"], rows)


def write_section(file: Path, text: str, *, heading: str = HEADING) -> None:
    """Put `text` into `file` as the section `heading`, in place of the one that stands there."""
    before, found, rest = file.read_text().partition(f"{heading}\n")
    following = rest.partition("\n## ")[2] if found else ""
    after = f"\n## {following}" if following else ""
    file.write_text(f"{before.rstrip()}\n\n{heading}\n\n{text.rstrip()}\n{after}")


def as_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers right-aligned."""
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _three(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.3f}" for value in (statistics.mean(values), statistics.median(values), max(values)))


def _good(values: Sequence[float]) -> float:
    return sum(value <= GOOD_REGRET for value in values) / len(values)
