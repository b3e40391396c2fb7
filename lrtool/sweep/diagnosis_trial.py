"""The run behind a diagnosis, and the entry point of the process it runs in: `python -m lrtool.sweep.diagnosis_trial DIR`."""

import os
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

from lrtool.errors import LrtoolError
from lrtool.memory.installation import torch_version
from lrtool.memory.replay import Scenario
from lrtool.memory.run_figures import RunFigures
from lrtool.memory.settings_in_force import allocator_variables, problems_of
from lrtool.sweep.diagnosis_reports import DiagnosisReport, DiagnosisSetup
from lrtool.sweep.ranked import among_ranks, spread_factory
from lrtool.target import load
from lrtool.trial_store import RESULT_FILE, TRIAL_FILE, read_json, write_json


def run_trial(folder: Path) -> None:
    """Run what `folder/trial.json` describes and write its figures beside it."""
    setup = read_json(folder / TRIAL_FILE, DiagnosisSetup)
    try:
        with among_ranks(setup.recorder):
            report = DiagnosisReport(figures=figures_of(setup))
    except LrtoolError as error:
        sys.stderr.write("".join(traceback.format_exception(error)))
        report = DiagnosisReport(
            message=error.message, hint=error.hint, trace=error.trace, exit_code=error.exit_code
        )  # fmt: skip
    write_json(folder / RESULT_FILE, asdict(report))


def figures_of(setup: DiagnosisSetup) -> RunFigures:
    """Trace the run, or measure it on a GPU. Raises what the user's code does."""
    if setup.recorder == "cuda":
        return _measured(setup)
    from lrtool.memory.traced import fake_gpu
    from lrtool.memory.traced_figures import figures_of_trace
    from lrtool.memory.tracer import TraceSettings, trace

    version = torch_version()
    traced = trace(
        spread_factory(load(setup.target, params=setup.params), setup.recorder),
        TraceSettings(
            num_steps=setup.num_steps,
            kind="cpu" if setup.recorder == "cpu" else "predicted",
            seed=setup.seed,
            gpu=fake_gpu(setup.gpu),
            finds_garbage=True,
        ),
    )
    scenario = Scenario(settings=setup.settings, capacity_bytes=setup.capacity_bytes, version=version)
    problems = problems_of(allocator_variables(os.environ), version)
    return figures_of_trace(traced, scenario, target=setup.target, settings_problems=problems)


def _measured(setup: DiagnosisSetup) -> RunFigures:
    from lrtool.memory.installation import check_allocator
    from lrtool.memory.measured_figures import figures_of_recording
    from lrtool.memory.recorders import record
    from lrtool.memory.recording import RecordSettings

    recording = record(
        spread_factory(load(setup.target, params=setup.params), setup.recorder),
        RecordSettings(
            recorder="cuda",
            num_steps=setup.num_steps,
            seed=setup.seed,
            device=setup.device,
            gpu=setup.gpu,
            capacity_bytes=setup.capacity_bytes,
            settings=setup.settings,
        ),
    )
    return figures_of_recording(
        recording, target=setup.target, settings=setup.settings, problems=check_allocator().problems
    )


if __name__ == "__main__":
    from lrtool.sweep.trial import main

    main(run_trial)
