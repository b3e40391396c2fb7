"""What every result is shown by: its lines, page, plots and CSVs. Each result's folder has one, `reports` lists them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from matplotlib.figure import Figure
from rich.console import RenderableType

from lrtool.report.page import Page, Plots
from lrtool.results import Result

R = TypeVar("R", bound=Result)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report(Generic[R]):
    """How a result is shown. A result without a page of its own has one that says what the terminal says.

    `plots` gets the run directory too, for a result whose steps are stored there; `main_plot` is the one to look at first;
    `descriptions` say of each plot what is to be seen, for those who cannot see it.
    """

    lines: Callable[[R], list[RenderableType]]
    page: Callable[[R, Plots], Page] | None
    plots: Callable[[Path, R], dict[str, Figure]]
    csvs: Callable[[R], dict[str, str]]
    main_plot: str
    descriptions: Mapping[str, str]
