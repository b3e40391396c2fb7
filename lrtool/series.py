"""The steps of a trial as a file: `trials/007/steps.csv` in the run directory, a row a step, written and read back."""

from dataclasses import fields
from pathlib import Path

from lrtool.checked_json import MAX_INTEGER
from lrtool.errors import UsageError
from lrtool.results import StepSeries
from lrtool.store import write_file

COLUMNS = tuple(field.name for field in fields(StepSeries))
_HEADER = ",".join(("step", *COLUMNS))


def trial_dir(run_dir: Path, trial_number: int) -> Path:
    """Where everything about one trial is kept."""
    return run_dir / "trials" / f"{trial_number:03d}"


def write_series(run_dir: Path, trial_number: int, series: StepSeries) -> None:
    """Raises UnavailableError."""
    rows = zip(*(getattr(series, name) for name in COLUMNS), strict=True)
    lines = [",".join(map(str, (step, *row))) for step, row in enumerate(rows, 1)]
    write_file(trial_dir(run_dir, trial_number) / "steps.csv", "\n".join([_HEADER, *lines]) + "\n")


def read_series(run_dir: Path, trial_number: int) -> StepSeries | None:
    """The steps of a trial; None where it has none. Raises UsageError naming a file that is no such table."""
    file = trial_dir(run_dir, trial_number) / "steps.csv"
    try:
        header, *lines = file.read_text().splitlines() or [""]
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}", hint="check its permissions") from None
    try:
        columns = list(zip(*(map(int, line.split(",")) for line in lines), strict=True))
        if any(max(column) > MAX_INTEGER or min(column) < -MAX_INTEGER for column in columns):
            raise ValueError("out of range")
        if header != _HEADER or len(columns) not in (0, len(COLUMNS) + 1):
            raise ValueError(header)
    except ValueError:
        raise UsageError(
            f"{file} is no table of steps that lrtool can read",
            hint="it may be cut off, edited by hand, or written by another version",
        ) from None
    return StepSeries(**dict(zip(COLUMNS, columns[1:], strict=True))) if columns else None
