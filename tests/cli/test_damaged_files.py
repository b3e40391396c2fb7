"""Every file that is read back, damaged at random: an answer or two lines, never a traceback.

`DAMAGED_FILES=1000 pytest tests/cli/test_damaged_files.py -k structure` tries as many of each kind.
"""

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrtool.errors import EXIT_CODES, EXIT_DEFECT
from lrtool.sweep.plan import Plan, PlannedTrial, Setup
from lrtool.sweep.reports import SWEEP_TRIAL, TrialReport
from tests.cli.conftest import Stored
from tests.cli.damage import damaged
from tests.conftest import Lrtool, Outcome
from tests.report.made_runs import MADE
from tests.report.made_runs import stored as stored_run
from tests.sweep.made_sweeps import flat

Damage = Callable[[bytes], bytes]
FILES = {
    "run": ("run.json", [["report", "last"], ["report", "last", "--json"], ["check", "last", "--max", "growth=0"]]),
    "page": (
        "run.json",
        [["report", "last", "--html"], ["compare", "last", "last"], ["baseline", "last", "-o", "b.json"]],
    ),
    "steps": ("trials/001/steps.csv", [["report", "last"], ["compare", "last", "last"]]),
    "baseline": ("baseline.json", [["check", "last", "--baseline", "{file}", "--max-increase", "peak_allocated:5%"]]),
    "plan": ("plan.json", [["mem-sweep", "--resume", "last"]]),
}


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """Cut off, a few bits flipped, a number made huge, something of its own in the middle, or nothing left."""
    kind = draw(st.sampled_from(["cut", "flip", "huge", "insert", "null", "empty"]))
    where, seed = draw(st.floats(0, 1, exclude_max=True)), draw(st.binary(min_size=1, max_size=8))

    def damage(content: bytes) -> bytes:
        at = int(where * len(content))
        if kind == "cut":
            return content[:at]
        if kind == "flip":
            return b"".join([content[:at], bytes([content[at] ^ (1 << seed[0] % 8)]), content[at + 1 :]])
        if kind == "huge":
            return content[:at] + content[at:].replace(b"1", b"9" * 400, 1)
        if kind == "insert":
            return content[:at] + seed + content[at:]
        return b"null" if kind == "null" else b""

    return damage


@pytest.mark.parametrize("name", sorted(FILES))
@given(damage=damages())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_told_or_read(name: str, lrtool: Lrtool, stored: Stored, damage: Damage) -> None:
    run_dir = stored(flat())
    file, commands = FILES[name]
    path = Path(file) if name == "baseline" else run_dir / file
    if name == "baseline":
        assert lrtool("baseline", run_dir, "-o", path, "--force").code == 0
    if name == "plan":
        path.write_bytes(b'{"setup": {"target": "there_is_none.py"}, "trials": []}')
    path.write_bytes(damage(path.read_bytes()))
    for command in commands:
        outcome = lrtool(*(each.format(file=path) for each in command))
        assert outcome.code in EXIT_CODES
        assert outcome.code != EXIT_DEFECT, outcome.err
        assert "Traceback" not in outcome.err


@pytest.mark.parametrize("file", ["run.json", "trials/001/steps.csv"])
def test_a_link_in_place_of_a_file(file: str, lrtool: Lrtool, stored: Stored) -> None:
    """One to itself, to nothing or to a folder is an error, and what it names is not written."""
    path = stored(flat()) / file
    for target in (path, Path("nothing"), Path.cwd()):
        path.unlink()
        path.symlink_to(target)
        outcome = lrtool("report", "last")
        assert outcome.code in (0, 2), outcome.err
        assert "Traceback" not in outcome.err
    assert [path.name for path in Path.cwd().iterdir()] == ["runs"]


NUM_DAMAGED = int(os.environ.get("DAMAGED_FILES", "6"))
READERS = [
    ["report", "1"], ["report", "1", "--html"], ["report", "1", "--json"], ["compare", "1", "1"], ["compare", "1", "2"],
    ["check", "1", "--max", "peak_allocated=1MiB", "--max", "growth=0", "--max", "best_loss=0.1"],
    ["check", "1", "--baseline", "2", "--format", "github"], ["baseline", "1", "-o", "b.json"], ["diagnose", "1"],
]  # fmt: skip


def is_told(outcome: Outcome) -> bool:
    """Whether it ended as documented, and with no defect of lrtool."""
    return outcome.code in EXIT_CODES and outcome.code != EXIT_DEFECT and "Traceback" not in outcome.err


@pytest.mark.parametrize("command", sorted(MADE))
def test_a_run_damaged_in_its_structure_is_told_or_shown(command: str, lrtool: Lrtool, tmp_path: Path) -> None:
    file = stored_run(command, tmp_path / "runs") / "run.json"
    shutil.copytree(file.parent, file.parents[1] / f"0002-{command}")
    document = json.loads(file.read_bytes())
    wrong = []
    for seed in range(NUM_DAMAGED):
        file.write_text(json.dumps(damaged(document, random.Random(f"{command} {seed}"))))
        for arguments in READERS:
            outcome = lrtool(*arguments)
            if not is_told(outcome):
                wrong.append((seed, arguments, outcome.err[-500:]))
            if outcome.code == 2 and "is not a run" in outcome.err:
                break  # the others say the same
    assert not wrong


def test_a_sweep_damaged_in_its_structure_is_told_or_resumed(lrtool: Lrtool, stored: Stored) -> None:
    made = flat()
    run_dir = stored(made)
    setup = Setup(
        target="there_is_none.py", recorder="predicted", device="cpu", gpu="h100", capacity_bytes=None, base_lr=None,
        max_lr=None, history=(),
    )  # fmt: skip
    planned = tuple(
        PlannedTrial(number=each.number, position=each.position, repeat=0, seed=0, num_steps=each.num_steps,
                     condition=each.condition)
        for each in made[0].trials
    )  # fmt: skip
    plan = Plan(setup=setup, recorder_reason="", card=None, lr_source="", trials=planned, settings={})
    reports = [SWEEP_TRIAL.plain(TrialReport(trial=each)) for each in made[0].trials]
    for seed in range(NUM_DAMAGED):
        rng = random.Random(seed)
        broken = [asdict(plan), *reports]
        at = rng.randrange(len(broken))
        broken[at] = damaged(json.loads(json.dumps(broken[at])), rng)
        (run_dir / "plan.json").write_text(json.dumps(broken[0]))
        for number, report in enumerate(broken[1:]):
            (run_dir / f"trials/{number:03d}/result.json").write_text(json.dumps(report))
        outcome = lrtool("mem-sweep", "--resume", run_dir)
        assert is_told(outcome), (seed, outcome.err[-2000:])
