"""`lrtool init`: the first three minutes of somebody who has just installed lrtool."""

import os
from pathlib import Path

import pytest

from tests.conftest import Lrtool


def test_what_it_writes_runs_as_it_is(lrtool: Lrtool) -> None:
    assert lrtool("init").out == "Wrote model.py and lrtool.toml: put your own model in. Next: lrtool range-test\n"
    found = lrtool("range-test", "--json").json

    assert found["target"].endswith("model.py:build")
    assert found["settings"]["range_test"]["num_steps"] == 200
    assert found["confidence"] in ("high", "medium")
    assert 0 < found["base_lr"] < found["max_lr"]


def test_its_memory_sweep_says_that_the_step_size_does_not_matter(lrtool: Lrtool) -> None:
    lrtool("init")
    swept = lrtool("mem-sweep", "--json").json

    assert [trial["step_size_up"] for trial in swept["trials"]] == [50, 100, 150]
    assert swept["verdict"]["step_size_matters"] is False


def test_the_model_is_a_page_that_can_be_read_at_once(lrtool: Lrtool) -> None:
    lrtool("init")
    model = Path("model.py").read_text()

    assert len(model.splitlines()) <= 20
    assert "lrtool" not in [line.split()[1] for line in model.splitlines() if line.startswith(("import", "from"))]


@pytest.mark.parametrize("name", ["model.py", "lrtool.toml"])
def test_it_overwrites_nothing_unless_told(lrtool: Lrtool, name: str) -> None:
    Path(name).write_text("mine")
    outcome = lrtool("init")

    assert outcome.code == 2
    assert outcome.err.splitlines() == [
        f"error: {name} is there already", "hint: --force overwrites it; another folder leaves it alone",
    ]  # fmt: skip
    assert [path.name for path in Path().iterdir()] == [name]
    assert Path(name).read_text() == "mine"

    assert lrtool("init", "--force").code == 0
    assert Path(name).read_text() != "mine"


def test_into_another_folder(lrtool: Lrtool) -> None:
    outcome = lrtool("init", "new/one")

    assert outcome.out.endswith("Next: cd new/one && lrtool range-test\n")
    assert sorted(path.name for path in Path("new/one").iterdir()) == ["lrtool.toml", "model.py"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_dangling_link_is_something_that_is_there(lrtool: Lrtool) -> None:
    Path("model.py").symlink_to("nowhere")

    assert lrtool("init").code == 2


def test_a_file_is_no_folder(lrtool: Lrtool) -> None:
    Path("taken").write_text("")
    outcome = lrtool("init", "taken")

    assert outcome.code == 4
    assert outcome.err.startswith("error: cannot write taken: ")
