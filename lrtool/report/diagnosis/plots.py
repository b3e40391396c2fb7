"""The plot of a diagnosis: the budget of bytes at the peak, one bar for each kind, and the activations by module."""

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lrtool.report.figures import BLUE, GREY, ORANGE, SKY, VERMILLION
from lrtool.results import BudgetLine, Category, Diagnosis
from lrtool.results.stored.csv_table import csv_text
from lrtool.units import format_bytes, printable

MIB, GIB = 2**20, 2**30
WASTE = {"rounding": GREY, "split": ORANGE, "cache": SKY, "waiting for a stream": ORANGE}
HATCHES = {"rounding": "..", "split": "//", "cache": "xx", "waiting for a stream": "\\\\"}


def draw_budget(result: Diagnosis) -> Figure:
    """Where the bytes are: kinds on the left, the largest holders of activations (or lines) on the right."""
    budget = result.budget
    lines = [line for line in budget.lines if line.num_bytes] if budget else []
    modules = list(budget.modules) if budget else []
    rows = max(len(lines) + 1, len(modules), 3)
    figure = Figure(figsize=(8.5, 1.6 + 0.34 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    figure.suptitle(_title(result.verdict), x=0.01, ha="left", fontsize=11)
    if budget is None:
        left.text(0.5, 0.5, "no budget: phases and categories are not known", ha="center", color=GREY)
        left.set_axis_off()
        right.set_axis_off()
        return figure
    total = BudgetLine(name="reserved", num_bytes=budget.reserved_bytes)
    unit, name = (GIB, "GiB") if budget.reserved_bytes >= 2 * GIB else (MIB, "MiB")
    _bars(left, [*lines, total], unit)
    _capacity(left, result, unit)
    left.set_title(f"At {budget.place}", loc="left", fontsize=10)
    left.set_xlabel(name)
    if modules:
        _bars(right, modules, unit)
        right.set_title(_of_modules(lines), loc="left", fontsize=10)
        right.set_xlabel(name)
    else:
        right.set_axis_off()
    return figure


def budget_csv(result: Diagnosis) -> str:
    """What the plot shows, in bytes."""
    rows = [] if result.budget is None else [
        *(("kind", line.name, line.num_bytes) for line in result.budget.lines),
        *(("module", line.name, line.num_bytes) for line in result.budget.modules),
        ("total", "reserved", result.budget.reserved_bytes),
    ]  # fmt: skip
    return csv_text(("group", "name", "bytes"), rows)


def _bars(axes: Axes, lines: list[BudgetLine], unit: int) -> None:
    longest = (max((line.num_bytes for line in lines), default=0) or unit) / unit
    for position, line in enumerate(lines):
        colour = VERMILLION if line.name == "reserved" else WASTE.get(line.name, BLUE)
        axes.barh(position, line.num_bytes / unit, color=colour, hatch=HATCHES.get(line.name), edgecolor="white")
        axes.annotate(
            format_bytes(line.num_bytes), (line.num_bytes / unit, position), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=8, color=GREY,
        )  # fmt: skip
    axes.set_yticks(range(len(lines)), [_short(line.name) for line in lines], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3 * longest)
    axes.spines[["top", "right"]].set_visible(False)


def _capacity(axes: Axes, result: Diagnosis, unit: int) -> None:
    """Where the limit is, if it is near enough to be seen beside the bars."""
    capacity = result.capacity_bytes
    if capacity is None or capacity / unit > axes.get_xlim()[1]:
        return
    axes.axvline(capacity / unit, color="black", linewidth=0.8, linestyle="--")
    axes.annotate(
        f"capacity {format_bytes(capacity)}", (capacity / unit, 0), xytext=(-4, 0), textcoords="offset points",
        rotation=90, va="top", ha="right", fontsize=8,
    )  # fmt: skip


def _of_modules(lines: list[BudgetLine]) -> str:
    return (
        "Activations by module"
        if any(line.name == Category.ACTIVATION.plural for line in lines)
        else "By line of the program"
    )


def _short(name: str, length: int = 26) -> str:
    name = printable(name).replace("$", r"\$")
    return name if len(name) <= length else f"…{name[1 - length :]}"


def _title(text: str, width: int = 96) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
