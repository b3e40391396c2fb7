"""`lrtool check`: a stored run against limits and a baseline, with an exit code for CI; without torch."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import typer

from lrtool.cli import options
from lrtool.cli.console import Terminal, open_terminal
from lrtool.cli.gating import bounds, check_run, failure_of, open_budget
from lrtool.cli.options import option
from lrtool.config import Settings, find_settings_file, read_settings_file, resolve
from lrtool.errors import UsageError, did_you_mean
from lrtool.results import SCHEMA, Check, Result, Run

PANEL = "Limits"
Format = Literal["text", "github", "junit"]
JUNIT_FILE = "lrtool-junit.xml"


def command(
    run: Annotated[
        str, typer.Argument(help="A run directory, its number below --out, or last.", show_default=True)
    ] = "last",
    maxima: Annotated[
        list[str] | None,
        typer.Option(
            "--max",
            help="METRIC=VALUE that must not be exceeded: peak_allocated=14GiB, growth=0; repeatable.",
            rich_help_panel=PANEL,
            show_default=False,
            metavar="LIMIT",
        ),
    ] = None,
    minima: Annotated[
        list[str] | None,
        typer.Option(
            "--min",
            help="METRIC=VALUE that must be reached: max_lr=0.01; repeatable.",
            rich_help_panel=PANEL,
            show_default=False,
            metavar="LIMIT",
        ),
    ] = None,
    max_increase: Annotated[
        list[str] | None,
        typer.Option(
            "--max-increase",
            help="METRIC:VALUE by which the baseline may be exceeded: peak_allocated:5% or peak_allocated:200MiB; "
            "repeatable. Default with a baseline: peak_allocated:1% and growth:0.",
            rich_help_panel=PANEL,
            show_default=False,
            metavar="LIMIT",
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        option(
            "--baseline",
            help="A file of `lrtool baseline`, or a run (directory, number, last).",
            panel=PANEL,
            metavar="RUN-OR-FILE",
        ),
    ] = None,
    allow_different: Annotated[
        bool | None,
        typer.Option(
            "--allow-different",
            help="Compare although GPU, torch, recorder, allocator settings or conditions differ.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        str,
        option(
            "--format",
            help="text, github (adds ::error lines) or junit (writes a file too).",
            panel=options.OUTPUT,
            default="text",
            metavar="FORMAT",
        ),
    ] = "text",
    output: Annotated[
        Path | None,
        option("--output", "-o", help="The file of --format junit.", panel=options.OUTPUT, default=JUNIT_FILE),
    ] = None,
    config: options.ConfigFile = None,
    out: options.Out = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.ColorChoice = "auto",
) -> None:
    """Hold a run against limits and a baseline: exit code 1 where it was measured, and the answer is no.

    Limits also come from the table \\[tool.lrtool.budget] of a settings file. Without a METRIC they are peak_allocated's.

    Examples: lrtool check last --max peak_allocated=14GiB --max growth=0 | lrtool check --baseline
    memory-baseline.json --max-increase 5% --format github
    """
    terminal = open_terminal(color=options.color(color), quiet=quiet, verbose=verbose)
    shown = Shown(form=_format(form), junit=output or Path(JUNIT_FILE), as_json=as_json)
    file = read_settings_file(Path(config)) if config else find_settings_file(Path.cwd())
    below = file.values.get("budget", {})
    settings = resolve(
        file,
        command="budget",
        options={
            "out": out,
            "max": bounds(maxima, "max", below=below.get("max", {})),
            "min": bounds(minima, "min", below=below.get("min", {})),
            "max_increase": bounds(max_increase, "increase", below=below.get("max_increase", {})),
            "baseline": baseline,
            "allow_different": allow_different,
        },
    )
    check_stored_run(terminal, run, settings, shown=shown)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """How a check is shown, and the file that JUnit's format goes to."""

    form: Format
    junit: Path
    as_json: bool


def check_stored_run(terminal: Terminal, name: str, settings: Settings, *, shown: Shown) -> None:
    """The command below its options. What was found is shown before it is raised."""
    from lrtool.results.run_dir import open_run

    runs = Path(settings.out)
    budget = open_budget(settings.budget, runs=runs)
    run_dir, run = open_run(name, parent=runs)
    found = check_run(run, budget, run_dir=run_dir)
    assert found is not None
    if shown.form == "junit":
        _write_junit(terminal, found, run_dir, shown.junit)
    if shown.as_json:
        document = {"schema": SCHEMA, "command": "check", **asdict(found), "run_dir": str(run_dir)}
        terminal.out.file.write(json.dumps(document) + "\n")
        terminal.out.file.flush()
    else:
        _show(terminal, found, run_dir)
    if shown.form == "github":
        _annotate(terminal, found, run, as_json=shown.as_json)
    failure = failure_of(found, run, run_dir)
    if failure is not None:
        raise failure


def _show(terminal: Terminal, found: Check, run_dir: Path) -> None:
    from lrtool.report.gate.tables import check_lines

    against = "" if found.baseline is None else f" against {found.baseline}"
    closing = f"Checked {run_dir}{against}. Next: lrtool report {run_dir}"
    terminal.result(*check_lines(found), "", closing)


def _write_junit(terminal: Terminal, found: Check, run_dir: Path, file: Path) -> None:
    from lrtool.report.gate.ci_formats import junit_xml
    from lrtool.results.run_dir import write_file

    write_file(file, junit_xml(found, name=run_dir.name))
    terminal.note(f"wrote {file}")


def _annotate(terminal: Terminal, found: Check, run: Run[Result], *, as_json: bool) -> None:
    """GitHub reads both streams; stdout is the document's alone with --json."""
    from lrtool.report.gate.ci_formats import github_lines

    target = str(getattr(run.result, "target", "")).partition(":")[0]
    stream = terminal.err if as_json else terminal.out
    for line in github_lines(found, folder=Path(target).parent):
        stream.print(line, markup=False, highlight=False, soft_wrap=True)


def _format(text: str) -> Format:
    if text not in get_args(Format):
        raise UsageError(f"--format {text!r} is not one of its values", hint=did_you_mean(text, get_args(Format)))
    return cast(Format, text)
