"""A baseline as a file: a run's summary as JSON, small and diffable, written and read back with every field checked."""

from dataclasses import asdict
from pathlib import Path

from lrtool.errors import UsageError
from lrtool.gate.summary import summarize
from lrtool.results import RunSummary
from lrtool.results.stored.checked_json import json_text, validated_json
from lrtool.results.stored.run_dir import RUN_FILE, open_run
from lrtool.small_file import read_small

MAX_BASELINE_BYTES = 2**25
_HINT = "write it anew with `lrtool baseline RUN`"


def is_baseline(content: bytes) -> bool:
    """Whether a file's content is a baseline that lrtool wrote."""
    try:
        validated_json(content, RunSummary)
    except ValueError:
        return False
    return True


def baseline_json(summary: RunSummary) -> str:
    """The text of a baseline file, a field a line, so that a change of it is read easily in a diff."""
    return json_text(asdict(summary), indent=1) + "\n"


def read_baseline(path: Path) -> RunSummary:
    """Raises UsageError naming the file and the first field that is wrong."""
    try:
        return validated_json(read_small(path, max_bytes=MAX_BASELINE_BYTES), RunSummary)
    except FileNotFoundError:
        raise UsageError(f"there is no baseline {path}", hint=_HINT) from None
    except ValueError as error:
        raise UsageError(f"{path} is no baseline lrtool can read: {error}", hint=_HINT) from None


def find_baseline(name: str, *, parent: Path) -> RunSummary:
    """The baseline called `name`: a file, or a run (directory, number, last below `parent`). Raises UsageError."""
    path = Path(name)
    if path.is_file() and path.name != RUN_FILE:
        return read_baseline(path)
    if path.suffix == ".json" and not path.exists():
        raise UsageError(f"there is no baseline {path}", hint=_HINT)
    return summarize(open_run(name, parent=parent)[1])
