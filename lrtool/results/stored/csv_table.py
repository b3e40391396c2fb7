"""CSV that a spreadsheet opens without running anything that stands in it."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from lrtool.units import one_line

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a cell a formula, for full-width letters too: owasp.org, "CSV Injection"."""


def csv_text(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A header and a line for each row; None is an empty field."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([csv_cell(each) for each in row] for row in [columns, *rows])
    return text.getvalue()


def csv_cell(value: Any) -> Any:
    """A value as a cell: texts in one line, behind a quote where they would be a formula."""
    if type(value) is not str:
        return csv_cell(str(value)) if isinstance(value, str | dict | list | tuple) else value
    return (
        f"'{one_line(value)}" if value.lstrip(" ").startswith(_FORMULA) and not _is_number(value) else one_line(value)
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
