"""Hand-made sweeps as stored runs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lrtool.results import Result, Run
from lrtool.results.stored.run_dir import create_run_dir, write_run
from lrtool.results.stored.trial_dir import write_series
from tests.sweep.made_sweeps import Made, run_of

Stored = Callable[..., Path]


@pytest.fixture
def stored() -> Stored:
    """Store a hand-made sweep as a run, the numbered directory of which is returned."""

    def store(made: Made, **environment: Any) -> Path:
        run: Run[Result] = run_of(made[0])
        run_dir = create_run_dir(Path("runs"), command="mem-sweep")
        write_run(run_dir, replace(run, environment=replace(run.environment, **environment)))
        for number, series in made[1].items():
            (run_dir / f"trials/{number:03d}").mkdir(parents=True)
            write_series(run_dir, number, series)
        return run_dir

    return store
