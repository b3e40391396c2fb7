"""Cases of the load benchmark run a thousand times smaller, in this process."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import load
from benchmarks.load import CASES, Row, line, measured, section, with_kept
from tests.conftest import Lrtool

TINY = 0.001
NUM_ROWS = {"requests": 4, "snapshot": 1, "groups": 3}


@pytest.mark.parametrize("name", NUM_ROWS)
def test_a_case_is_borne(name: str, lrtool: Lrtool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def here(words: Sequence[str], folder: Path) -> tuple[float, float, int]:
        assert folder == Path.cwd()
        begin = time.process_time()
        code = lrtool(*words).code
        return time.process_time() - begin, 1.0, code

    monkeypatch.setattr(load, "measured", here)

    rows = list(CASES[name](TINY, tmp_path))

    assert [row.exit_code for row in rows] == [0] * NUM_ROWS[name]
    assert {row.case for row in rows} == {name}
    assert all(row.number >= 2 and line(row).count("|") == 9 for row in rows)


def test_a_command_is_measured_with_its_exit_code(tmp_path: Path) -> None:
    cpu_s, peak_mib, exit_code = measured(["cards"], tmp_path)
    _, _, refused = measured(["cards", "--no-such-option"], tmp_path)

    assert cpu_s > 0
    assert peak_mib > 1
    assert (exit_code, refused) == (0, 2)


def row(case: str, number: int) -> Row:
    return Row(case=case, number=number, things="of them", command="replay", cpu_s=30.0, peak_mib=600.0, exit_code=0)


def test_a_million_has_its_share() -> None:
    assert line(row("requests", 3_000_000)) == "| requests | 3,000,000 of them | replay | 30.0 | 600 | 10.0 | 200 | 0 |"
    assert "| - | - | 0 |" in line(row("steps", 1_000))


def test_rows_of_cases_that_were_left_out_stay() -> None:
    first = section(with_kept([row("steps", 5), row("runs", 7)], ""))
    again = with_kept([row("steps", 6), row("trials", 8)], f"# Results\n\n{first}\n## Others\n\n| groups | 1 |\n")

    assert [each.split(" | ")[:2] for each in again] == [
        ["| trials", "8 of them"], ["| steps", "6 of them"], ["| runs", "7 of them"]
    ]  # fmt: skip
