"""Whether a user's file ever takes anything out of a variable, or looks at how long it is: read from the code, not run."""

import ast
from functools import cache
from pathlib import Path

_TAKING = frozenset({"pop", "popleft", "popitem", "clear", "remove", "discard", "cache_clear", "setdefault"})


@cache
def takes_out(variable: str, filename: str, line: int | None = None) -> bool | None:
    """Whether a name or an attribute may shrink, or is kept at a length, in that file; None where it cannot be read.

    With a `line`, the variable is that of the outermost function around it.
    What is set once, or at the top of a function that makes it anew, is no taking out; a second time is.
    """
    try:
        text = Path(filename).read_text(errors="replace")
        if variable not in text:
            return False
        tree: ast.AST = ast.parse(text)
    except (OSError, SyntaxError, ValueError):
        return None
    if line is not None:
        tree = _around(tree, line) or tree
    return any(_takes_out(node, variable) for node in ast.walk(tree)) or _is_set_again(tree, variable)


@cache
def lines_of_scope(filename: str, line: int) -> tuple[int, int] | None:
    """First and last line of the outermost function around `line`; None where there is none, or the file cannot be read."""
    try:
        scope = _around(ast.parse(Path(filename).read_text(errors="replace")), line)
    except (OSError, SyntaxError, ValueError):
        return None
    return None if scope is None else (scope.lineno, scope.end_lineno or scope.lineno)


def _around(tree: ast.AST, line: int) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    around = [node for node in functions if node.lineno <= line <= (node.end_lineno or node.lineno)]
    return min(around, key=lambda node: node.lineno, default=None)


def _takes_out(node: ast.AST, variable: str) -> bool:
    if isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr in _TAKING:
            return _is_of(function.value, variable)
        return isinstance(function, ast.Name) and function.id == "len" and any(_is_of(a, variable) for a in node.args)
    if isinstance(node, ast.Delete):
        return any(_is_of(target, variable) for target in node.targets)
    if isinstance(node, ast.Compare):  # `if key not in x`: no key comes twice
        is_asked = any(isinstance(operator, ast.In | ast.NotIn) for operator in node.ops)
        return is_asked and any(_is_of(each, variable) for each in node.comparators)
    if isinstance(node, ast.Assign):
        return any(isinstance(t, ast.Subscript) and _replaces(t, variable) for t in node.targets)
    return False


def _replaces(target: ast.Subscript, variable: str) -> bool:
    """`x[:] = ...`, `x[i % 8] = ...`, `x[length] = ...`: a place may come again, but for one that has a name of its own,
    `x["all"] = ...`, which has one tensor at any time.
    """
    return not isinstance(target.slice, ast.Constant) and _is_of(target.value, variable)


def _is_set_again(tree: ast.AST, variable: str) -> bool:
    """`x = []` in two places, `x = x[-8:]`, or `x = []` within a loop."""
    values = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        if any(
            _is_name(target, variable) for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        )
    ]
    empty = sum(_is_empty(value) for value in values)
    return empty > 1 or any(isinstance(each, ast.Subscript) and _is_of(each.value, variable) for each in values)


def _is_empty(value: ast.expr) -> bool:
    if isinstance(value, ast.List | ast.Set | ast.Tuple):
        return not value.elts
    if isinstance(value, ast.Dict):
        return not value.keys
    if isinstance(value, ast.Call):
        return not value.args and isinstance(value.func, ast.Name) and value.func.id in ("list", "dict", "set", "deque")
    return isinstance(value, ast.Constant) and value.value is None


def _is_name(node: ast.expr, variable: str) -> bool:
    return (isinstance(node, ast.Name) and node.id == variable) or (
        isinstance(node, ast.Attribute) and node.attr == variable
    )


def _is_of(node: ast.expr, variable: str) -> bool:
    """The variable, or something in it: `x`, `self.x`, `x["val"]`."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return _is_name(node, variable)
