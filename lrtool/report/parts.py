"""What several results write in the same way: figures that may not be known, and CSV."""

from typing import TYPE_CHECKING, Any

from lrtool.results.stored.csv_table import csv_cell
from lrtool.units import format_bytes, format_lr

if TYPE_CHECKING:
    import pandas as pd


def percent(ratio: float | None) -> str:
    """With as many decimals as fit six characters."""
    if not ratio:
        return "-" if ratio is None else "0%"
    return f"{100 * ratio:.2f}%" if 100 * ratio < 9.995 else f"{100 * ratio:.1f}%"


def known_bytes(num_bytes: int | None) -> str:
    """Bytes as people read them, "-" where they are not known."""
    return "-" if num_bytes is None else format_bytes(num_bytes)


def known_lr(lr: float | None) -> str:
    """A learning rate as people read it, "-" where there is none."""
    return "-" if lr is None else format_lr(lr)


def frame_csv(frame: "pd.DataFrame", **options: Any) -> str:
    """A table of pandas as CSV, numbers in full precision."""
    cells = frame.apply(lambda column: column if column.dtype.kind in "iufb" else column.map(csv_cell))
    return str(cells.to_csv(**options))
