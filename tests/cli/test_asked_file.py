"""Files that are asked for by name: what was asked for is written, and nothing else is."""

import os
import stat
import threading
from pathlib import Path

import pytest

from lrtool.cli.asked_file import asked_file
from lrtool.errors import UsageError
from tests import DOCS
from tests.cli.conftest import Stored
from tests.conftest import Lrtool
from tests.sweep.made_sweeps import flat

TRACE = DOCS / "split.jsonl"


def refused(path: Path, **more: object) -> str:
    with pytest.raises(UsageError) as caught:
        asked_file(path, option="-o", **{"force": False, **more})  # type: ignore[arg-type]
    return caught.value.message


def written(path: Path, text: str = "new", *, force: bool = False) -> None:
    asked_file(path, option="-o", force=force).write(text)


@pytest.mark.parametrize("name", ["", ".", "/", "..", "folder"])
def test_a_folder_is_no_file(name: str) -> None:
    Path("folder").mkdir()

    assert "is a folder" in refused(Path(name))


def test_a_links_target_is_written_and_the_link_stays(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    written(link)
    assert link.is_symlink()
    assert target.read_text() == "new"

    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "leads nowhere" in refused(loop)


def test_the_mode_of_a_file_is_kept_and_a_new_one_is_as_any_other(tmp_path: Path) -> None:
    old, new, usual = tmp_path / "old", tmp_path / "new", tmp_path / "usual"
    old.write_text("old")
    old.chmod(0o600)
    written(old, force=True)
    written(new)
    usual.touch()

    assert stat.S_IMODE(old.stat().st_mode) == 0o600
    assert new.stat().st_mode == usual.stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old", "usual"]


def test_a_pipe_and_a_device_are_written_into(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    written(pipe)
    reader.join()

    assert got == ["new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    written(Path("/dev/null"))
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_an_open_file_goes_on_where_it_stands(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        file.write("before ")
        file.flush()
        written(Path(f"/proc/self/fd/{file.fileno()}"))
        file.write(" after")

    assert (tmp_path / "file").read_text() == "before new after"


def test_what_is_there_is_overwritten_only_on_demand(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")

    assert "is there already" in refused(file)
    assert file.read_text() == "mine"
    written(file, force=True)
    assert file.read_text() == "new"


@pytest.mark.parametrize("force", [False, True])
def test_an_input_a_program_and_a_run_are_never_overwritten(force: bool, tmp_path: Path) -> None:
    trace, link, run = tmp_path / "trace", tmp_path / "link", tmp_path / "run"
    trace.write_text("{}")
    link.hardlink_to(trace)
    (run / "trials").mkdir(parents=True)
    (run / "run.json").write_text("{}")

    assert "is what is read" in refused(link, inputs=[trace], force=force)
    assert "is a Python file" in refused(tmp_path / "model.py", force=force)
    assert "lies in the run directory" in refused(run / "trials" / "x.json", force=force)


def test_a_command_refuses_before_it_does_anything(lrtool: Lrtool, stored: Stored) -> None:
    stored(flat())
    Path("mine.json").write_text("mine")
    for command in (
        ["baseline", "last", "-o", "mine.json"],
        ["baseline", "last", "-o", ""],
        ["check", "last", "--max", "growth=0", "--format", "junit", "-o", "mine.json"],
        ["replay", TRACE, "--per-op", "mine.json"],
        ["replay", TRACE, "--per-op", TRACE, "--force"],
    ):
        outcome = lrtool(*command)
        assert (outcome.code, outcome.out) == (2, ""), outcome.err
    assert Path("mine.json").read_text() == "mine"
    assert lrtool("baseline", "last", "-o", "mine.json", "--force").code == 0


def test_what_lrtool_wrote_itself_is_replaced(lrtool: Lrtool, stored: Stored) -> None:
    stored(flat())
    junit = ["check", "last", "--max", "growth=0", "--format", "junit", "-o", "junit.xml"]
    for command in (["baseline", "last", "-o", "b.json"], junit):
        first, again = lrtool(*command).code, lrtool(*command).code
        assert first == again
        assert first in (0, 1)


def test_a_temporary_name_cannot_be_foreseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    rename = Path.replace

    def noted(self: Path, target: Path) -> Path:
        seen.append(self.name)
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    written(tmp_path / "one")
    written(tmp_path / "two")

    assert len(set(seen)) == 2
    assert str(os.getpid()) not in seen[0]
    long = tmp_path / ("n" * 250)
    written(long)
    assert long.read_text() == "new"
