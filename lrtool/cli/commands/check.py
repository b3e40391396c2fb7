"""`lrtool check`: a stored run against limits and a baseline, with an exit code for CI; without torch."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast, get_args

from lrtool.cli import options
from lrtool.cli.console import Terminal
from lrtool.cli.gating import bounds, check_run, failure_of, open_budget
from lrtool.cli.invocation import Invocation, reads_settings
from lrtool.cli.options import option
from lrtool.config import KINDS, Settings
from lrtool.results import SCHEMA, Check, Result, Run
from lrtool.units import one_line

if TYPE_CHECKING:
    from lrtool.cli.asked_file import AskedFile

Format = Literal["text", "github", "junit"]
JUNIT_FILE = "lrtool-junit.xml"


@reads_settings("budget", with_config=True)
def command(
    asked: Invocation,
    run: options.RunName = "last",
    *,
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
        Path,
        option("--output", "-o", help="The file of --format junit.", panel=options.OUTPUT, default=JUNIT_FILE),
    ] = Path(JUNIT_FILE),
    force: options.Force = False,
) -> None:
    """Hold a run against limits and a baseline: exit code 1 where it was measured, and the answer is no.

    Limits also come from the table \\[tool.lrtool.budget] of a settings file. Without a METRIC they are peak_allocated's.

    Examples: lrtool check last --max peak_allocated=14GiB --max growth=0 | lrtool check --baseline
    memory-baseline.json --max-increase 5% --format github
    """
    wanted = _format(form)
    junit = _junit_file(output, force=force) if wanted == "junit" else None
    shown = Shown(form=wanted, junit=junit, as_json=asked.as_json)
    below = asked.file.values.get("budget", {})
    limits = {name: bounds(asked.given.get(name), kind, below=below.get(name, {})) for name, kind in KINDS.items()}
    check_stored_run(asked.terminal, run, asked.settings(**limits), shown=shown)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """How a check is shown, and the file that JUnit's format is written to."""

    form: Format
    junit: "AskedFile | None"
    as_json: bool


def check_stored_run(terminal: Terminal, name: str, settings: Settings, *, shown: Shown) -> None:
    """The command below its options. What was found is shown before it is raised."""
    from lrtool.cli.output import print_document
    from lrtool.results.stored.run_dir import open_run

    runs = Path(settings.out)
    budget = open_budget(settings.budget, runs=runs)
    run_dir, run = open_run(name, parent=runs)
    found = check_run(run, budget, run_dir=run_dir)
    assert found is not None
    if shown.junit is not None:
        _write_junit(terminal, found, run_dir, shown.junit)
    if shown.as_json:
        document = {"schema": SCHEMA, "command": "check", **asdict(found), "run_dir": str(run_dir)}
        print_document(terminal, document)
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
    terminal.result(*check_lines(found), "", one_line(closing))


def _junit_file(path: Path, *, force: bool) -> "AskedFile":
    """One that an earlier check wrote is replaced."""
    from lrtool.cli.asked_file import asked_file
    from lrtool.report.gate.ci_formats import is_junit_of_lrtool

    return asked_file(path, option="--output", force=force, is_ours=is_junit_of_lrtool)


def _write_junit(terminal: Terminal, found: Check, run_dir: Path, file: "AskedFile") -> None:
    from lrtool.report.gate.ci_formats import junit_xml

    file.write(junit_xml(found, name=run_dir.name))
    terminal.note(f"wrote {file.path}")


def _annotate(terminal: Terminal, found: Check, run: Run[Result], *, as_json: bool) -> None:
    """GitHub reads both streams; stdout is the document's alone with --json."""
    from lrtool.report.gate.ci_formats import github_lines

    target = str(getattr(run.result, "target", "")).partition(":")[0]
    lines = list(github_lines(found, folder=Path(target).parent))
    if as_json:
        for line in lines:
            terminal.err.print(line, markup=False, highlight=False, soft_wrap=True)
    else:
        terminal.result_text("".join(f"{line}\n" for line in lines))  # commands, which a result's lines must not be


def _format(text: str) -> Format:
    return cast(Format, options.one_of(text, get_args(Format), name="--format"))
