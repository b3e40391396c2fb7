"""What the README shows is what the commands print."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.conftest import Lrtool

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```\n\$ lrtool ([^\n]*)\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
CHANGES = re.compile(r"; \d+ steps, [\d.]+ m?s$|0\.\d+ s$")
"""What differs from run to run: how long it took."""


def lines(text: str) -> list[str]:
    return [CHANGES.sub("", line.rstrip()) for line in text.rstrip().splitlines()]


def test_there_is_an_example_for_each_measuring_command() -> None:
    assert [command.split()[0] for command, _ in BLOCKS] == ["range-test", "mem-sweep", "replay"]


@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=[command.split()[0] for command, _ in BLOCKS])
def test_the_readme_shows_what_is_printed(lrtool: Lrtool, tmp_path: Path, command: str, shown: str) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    printed = lines(lrtool(*shlex.split(command)).out)
    expected = lines(shown)

    assert len(printed) == len(expected)
    if command.startswith("replay"):
        assert printed == expected
    else:  # the last digits of a training run depend on the CPU
        assert [line.split()[0] for line in printed if line] == [line.split()[0] for line in expected if line]
