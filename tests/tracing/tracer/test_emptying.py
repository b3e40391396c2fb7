"""Whether a file takes anything out of a variable is read from its code."""

from pathlib import Path
from textwrap import dedent

import pytest

from lrtool.tracing.tracer.growth.emptying import lines_of_scope, takes_out


@pytest.mark.parametrize(
    ("code", "shrinks"),
    [
        ("x = []\nx.append(1)", False),
        ("x = {}\nx['loss'] = 1", False),
        ("x = {'all': None}\nx['all'] = torch.cat((x['all'], y))", False),
        ("self.x = []\nself.x.append(1)\ny.clear()", False),
        ("x = []\nx.pop(0)", True),
        ("x['val'].clear()", True),
        ("self.x.popleft()", True),
        ("del x[0]", True),
        ("if len(x) > 8: y()", True),
        ("x[:] = []", True),
        ("x[i % 8] = y", True),
        ("x = x[-8:]", True),
        ("if length not in x: x[length] = y", True),
        ("x[length] = y", True),
        ("x.setdefault(length, y)", True),
        ("if y in z: x.append(y)", False),
        ("x = []\nx = []", True),
        ("self.x = []\ndef reset(): self.x = []", True),
        ("def f(: pass # x", None),
    ],
)
def test_what_a_file_does_to_a_variable(tmp_path: Path, code: str, shrinks: bool | None) -> None:
    file = tmp_path / "model.py"
    file.write_text(code)

    assert takes_out("x", str(file)) is shrinks


def test_a_variable_of_a_function_is_looked_at_there_alone(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text(
        dedent("""\
            def keeps():
                x = []
                def step():
                    x.append(1)

            def clears():
                x = []
                x.clear()
            """)
    )

    assert takes_out("x", str(file), 3) is False
    assert takes_out("x", str(file), 7) is True
    assert lines_of_scope(str(file), 3) == (1, 4)


def test_a_file_that_is_gone_tells_nothing(tmp_path: Path) -> None:
    assert takes_out("x", str(tmp_path / "gone.py")) is None
    assert lines_of_scope(str(tmp_path / "gone.py"), 1) is None
