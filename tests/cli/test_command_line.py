"""The rules every command keeps: frozen options, exit codes, colour, width, help."""

import os
import re
import subprocess
import sys

import pytest
import typer

from lrtool import errors
from lrtool.cli import app
from lrtool.units import printable
from tests import ROOT, WORKLOADS
from tests.conftest import Lrtool

SHARED = ["--out", "--json", "--quiet", "-q", "--verbose", "-v", "--color"]
OPTIONS = {
    "range-test": [
        "target", "--param", "-p", "--device", "--seed", "--config",
        "--start-lr", "--end-lr", "--num-steps", "--mode", "--repeats", "--confirm", "--confirm-loss",
        "--per-group", "--optimizer", "--batch-size", "--rules", "--timeout", "--check", *SHARED,
    ],
    "mem-sweep": [
        "target", "--param", "-p", "--device", "--seed", "--config",
        "--step-sizes", "--step-size-down", "--schedule", "--mode", "--gamma", "--scale-fn", "--scale-mode",
        "--base-lr", "--max-lr", "--cycle-momentum", "--base-momentum", "--max-momentum", "--last-epoch",
        "--settings", "--precision", "--batch-size", "--world-size", "--shard", "--optimizer-kernel",
        "--cycles", "--steps", "--repeats", "--order", "--recorder", "--gpu", "--gpus",
        "--capacity", "--history", "--jobs", "--timeout", "--executor", "--ray-address", "--trial-cpus", "--trial-memory",
        "--resume", "--check", *SHARED,
    ],
    "diagnose": [
        "target", "--param", "-p", "--device", "--seed", "--config", "--snapshot",
        "--steps", "--settings", "--recorder", "--gpu", "--gpus", "--capacity", "--timeout",
        "--evaluate", "--cures", "--max-batch", "--only", "--checkpoint", "--cure-steps",
        "--executor", "--ray-address", "--trial-cpus", "--trial-memory", *SHARED,
    ],
    "replay": [
        "trace", "--settings", "--capacity", "--torch", "--no-caching", "--min-capacity", "--per-op", "--check", "--force",
        *SHARED,
    ],
    "compare": ["runs", *SHARED],
    "check": [
        "run", "--max", "--min", "--max-increase", "--baseline", "--allow-different", "--format", "--output", "-o",
        "--force", "--config", *SHARED,
    ],
    "baseline": ["run", "--output", "-o", "--force", *SHARED],
    "doctor": SHARED[1:],
    "cards": SHARED[1:],
    "report": ["run", "--html", *SHARED],
    "init": ["folder", "--force"],
}  # fmt: skip


def declared() -> dict[str, list[str]]:
    group = typer.main.get_command(app)
    commands = getattr(group, "commands")  # noqa: B009
    return {name: [o for p in command.params for o in p.opts] for name, command in commands.items()}


def test_the_list_of_options_is_frozen() -> None:
    assert declared() == OPTIONS


def test_exit_codes_are_as_documented() -> None:
    readme = (ROOT / "README.md").read_text()

    assert list(errors.EXIT_CODES) == [0, 1, 2, 3, 4, 70, 130]
    assert all(f"| {code} | {meaning} |" in readme for code, meaning in errors.EXIT_CODES.items())


def test_without_arguments_three_commands_are_shown(lrtool: Lrtool) -> None:
    outcome = lrtool()

    assert outcome.code == 0
    assert [line.split()[1] for line in outcome.out.splitlines() if line.startswith("  lrtool")] == [
        "init", "range-test", "mem-sweep",
    ]  # fmt: skip


def test_version(lrtool: Lrtool) -> None:
    assert re.fullmatch(r"lrtool \d+\.\d+\.\d+\n", lrtool("--version").out)


@pytest.mark.parametrize("command", OPTIONS)
def test_every_option_has_help_and_every_default_is_shown(lrtool: Lrtool, command: str) -> None:
    shown = " ".join(lrtool(command, "--help").out.replace("│", " ").split())

    assert "Examples:" in shown
    for option in OPTIONS[command]:
        assert option in shown
    if command == "range-test":
        assert all(f"Default: {value}." in shown for value in ("1e-07", "10.0", "auto", "exp", "auto", "runs"))


@pytest.mark.parametrize("arguments", [["-m", "lrtool", "--version"]])
def test_python_m_lrtool_is_the_same_command(arguments: list[str]) -> None:
    run = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)

    assert run.stdout.startswith("lrtool ")


def test_tables_fit_eighty_columns(lrtool: Lrtool, workload_file: object) -> None:
    workloads = WORKLOADS
    for name in ("good", "two_groups", "rises"):
        for line in lrtool("range-test", workloads / f"{name}.py").out.splitlines():
            assert len(line) <= 80 or line.startswith(("scheduler = ", "Wrote ", "Cycle ", "No suggestion")), line


@pytest.mark.parametrize(
    ("environment", "arguments", "colored"),
    [
        ({}, [], False),
        ({"FORCE_COLOR": "1"}, [], True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, [], False),
        ({"FORCE_COLOR": "1"}, ["--color", "never"], False),
        ({"NO_COLOR": "1"}, ["--color", "always"], True),
        ({"GITHUB_ACTIONS": "true"}, [], False),
    ],
)
def test_colour_only_where_it_is_wanted(
    lrtool: Lrtool, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], arguments: list[str], colored: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert ("\x1b[" in lrtool("range-test", "--num-steps", "20", *arguments).out) is colored


def test_colour_carries_nothing_that_words_do_not(lrtool: Lrtool) -> None:
    plain = lrtool("range-test", "--num-steps", "20").out
    colored = lrtool("range-test", "--num-steps", "20", "--color", "always").out

    def words(text: str) -> list[str]:
        text = re.sub(r"\x1b\[[0-9;]*m", "", text)
        return [w for line in text.splitlines() if not line.startswith(("ended", "Wrote")) for w in line.split()]

    assert words(colored) == words(plain)


def test_names_cannot_steer_the_terminal(lrtool: Lrtool) -> None:
    assert printable("a\x1b[31mb\r\x07c\nd\te") == "a\\x1b[31mb\\x0d\\x07c\nd\te"
    outcome = lrtool("range-test", "\x1b[31m[red]x[/red].py")

    assert "\x1b" not in outcome.err
    assert "[red]x[/red].py" in outcome.err


def test_completion_can_be_shown() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "lrtool"], capture_output=True, text=True, check=False,
        env={**os.environ, "_LRTOOL_COMPLETE": "complete_bash", "COMP_WORDS": "lrtool ra", "COMP_CWORD": "1"},
    )  # fmt: skip

    assert "range-test" in run.stdout
