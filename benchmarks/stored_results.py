"""Results kept as they come, a line of JSON each, so that a benchmark of hours goes on where it was ended."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_results(path: Path | None) -> dict[str, dict[str, Any]]:
    """By their "key", the last of equals; a last line that was cut off is passed over."""
    if path is None or not path.is_file():
        return {}
    found = {}
    for line in path.read_text().splitlines():
        try:
            result = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[result["key"]] = result
    return found


def add_result(path: Path | None, result: Mapping[str, Any]) -> None:
    """Append a result, on a line of its own also after one that was cut off; without a path nothing is kept."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    is_cut_off = path.is_file() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
    with path.open("a") as file:
        file.write("\n" * is_cut_off + json.dumps(result) + "\n")
