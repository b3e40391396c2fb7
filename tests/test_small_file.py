"""Files that somebody else wrote: nothing waits, nothing fills the memory, and the place of a mistake is named."""

import os
from pathlib import Path

import pytest

from lrtool.errors import UsageError
from lrtool.settings_file import find_settings_file, read_settings_file
from lrtool.small_file import read_small, text_of


def refused(path: Path, **options: int) -> str:
    with pytest.raises(UsageError) as caught:
        read_small(path, **options)
    return caught.value.message


def test_only_regular_files_of_bounded_size_are_read(tmp_path: Path) -> None:
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe)
    large.write_bytes(b"x" * 11)

    assert read_small(large, max_bytes=11) == b"x" * 11
    assert "larger than" in refused(large, max_bytes=10)
    assert "no regular file" in refused(pipe)
    assert "no regular file" in refused(Path("/dev/zero"))
    assert "folder" in refused(tmp_path)
    assert "cannot be read" in refused(Path("a\0b"))
    with pytest.raises(FileNotFoundError):
        read_small(tmp_path / "none")


def test_a_mark_is_no_text_and_a_byte_that_is_none_is_named(tmp_path: Path) -> None:
    assert text_of(b"\xef\xbb\xbfa = 1", source=tmp_path) == "a = 1"
    with pytest.raises(UsageError, match=r"not UTF-8: byte 0xff at 2"):
        text_of(b"ab\xff", source=tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seed = " + "9" * 5000, "not valid TOML"),
        ("seed = " + "9" * 50, "seed: 9999"),
        ("a = " + "[" * 100_000, "not valid TOML"),
        (".".join(["a"] * 3000) + " = 1", "nested too deeply"),
        ("target = 07:32:00", "target: 07:32:00 is a date or a time"),
        ("[params]\nx = 1979-05-27T07:32:00Z", "params.x: 1979-05-27"),
        ("[params]\ny = nan", "params.y.str: nan"),
        ("budget = 5", "budget: 5"),
        ("[budget]\nbaseline = 5", "budget.baseline: 5"),
        ('[budget]\nmax = {"" = 1}', "budget"),
        ("params = [1]", "params: [1]"),
        ("target = 5", "target: 5"),
        ("range-test = 3", "range-test: 3"),
        ("[[mem-sweep]]\nsteps = 3", "mem-sweep"),
        ("seed = true", "seed"),
        ("[range-test]\nnum-steps = 2026-11-22", "range-test.num-steps: 2026-11-22 is a date"),
    ],
)
def test_a_mistake_in_settings_is_an_error_that_names_its_place(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "lrtool.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_settings_file(path)
    assert told in caught.value.message
    assert len(caught.value.message) < 500


def test_a_settings_file_with_a_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "lrtool.toml"
    path.write_bytes(b"\xef\xbb\xbfseed = 3\n")
    assert read_settings_file(path).values == {"seed": 3}


@pytest.mark.parametrize(
    "foreign", [b"[tool\n", b"\xff\xfe", b"tool = 5", b"[tool]\nruff = 1", b"a = " + b"[" * 100_000, b"x" * 2**21]
)
def test_another_tools_project_file_is_no_error_of_ours(tmp_path: Path, foreign: bytes) -> None:
    (tmp_path / "lrtool.toml").write_text("seed = 3")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_bytes(foreign)

    assert find_settings_file(folder).values == {"seed": 3}


def test_a_table_of_ours_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool]\nlrtool = 3")
    with pytest.raises(UsageError, match=r"tool\.lrtool is no table"):
        find_settings_file(tmp_path)
