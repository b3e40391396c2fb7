"""A stored result is read as a whole: what does not fit together, or can be no figure, is refused, its place named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrtool.errors import UsageError
from lrtool.results import run_from_json
from tests.report.made_runs import MADE, stored

Edit = Callable[[Any], None]


def put(path: str, value: Any) -> Edit:
    """Sets what stands at `result.rows.0.timeline` and such; "..." takes the last entry away."""

    def edit(document: Any) -> None:
        *way, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
        for part in way:
            document = document[part]
        document[last] = document[last][:-1] if value is ... else value

    return edit


BROKEN = [
    ("range-test", put("result.curve.smoothed_loss", ...), "result.curve: smoothed_loss has 199 entries, lr 200"),
    ("range-test", put("result.curve", {"lr": [], "loss": [], "smoothed_loss": []}), "result.curve.lr"),
    ("range-test", put("result.band.high", ...), "result.band: high has 199 entries"),
    ("range-test", put("result.repeats.1.loss", ...), "result.repeats.1: loss has"),
    ("range-test", put("result.group_tests", ...), "result: group_tests has 1 entries, param_groups 2"),
    ("range-test", put("result.curve.lr.3", -0.1), "result.curve.lr.3"),
    ("range-test", put("result.curve.loss.3", 1e200), "out of range"),
    ("range-test", put("result.max_lr", "nan"), "result.max_lr"),
    ("range-test", put("result.max_lr", "0.1"), "result.max_lr"),
    ("range-test", put("result.max_lr", True), "result.max_lr"),
    ("range-test", put("result.max_lr", float("nan")), "NaN|result.max_lr"),
    ("range-test", put("result.target", 1), "result.target"),
    ("range-test", put("result.stopped", "tired"), "result.stopped"),
    ("range-test", put("result.num_steps", -1), "result.num_steps"),
    ("range-test", put("result.num_steps", 2**63), "out of range"),
    ("range-test", put("result.num_steps", 3.5), "result.num_steps"),
    ("range-test", put("result.ranks.world_size", 0), "result.ranks.world_size"),
    ("range-test", put("created", "yesterday"), "created is no date: 'yesterday'"),
    ("range-test", put("settings.range_test", []), "settings.range_test is no table"),
    ("range-test", put("settings.params", "x"), "settings.params is no table"),
    ("replay", put("result.rows.0.timeline.reserved_bytes", ...), "result.rows.0.timeline: reserved_bytes has"),
    ("replay", put("result.best", 2), "result: best is 2, of 2"),
    ("replay", put("result.best", -1), "result: best is -1, of 2"),
    ("replay", put("result.rows", []), "result.rows"),
    ("replay", put("result.rows.0.outcome", "fine"), "result.rows.0.outcome"),
    ("replay", put("result.rows.0.peak_reserved_bytes", -1), "result.rows.0.peak_reserved_bytes"),
    ("replay", put("result.rows.0.fragmentation", 2.0), "result.rows.0.fragmentation"),
    ("replay", put("result.rows.0.segments.0.blocks.0.state", ""), "result.rows.0.segments.0.blocks.0.state"),
    ("mem-sweep", put("result.trials.0.number", 1), "result: two trials have one number"),
    ("mem-sweep", put("result.trials", []), "result.trials"),
    ("mem-sweep", put("result.trials.0.growth.warmup_steps", -5), "result.trials.0.growth.warmup_steps"),
    ("mem-sweep", put("result.trials.0.condition.schedule", "sawtooth"), "result.trials.0.condition.schedule"),
    ("mem-sweep", put("result.trials.0.max_memory_allocated_bytes", "1"), "result.trials.0.max_memory_allocated_bytes"),
    ("mem-sweep", put("result.duration_s", -1), "result.duration_s"),
    ("diagnose", put("result.budget.reserved_bytes", -1), "result.budget.reserved_bytes"),
    ("diagnose", put("result.cures.baseline.peak_reserved_bytes", 1.5), "result.cures.baseline.peak_reserved_bytes"),
    ("compare", put("result.figures.0.differences", ...), "result.figures.0: differences has 1 entries, values 2"),
    ("compare", put("result.runs", ...), "result: a figure has not a value for each of 1 runs"),
    ("compare", put("result.curves.0.run", 7), "result: run of a curve is 7, of 2"),
    ("compare", put("result.curves.0.y", ...), "result.curves.0: y has 39 entries, x 40"),
    ("compare", put("result.figures.0.metric", "beauty"), "result.figures.0: 'beauty' is no metric"),
    ("compare", put("result.figures.0.noise", -1), "result.figures.0.noise"),
    ("compare", put("result.compared", "diagnose"), "result.compared"),
    ("compare", put("result.runs.0.created", ""), "result.runs.0: created is no date"),
]  # fmt: skip


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("runs")
    return {command: (stored(command, folder) / "run.json").read_text() for command in MADE}


@pytest.mark.parametrize(("command", "edit", "message"), BROKEN)
def test_what_does_not_fit_together_is_refused(
    command: str, edit: Edit, message: str, documents: dict[str, str], tmp_path: Path
) -> None:
    document = json.loads(documents[command])
    edit(document)

    with pytest.raises(UsageError, match=rf"^run.json is not a run lrtool can read: .*({message})"):
        run_from_json(json.dumps(document), source="run.json")


@pytest.mark.parametrize("command", MADE)
def test_what_was_written_is_read(command: str, documents: dict[str, str]) -> None:
    assert run_from_json(documents[command], source="run.json").command == command
