"""`report.html`: one file that a run is looked at with, offline, without JavaScript, made from its run directory alone."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from lrtool.gate.check_file import read_check
from lrtool.report.figures import ON_DARK
from lrtool.report.gate.tables import check_lines
from lrtool.report.glossary import GLOSSARY
from lrtool.report.grid import Facts, labelled
from lrtool.report.html.svg import css_name, inline_svg
from lrtool.report.page import Page, Plot, Plots, Section, blocks_of
from lrtool.report.reports import report_of
from lrtool.results import Check, Result, Run
from lrtool.results.stored.run_dir import write_file
from lrtool.results.stored.texts import shown
from lrtool.units import one_line, printable

REPORT_FILE = "report.html"


def write_html(run_dir: Path, run: Run[Result]) -> Path:
    """Write the page of a run into its directory. Raises UnavailableError, or UsageError where a file there is damaged."""
    path = run_dir / REPORT_FILE
    write_file(path, render_html(run, run_dir=run_dir))
    return path


def render_html(run: Run[Result], *, run_dir: Path) -> str:
    """The page as text. Whatever stands in it is escaped, and control characters are shown as text."""
    run = shown(run)
    report = report_of(run.result)
    figures = report.plots(run_dir, run.result)
    plots = {name: _plot(name, figure, report.descriptions.get(name)) for name, figure in figures.items()}
    page = page_of(run.result, plots, check=read_check(run_dir))
    environment = Environment(
        loader=PackageLoader("lrtool.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    return environment.get_template("report.html.j2").render(
        run=run,
        page=page,
        name=one_line(run_dir.resolve().name),
        terms={name: GLOSSARY[name] for name in page.terms},
        colors=[(css_name(light), light, dark) for light, dark in ON_DARK.items()],
        environment=_environment(run),
    )


def _plot(name: str, figure: Figure, description: str | None) -> Plot:
    title = _take_title(figure)
    description = title if description is None else description
    return Plot(
        svg=inline_svg(figure, name=name, title=title or description.partition(":")[0], description=description),
        caption=title or description,
    )


def _take_title(figure: Figure) -> str:
    """The one finding that a figure states, taken off it: the page shows it as a caption, which folds."""
    title = figure.get_suptitle()
    if title:
        figure.suptitle("")
        return title
    titled = [axes for axes in figure.axes if axes.get_title(loc="left")]
    if len(titled) != 1:
        return ""
    title = titled[0].get_title(loc="left")
    titled[0].set_title("", loc="left")
    return title


def _environment(run: Run[Result]) -> Facts:
    of = run.environment
    gpu = "none" if of.device_name is None else f"{of.device_name}, CUDA {of.cuda}"
    return labelled(
        (
            ("command", shlex.join(["lrtool", *run.arguments])),
            ("run at", run.created),
            ("GPU", gpu),
            ("versions", f"lrtool {of.lrtool}, torch {of.torch}, Python {of.python}"),
            ("machine", f"{of.platform}, {of.num_cpus} CPUs"),
            *_settings(run),
        )
    )


def _settings(run: Run[Result]) -> list[tuple[str, str]]:
    """The resolved settings: those that all commands share, and those of this one."""
    own = run.settings.get(run.command.replace("-", "_"), {})
    shared = {name: value for name, value in run.settings.items() if name == "params" or not isinstance(value, dict)}
    return [(name.replace("_", "-"), json.dumps(value)) for name, value in {**shared, **own}.items()]


def page_of(result: Result, plots: Plots, *, check: Check | None = None) -> Page:
    """The page of a result; `plots` are its drawn figures by name, and those that no section shows come in the end.

    `check` is its last one, whose limits the page shows.
    """
    own = report_of(result).page
    page = _as_in_the_terminal(result) if own is None else own(result, plots)
    if check is not None:
        limits = Section(place="gates", heading="Limits", blocks=blocks_of(check_lines(check), caption="Limits"))
        page = replace(page, sections=(*page.sections, limits))
    shown = [block for section in page.sections for block in section.blocks]
    if left := tuple(plot for plot in plots.values() if plot not in shown):
        return replace(page, sections=(*page.sections, Section(place="details", heading="Plots", blocks=left)))
    return page


def _as_in_the_terminal(result: Result) -> Page:
    """For a result that nobody wrote a page for."""
    verdict, *parts = report_of(result).lines(result)
    figures = Section(place="sweep", heading="Figures", blocks=blocks_of(parts))
    return Page(verdict=str(verdict), numbers=(), sections=(figures,), terms=())
