"""Which page a result has: one module for each command, registered in `PAGES`.

To give a new result a page, write its module and add a line to `PAGES`; until then it is shown as in the terminal.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lrtool.report.comparison_page import comparison_page
from lrtool.report.diagnosis_page import diagnosis_page
from lrtool.report.gate_tables import check_lines
from lrtool.report.page import Page, Plots, Section, blocks_of
from lrtool.report.range_test_page import range_test_page
from lrtool.report.replay_page import replay_page
from lrtool.report.sweep_page import sweep_page
from lrtool.report.tables import result_parts
from lrtool.results import Check, Comparison, Diagnosis, MemSweep, RangeTest, Replay, Result

PAGES: dict[type, Callable[[Any, Plots], Page]] = {
    RangeTest: range_test_page,
    MemSweep: sweep_page,
    Replay: replay_page,
    Diagnosis: diagnosis_page,
    Comparison: comparison_page,
}


def page_of(result: Result, plots: Plots, *, check: Check | None = None) -> Page:
    """The page of a result; `plots` are its drawn figures by name, and those that no section shows come in the end.

    `check` is its last one, whose limits the page shows.
    """
    page = PAGES.get(type(result), _as_in_the_terminal)(result, plots)
    if check is not None:
        limits = Section(place="gates", heading="Limits", blocks=blocks_of(check_lines(check), caption="Limits"))
        page = replace(page, sections=(*page.sections, limits))
    shown = [block for section in page.sections for block in section.blocks]
    if left := tuple(plot for plot in plots.values() if plot not in shown):
        return replace(page, sections=(*page.sections, Section(place="details", heading="Plots", blocks=left)))
    return page


def _as_in_the_terminal(result: Result, plots: Plots) -> Page:
    """For a result that nobody wrote a page for."""
    verdict, *parts = result_parts(result)
    figures = Section(place="sweep", heading="Figures", blocks=blocks_of(parts))
    return Page(verdict=str(verdict), numbers=(), sections=(figures,), terms=())
