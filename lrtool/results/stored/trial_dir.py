"""A sweep in its run directory: `plan.json`, `trials.csv`, and in `trials/NNN/` what a trial was given and what came of it."""

import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from lrtool.errors import UsageError, cut
from lrtool.results import StepGrowth, StepSeries, Trial, TrialOom
from lrtool.results.stored.checked_json import MAX_INTEGER, json_text, validated_json
from lrtool.results.stored.csv_table import csv_text
from lrtool.results.stored.run_dir import write_file
from lrtool.small_file import read_small, text_of

PLAN_FILE = "plan.json"
TRIAL_FILE = "trial.json"
RESULT_FILE = "result.json"
LOG_FILE = "log.txt"
STEPS_FILE = "steps.csv"
LRS_FILE = "lrs.csv"
TABLE_FILE = "trials.csv"
_END_OF_LOG_BYTES = 2**16  # a log can be of any length
COLUMNS = tuple(field.name for field in fields(StepSeries))
_FIGURES_OF_GROWTH = [field.name for field in fields(StepGrowth)]
_FIGURES_OF_OOM = [field.name for field in fields(TrialOom)]
_FIGURES_OF_RANKS = ("world_size", "max_rank", "min_rank", "min_bytes", "imbalance", "failed_rank")
_DAMAGED = "it may be cut off, edited by hand, or written by another version"
T = TypeVar("T")


def write_json(path: Path, value: Mapping[str, Any], *, is_private: bool = False) -> None:
    """Raises UnavailableError."""
    write_file(path, json_text(value, indent=1) + "\n", is_private=is_private)


def read_json(path: Path, kind: type[T]) -> T:
    """Read a dataclass back, every field checked. Raises UsageError naming the file and the first field that is wrong."""
    try:
        content = read_small(path)
    except FileNotFoundError:
        raise UsageError(f"there is no {path}", hint="is it a run of mem-sweep?") from None
    return checked(content, kind, source=path)


def last_words(folder: Path) -> str:
    """The last line that a trial's process printed; "" where it printed nothing, or its folder is gone."""
    try:
        with (folder / LOG_FILE).open("rb") as log:
            log.seek(max(0, log.seek(0, io.SEEK_END) - _END_OF_LOG_BYTES))
            return cut(log.read().decode(errors="replace").strip().rpartition("\n")[2])
    except OSError:
        return ""


def checked(content: str | bytes, kind: type[T], *, source: Path) -> T:
    """The content of a JSON file as a dataclass. Raises UsageError naming the file and the first field that is wrong."""
    try:
        return validated_json(content, kind)
    except ValueError as error:
        raise UsageError(f"{source}: {error}", hint=_DAMAGED) from None


def trials_csv(trials: Iterable[Trial]) -> str:
    """All trials in full precision, one line each: what was varied, then every figure; bytes as integers."""
    rows = [_row(trial) for trial in trials]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return csv_text(columns, ([row.get(column) for column in columns] for row in rows))


def _row(trial: Trial) -> dict[str, object]:
    """Flat: parameters as `param_name`, growth and death with their own names."""
    row = asdict(trial)
    condition, growth, death = row.pop("condition"), row.pop("growth") or {}, row.pop("death") or {}
    params = {f"param_{name}": value for name, value in condition.pop("params").items()}
    del row["peak_shares"]
    parts = {f"most_{name.replace(' ', '_')}_bytes": value for name, value in row.pop("most_by_category").items()}
    ranks = row.pop("ranks") or {}
    sources = "; ".join(f"{each['source']} {each['line'] or ''}".strip() for each in row.pop("growth_sources"))
    return {
        "number": row.pop("number"), **condition, **params, **row,
        **{f"growth_{name}": growth.get(name) for name in _FIGURES_OF_GROWTH}, "growth_sources": sources,
        **{f"death_{name}": death.get(name) for name in _FIGURES_OF_OOM}, **parts,
        **{name: ranks[name] for name in _FIGURES_OF_RANKS if ranks},
    }  # fmt: skip


_HEADER = ",".join(("step", *COLUMNS))


def trial_dir(run_dir: Path, trial_number: int) -> Path:
    """Where everything about one trial is kept."""
    return run_dir / "trials" / f"{trial_number:03d}"


def write_series(run_dir: Path, trial_number: int, series: StepSeries) -> None:
    """Raises UnavailableError."""
    rows = zip(*(getattr(series, name) for name in COLUMNS), strict=True)
    lines = [",".join(map(str, (step, *row))) for step, row in enumerate(rows, 1)]
    write_file(trial_dir(run_dir, trial_number) / STEPS_FILE, "\n".join([_HEADER, *lines]) + "\n")


def read_series(run_dir: Path, trial_number: int) -> StepSeries | None:
    """The steps of a trial; None where it has none. Raises UsageError naming a file that is no such table."""
    file = trial_dir(run_dir, trial_number) / STEPS_FILE
    try:
        header, *lines = text_of(read_small(file), source=file).splitlines() or [""]
    except FileNotFoundError:
        return None
    try:
        columns = list(zip(*(map(int, line.split(",")) for line in lines), strict=True))
        if any(max(column) > MAX_INTEGER or min(column) < 0 for column in columns):
            raise ValueError("out of range")
        if columns and columns[0] != tuple(range(1, len(lines) + 1)):
            raise ValueError("steps are missing")
        if header != _HEADER or len(columns) not in (0, len(COLUMNS) + 1):
            raise ValueError(header)
    except ValueError:
        raise UsageError(
            f"{file} is no table of steps that lrtool can read",
            hint="it may be cut off, edited by hand, or written by another version",
        ) from None
    return StepSeries(**dict(zip(COLUMNS, columns[1:], strict=True))) if columns else None


Lrs = tuple[tuple[float, ...], ...]
"""The LR of each parameter group, for each step."""


def write_lrs(run_dir: Path, trial_number: int, lrs: Lrs) -> None:
    """Nothing where none are known. Raises UnavailableError."""
    if lrs:
        header = ["step", *(f"group_{number}" for number in range(len(lrs[0])))]
        text = csv_text(header, ([step, *row] for step, row in enumerate(lrs, 1)))
        write_file(trial_dir(run_dir, trial_number) / LRS_FILE, text)


def read_lrs(run_dir: Path, trial_number: int) -> Lrs:
    """The LRs of a trial's steps; none where they are not known. Raises UsageError naming a file that is no such table."""
    file = trial_dir(run_dir, trial_number) / LRS_FILE
    try:
        header, *lines = text_of(read_small(file), source=file).splitlines() or [""]
    except FileNotFoundError:
        return ()
    rows = [line.split(",") for line in lines]
    try:
        lrs = tuple(tuple(map(float, row[1:])) for row in rows)
        if [row[0] for row in rows] != [str(step) for step in range(1, len(rows) + 1)]:
            raise ValueError("steps are missing")
        if header.partition(",")[0] != "step" or any(len(row) != len(header.split(",")) - 1 or not row for row in lrs):
            raise ValueError(header)
        if not all(math.isfinite(lr) for row in lrs for lr in row):
            raise ValueError("no numbers")
    except ValueError:
        raise UsageError(f"{file} is no table of learning rates that lrtool can read", hint=_DAMAGED) from None
    return lrs
