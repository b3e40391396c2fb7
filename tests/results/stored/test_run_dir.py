"""The run directory: numbered, atomic, readable whatever happened."""

import os
import threading
from pathlib import Path

import pytest

from lrtool.errors import UnavailableError, UsageError
from lrtool.results.stored.run_dir import create_run_dir, environment, find_run, last_of, write_file


def test_numbers_go_on_from_the_highest(tmp_path: Path) -> None:
    (tmp_path / "0007-range-test").mkdir()
    (tmp_path / "notes").mkdir()

    assert create_run_dir(tmp_path, command="mem-sweep").name == "0008-mem-sweep"


def test_a_number_of_more_digits_than_python_reads_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_run_dir(tmp_path, command="replay")
    monkeypatch.setattr(Path, "is_file", os.path.isfile)  # as Python 3.14 has them: no name is too long for these
    monkeypatch.setattr(Path, "is_dir", os.path.isdir)

    with pytest.raises(UsageError, match="no run '9999"):
        find_run("9" * 5000, parent=tmp_path)


def test_runs_that_start_at_once_get_different_numbers(tmp_path: Path) -> None:
    made: list[Path] = []
    threads = [threading.Thread(target=lambda: made.append(create_run_dir(tmp_path, command="x"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(path.name for path in made) == [f"{i:04d}-x" for i in range(1, 9)]


def test_a_reader_sees_the_old_file_or_the_whole_new_one(tmp_path: Path) -> None:
    file, old, new = tmp_path / "run.json", b"a" * 100_000, b"b" * 100_000
    write_file(file, old)
    seen = set()

    def rewrite(times: int) -> None:
        for content in (new, old) * times:
            write_file(file, content)

    writer = threading.Thread(target=lambda: rewrite(20))
    writer.start()
    while writer.is_alive():
        seen.add(file.read_bytes())
    writer.join()

    assert seen <= {old, new}
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    (tmp_path / "run.json").mkdir()

    with pytest.raises(UnavailableError, match="cannot write"):
        write_file(tmp_path / "run.json", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_the_environment_names_versions_but_neither_host_nor_user() -> None:
    import getpass
    import platform

    stamp = environment()

    assert stamp.python.startswith("3.")
    assert stamp.num_cpus >= 1
    assert platform.node() not in (stamp.platform, stamp.device_name)
    assert getpass.getuser() not in (stamp.platform, stamp.device_name)


def test_the_newest_wanted_run_of_a_command_is_found_past_damaged_ones(tmp_path: Path) -> None:
    for name in ("0001-range-test", "0002-replay", "0003-range-test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{")

    assert last_of(tmp_path, "range-test", lambda result: True) is None
    assert last_of(tmp_path / "nowhere", "range-test", lambda result: True) is None
