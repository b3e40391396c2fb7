"""The run behind a diagnosis, in a process of its own."""

import os
import sys
import traceback
from pathlib import Path

from lrtool.diagnosis.reports import DIAGNOSIS, DiagnosisReport, DiagnosisSetup
from lrtool.diagnosis.run_figures import RunFigures
from lrtool.errors import LrtoolError
from lrtool.memory.allocator.environment import allocator_variables, problems_of
from lrtool.memory.allocator.versions import torch_version
from lrtool.memory.replay.replay import Scenario
from lrtool.results import is_measured
from lrtool.sweep.executors.ranks import among_ranks, spread_factory
from lrtool.workload.target import load


def run_trial(folder: Path) -> None:
    """Run what `folder/trial.json` describes and write its figures beside it."""
    setup = DIAGNOSIS.read_given(folder)
    try:
        with among_ranks(setup.recorder):
            report = DiagnosisReport(figures=figures_of(setup))
    except LrtoolError as error:
        sys.stderr.write("".join(traceback.format_exception(error)))
        report = DiagnosisReport(
            message=error.message, hint=error.hint, trace=error.trace, exit_code=error.exit_code
        )  # fmt: skip
    DIAGNOSIS.write(folder, report)


def figures_of(setup: DiagnosisSetup) -> RunFigures:
    """Trace the run, or measure it on a GPU. Raises what the user's code does."""
    if is_measured(setup.recorder):
        return _measured(setup)
    from lrtool.diagnosis.sources import figures_of_traced_run
    from lrtool.memory.recorders.predicted import fake_gpu, trace_on_capacity
    from lrtool.tracing.tracer.tracer import TraceSettings

    version = torch_version()
    scenario = Scenario(settings=setup.settings, capacity_bytes=setup.capacity_bytes, version=version)
    traced = trace_on_capacity(
        spread_factory(load(setup.target, params=setup.params), setup.recorder),
        TraceSettings(
            num_steps=setup.num_steps,
            kind="cpu" if setup.recorder == "cpu" else "predicted",
            seed=setup.seed,
            gpu=fake_gpu(setup.gpu, count=setup.gpus),
            evaluates=setup.evaluate,
        ),
        scenario,
    )
    problems = problems_of(allocator_variables(os.environ), version)
    gpu = setup.gpu if setup.recorder == "predicted" else ""
    return figures_of_traced_run(traced, scenario, target=setup.target, gpu=gpu, settings_problems=problems)


def _measured(setup: DiagnosisSetup) -> RunFigures:
    from lrtool.diagnosis.sources import figures_of_recording
    from lrtool.memory.environment.installation import check_allocator
    from lrtool.memory.recorders.choose import record
    from lrtool.memory.recorders.recording import RecordSettings

    recording = record(
        spread_factory(load(setup.target, params=setup.params), setup.recorder),
        RecordSettings(
            recorder=setup.recorder,
            num_steps=setup.num_steps,
            seed=setup.seed,
            device=setup.device,
            gpu=setup.gpu,
            gpus=setup.gpus,
            capacity_bytes=setup.capacity_bytes,
            settings=setup.settings,
        ),
    )
    return figures_of_recording(
        recording, target=setup.target, settings=setup.settings, problems=check_allocator().problems
    )
