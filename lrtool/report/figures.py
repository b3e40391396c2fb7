"""Plots, drawn from results alone on figures of their own: no pyplot state, no display, the same bytes each time."""

import re
from functools import partial
from io import BytesIO
from typing import Literal

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from lrtool.units import printable

PNG_DPI = 150
_DOLLAR = re.compile(r"(?<!\\)\$")


def figure_bytes(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """The figure as a file's content; an SVG has no date and no random ids, so that equal results give equal files.

    `Figure.savefig` would draw everything twice, the first time for the layout alone, which drawing does as well.
    """
    make_literal(figure)
    buffer = BytesIO()
    if kind == "png":
        figure.set_dpi(PNG_DPI)
        FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    else:
        with mpl.rc_context({"svg.hashsalt": "lrtool", "svg.fonttype": "path"}):
            FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")  # it is laid out now, and half of the time goes into that
    return buffer.getvalue()


def make_literal(figure: Figure) -> None:
    """Show the text of names as it is: a `$` in a file name is no formula, and a control character no part of an SVG."""
    axes_lines = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    for axis in axes_lines:
        formatter = axis.get_major_formatter()
        if isinstance(formatter, FuncFormatter):  # names as tick labels; those of a log scale are formulas on purpose
            axis.set_major_formatter(FuncFormatter(partial(_literal_label, formatter)))
    of_axes = {text for axis in axes_lines for text in axis.findobj(Text)}
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text not in of_axes:
            text.set_text(_literal(text.get_text()))


def _literal(text: str) -> str:
    return _DOLLAR.sub(r"\$", printable(text))


def _literal_label(formatter: FuncFormatter, value: float, position: int | None = None) -> str:
    return _literal(formatter(value, position))


BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6b6b6b"
SKY, ORANGE = "#56B4E9", "#E69F00"
INK, PAPER = "#000000", "#ffffff"
ON_DARK = {
    BLUE: "#56B4E9",
    VERMILLION: "#FF9A4D",
    GREEN: "#2FC79B",
    GREY: "#a6a6a6",
    SKY: "#24506E",
    ORANGE: "#A06F00",
    INK: "#e8e8e8",
    PAPER: "#16181b",
}
"""What each colour of a plot becomes on dark paper, with at least the contrast that it has on white."""
