"""Who asks for a value that is not known, and which answer lets training go on as it normally does. Pure but for the frame."""

import ast
import linecache
import math
import operator
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType

import torch

import lrtool

_TORCH = Path(torch.__file__).parent
_LRTOOL = Path(lrtool.__file__).parent
_CALLERS = frozenset(str(_LRTOOL / "workload" / name) for name in ("step.py", "target.py"))
"""They call what is the user's: whoever stands outside them does not ask."""
_EXITS = (ast.Break, ast.Return, ast.Raise, ast.Continue)
_TRAINS = frozenset({"step", "backward", "update"})
_MAX_TEXT = 60
_Branch = ast.If | ast.While | ast.Assert
_Span = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Asker:
    """A line that asks, its text, and, where it decides a statement's test, the expression and what stands around it."""

    file: str
    line: int
    text: str
    around: tuple[ast.AST, ...] = field(default=(), compare=False)
    """From the expression that asks to its statement."""

    @property
    def site(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def wish(self) -> bool | None:
        """The truth of the expression with which training goes on; None where the statement does not tell.

        An assertion passes and a loop runs on. A branch that leaves (break, return, raise, continue) is not taken, any
        other is.
        """
        if not self.around or not isinstance(self.around[-1], _Branch):
            return None
        wished = _wished_test(self.around[-1])
        negations = sum(map(_is_negation, self.around))
        return wished if negations % 2 == 0 else not wished

    @property
    def comparison(self) -> "Comparison | None":
        """What the number that is asked for, on the left, is compared with, where that is a constant."""
        for inner, outer in zip(self.around, self.around[1:], strict=False):
            if isinstance(outer, ast.Compare):
                return _comparison(outer) if inner is outer.left and len(outer.ops) == 1 else None
        return None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a line compares a number with."""

    operator: type[ast.cmpop]
    bound: float

    def holds(self, number: float) -> bool:
        return bool(_COMPARED[self.operator](number, self.bound))

    def number(self, wished: bool, *, is_whole: bool) -> float | int:
        """A number for which it comes out as wished: 1 where that will do, else one near the bound."""
        step = 1.0 if is_whole or self.bound == 0 else abs(self.bound) / 2
        fitting = (
            each for each in (1.0, self.bound, self.bound - step, self.bound + step) if self.holds(each) == wished
        )
        number = next(fitting, 1.0)
        return round(number) if is_whole else number


_COMPARED: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip


def _comparison(compared: ast.Compare) -> Comparison | None:
    kind, bound = type(compared.ops[0]), _constant(compared.comparators[0])
    return None if bound is None or kind not in _COMPARED else Comparison(kind, bound)


def _constant(node: ast.AST) -> float | None:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def find_asker() -> Asker | None:
    """The innermost line that is neither lrtool's nor of what torch does with fake tensors; None where lrtool itself asks."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_passed_over(frame.f_code.co_filename):
        if frame.f_code.co_filename in _CALLERS:
            return None
        frame = frame.f_back
    return None if frame is None else _asker_at(frame.f_code, frame.f_lasti, frame.f_lineno)


@cache
def _asker_at(code: CodeType, instruction: int, line: int) -> Asker:
    file = code.co_filename
    position = next(islice(code.co_positions(), instruction // 2, None), (None,) * 4)
    around: tuple[ast.AST, ...] = ()
    if None not in position:
        first, last, begin, end = position
        around = _around(file).get((first, begin, last, end), ())  # type: ignore[arg-type]
    return Asker(file, line, _shown(linecache.getline(file, line)), around)


@cache
def _is_passed_over(file: str) -> bool:
    """lrtool, what torch keeps private (`_subclasses`, `utils/_stats.py`) or does for all, and code without a file."""
    path = Path(file)
    if path.is_relative_to(_TORCH):
        parts = path.relative_to(_TORCH).parts
        return any(part.startswith("_") for part in parts) or parts[0] in ("autograd", "functional.py")
    return path.is_relative_to(_LRTOOL) or file.startswith("<")


@cache
def _around(file: str) -> dict[_Span, tuple[ast.AST, ...]]:
    """What stands around each expression in a statement's test, from the inside out, by where the expression stands.

    Up to Python 3.11 a name that is a test by itself stands where its statement does.
    """
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError):
        return {}
    found: dict[_Span, tuple[ast.AST, ...]] = {}
    for statement in ast.walk(tree):
        if isinstance(statement, _Branch):
            paths = list(_paths(statement.test, (statement,)))
            found |= {_span(path[0]): path for path in paths}
            found[_span(statement)] = next(path for path in paths if not _is_negation(path[0]))
    return found


def _paths(node: ast.AST, outside: tuple[ast.AST, ...]) -> Iterator[tuple[ast.AST, ...]]:
    path = (node, *outside)
    if isinstance(node, ast.expr):
        yield path
    for child in ast.iter_child_nodes(node):
        yield from _paths(child, path)


def _is_negation(node: ast.AST) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)


def _span(node: ast.AST) -> _Span:
    assert isinstance(node, ast.expr | ast.stmt)
    return node.lineno, node.col_offset, node.end_lineno or node.lineno, node.end_col_offset or 0


def _wished_test(statement: _Branch) -> bool:
    if not isinstance(statement, ast.If):
        return True
    leaves = any(isinstance(each, _EXITS) for each in statement.body)
    return _trains(statement) or not leaves


def _trains(statement: ast.If) -> bool:
    calls = (each for part in statement.body for each in ast.walk(part) if isinstance(each, ast.Call))
    return any(isinstance(call.func, ast.Attribute) and call.func.attr in _TRAINS for call in calls)


def _shown(line: str) -> str:
    text = line.strip().removesuffix(":")
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 3]}..."
