"""`lrtool init`: a model.py and its settings to start from."""

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from lrtool.cli.console import open_terminal
from lrtool.errors import UsageError

FILES = ("model.py", "lrtool.toml")


def command(
    folder: Annotated[Path, typer.Argument(help="Where to write them; made if it is missing.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.", show_default=False)] = False,
) -> None:
    """Write a model.py and a lrtool.toml to start from: they run as they are, on the CPU, in seconds.

    Examples: lrtool init | lrtool init experiments/rings | lrtool init --force
    """
    from lrtool.results.stored.run_dir import make_folder, write_file

    there = [folder / name for name in FILES if (folder / name).exists() or (folder / name).is_symlink()]
    if there and not force:
        raise UsageError(f"{there[0]} is there already", hint="--force overwrites it; another folder leaves it alone")
    make_folder(folder)
    for name in FILES:
        write_file(folder / name, files("lrtool.examples").joinpath("starter", name).read_bytes())
    first, second = (folder / name for name in FILES)
    enter = "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "
    open_terminal().result(f"Wrote {first} and {second}: put your own model in. Next: {enter}lrtool range-test")
