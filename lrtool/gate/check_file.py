"""The last check of a run, kept in its run directory, so that its report can show it."""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from lrtool.errors import UnavailableError, UsageError
from lrtool.results import Check
from lrtool.results.stored.checked_json import json_text, validated_json
from lrtool.results.stored.run_dir import write_file
from lrtool.small_file import read_small

CHECK_FILE = "check.json"


def keep_check(run_dir: Path, check: Check) -> None:
    """A run directory that cannot be written to is checked all the same."""
    with suppress(UnavailableError):
        write_file(run_dir / CHECK_FILE, json_text(asdict(check), indent=1) + "\n")


def read_check(run_dir: Path) -> Check | None:
    """None where the run was not checked, or by another version."""
    try:
        return validated_json(read_small(run_dir / CHECK_FILE), Check)
    except (OSError, ValueError, UsageError):
        return None
