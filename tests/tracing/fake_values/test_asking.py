"""The line that asks for a value, and the answer it wishes for."""

import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from lrtool.tracing.fake_values import asking
from lrtool.tracing.fake_values.asking import Asker, find_asker


class Unknown:
    """A value that tells who asks for it, and answers False."""

    def __init__(self) -> None:
        self.askers: list[Asker] = []

    def __bool__(self) -> bool:
        asker = find_asker_of_caller()
        self.askers.append(asker)
        return False

    def __lt__(self, _other: object) -> "Unknown":
        return self

    def item(self) -> float:
        self.askers.append(find_asker_of_caller())
        return 1.0

    def step(self) -> None:
        pass


def find_asker_of_caller() -> Asker:
    """Who calls the method that calls this: a tensor's methods are no Python frames."""
    frame = sys._getframe(2)
    return asking._asker_at(frame.f_code, frame.f_lasti, frame.f_lineno)


def asked(tmp_path: Path, text: str) -> Asker:
    """Who asked first in a function with this body, in which `x` is unknown."""
    file = tmp_path / "asks.py"
    file.write_text("def run(x):\n" + textwrap.indent(textwrap.dedent(text), "    ") + "\n")
    code: CodeType = compile(file.read_text(), str(file), "exec")
    names: dict[str, Any] = {}
    exec(code, names)
    unknown = Unknown()
    with suppress(AssertionError, ValueError):
        names["run"](unknown)
    return unknown.askers[0]


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("if x < 100:\n    x.step()", True),
        ("if x < 100:\n    y = 1", True),
        ("for i in range(2):\n    if x < 1e-3:\n        break", False),
        ("if x:\n    return 1", False),
        ("if x < 1: raise ValueError", False),
        ("if not x:\n    return 1", True),
        ("if not (x < 1) and not x:\n    y = 1", False),
        ("assert x < 1e-3", True),
        ("assert not x", False),
        ("while x:\n    pass", True),
        ("if x.item() > 5:\n    return 1", False),
        ("y = 1 if x else 2", None),
        ("y = bool(x)", None),
    ],
)
def test_training_goes_on(tmp_path: Path, text: str, wish: bool | None) -> None:
    assert asked(tmp_path, text).wish is wish


def test_a_number_that_is_compared_has_its_comparison(tmp_path: Path) -> None:
    compared = asked(tmp_path, "if abs(x.item()) > 5:\n    return 1").comparison
    assert compared is not None
    assert asked(tmp_path, "y = x.item()").comparison is None


def test_the_text_of_a_line_is_shown_without_its_colon(tmp_path: Path) -> None:
    assert asked(tmp_path, "if x < 100:\n    pass").text == "if x < 100"


def test_lrtool_itself_is_not_who_asks() -> None:
    asker = find_asker()
    assert asker is not None
    assert asker.file == __file__
