"""The terminal's size, and where plots are drawn, as the environment tells it."""

import os
import pty
import sys

import pytest
from matplotlib.rcsetup import validate_backend

from lrtool.cli.console import BACKENDS, open_terminal
from tests import DOCS
from tests.conftest import Lrtool

NONSENSE = ["0", "-5", "x", "1", "", " ", "1e3", "\u00b2", "99999999999", "9" * 5000]
COMMANDS = [["--help"], ["range-test", "--help"], ["cards"], [], ["replay", str(DOCS / "split.jsonl")], ["range-tset"]]


@pytest.mark.parametrize("name", ["COLUMNS", "LINES"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: "-".join(command[:1]))
def test_a_size_that_is_none_changes_nothing(
    lrtool: Lrtool, monkeypatch: pytest.MonkeyPatch, command: list[str], name: str
) -> None:
    expected = lrtool(*command)
    for nonsense in NONSENSE:
        monkeypatch.setenv(name, nonsense)
        shown = lrtool(*command)

        assert (shown.code, len(shown.out.splitlines()), len(shown.err)) == (
            expected.code,
            len(expected.out.splitlines()),
            len(expected.err),
        )


def test_a_size_that_is_one_is_taken(lrtool: Lrtool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")

    assert max(map(len, lrtool("--help").out.splitlines())) == 120


@pytest.mark.parametrize("nonsense", ["0", "-5", "x", "1"])
def test_a_terminal_whose_variables_say_nonsense_is_written_to(nonsense: str) -> None:
    sizes = {"COLUMNS": nonsense, "LINES": nonsense}
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, [sys.executable, "-m", "lrtool", "--help"], {**os.environ, **sizes})
    shown = b""
    while chunk := _read(terminal):
        shown += chunk

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert b"range-test" in shown
    assert b"mem-sweep" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # as Linux says that the other end is closed
        return b""


@pytest.mark.parametrize(
    ("backend", "is_kept"),
    [("agg", True), ("QtAgg", True), ("module://a.b", True), ("nonsense", False), ("", False), ("module:a", False)],
)
def test_a_backend_is_kept_where_matplotlib_knows_it(
    backend: str, is_kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", backend)
    open_terminal()

    assert ("MPLBACKEND" in os.environ) is is_kept


def test_matplotlib_knows_every_backend_that_is_kept() -> None:
    for backend in BACKENDS:
        assert str(validate_backend(backend)).lower() == backend
