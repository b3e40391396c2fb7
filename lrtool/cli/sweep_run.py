"""A sweep below its options: what is announced, stored, shown and raised as its trials run."""

import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lrtool.cli import options
from lrtool.cli.console import Terminal, stdout_to_stderr
from lrtool.cli.gating import Budget, check_run, failure_of, open_budget
from lrtool.cli.output import show_checked, store
from lrtool.cli.ranks import took_part
from lrtool.config import MemSweepSettings, RecorderChoice, Settings
from lrtool.errors import Interrupted, LrtoolError, UnavailableError, UsageError, WorkloadError
from lrtool.memory.gpus import known_card, parse_capacity
from lrtool.results import Trial, is_measured
from lrtool.results.stored.run_dir import create_run_dir, find_run, owned
from lrtool.results.stored.secrets import masked
from lrtool.settings_file import SettingsFile
from lrtool.sweep.wording import at_step, shown_value
from lrtool.units import count_of, format_bytes, format_duration

if TYPE_CHECKING:
    from lrtool.sweep.executors.executor import Executor
    from lrtool.sweep.plan import Plan
    from lrtool.sweep.runner import Finished

COMMAND = "mem-sweep"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """How a sweep's result is shown, and what it is held against, if anything."""

    as_json: bool
    budget: Budget | None


def start_sweep(
    terminal: Terminal, settings: Settings, *, file: SettingsFile, as_json: bool, check: bool = False
) -> None:
    """Plan a sweep and run it in a new run directory; of several ranks the first one does."""
    from lrtool.sweep.executors import begin_executor
    from lrtool.sweep.runner import begin_run

    if took_part(timeout_s=settings.mem_sweep.timeout):
        return
    budget = _budget(settings, check=check)
    own = settings.mem_sweep
    begin_executor(own, recorder=_recorder(own))
    with stdout_to_stderr():
        plan = make_plan(settings)
        _announce(terminal, plan, is_given=settings.target is not None, file=file)
        executor = _executor(plan, settings.mem_sweep)
        run_dir = create_run_dir(Path(settings.out), command=COMMAND)
    with owned(run_dir):
        begin_run(run_dir, plan)
        try:
            _run(terminal, plan, run_dir, executor, shown=Shown(as_json=as_json, budget=budget))
        except NothingMeasured:
            shutil.rmtree(run_dir, ignore_errors=True)
            raise


def resume_sweep(terminal: Terminal, name: str, settings: Settings, *, as_json: bool, check: bool = False) -> None:
    """Run the trials of a run directory that have no result yet."""
    from lrtool.sweep.runner import resume_run

    budget = _budget(settings, check=check)
    run_dir = find_run(name, parent=Path(settings.out))
    plan = resume_run(run_dir)
    terminal.note(f"memory sweep of {plan.setup.target} goes on in {run_dir}")
    with owned(run_dir):
        executor = _executor(plan, settings.mem_sweep)
        _run(terminal, plan, run_dir, executor, shown=Shown(as_json=as_json, budget=budget))


class NothingMeasured(Interrupted):
    """Ctrl-C, before any trial had stored a result."""


def _budget(settings: Settings, *, check: bool) -> Budget | None:
    return open_budget(settings.budget, runs=Path(settings.out)) if check else None


def make_plan(settings: Settings) -> "Plan":
    """Everything decided, and the target's arguments checked. Raises UsageError, WorkloadError, UnavailableError."""
    from lrtool.memory.recorders.choose import choose_recorder
    from lrtool.memory.replay.replay import Scenario, parse_scenario
    from lrtool.sweep.learning_rates import find_learning_rates
    from lrtool.sweep.plan import Plan, Setup, plan_trials
    from lrtool.workload.target import load, load_function

    own, target = settings.mem_sweep, options.target_of(settings)
    trials = plan_trials(own, params=settings.params, seed=settings.seed)
    card = known_card(own.gpu)
    capacity_bytes, named = (None, None) if own.capacity is None else parse_capacity(own.capacity)
    for params in {repr(trial.condition.params): trial.condition.params for trial in trials}.values():
        load(target, params=params)
    for function in own.scale_fn:
        load_function(function)
    for conf in own.settings:
        parse_scenario(Scenario(settings=conf))
    choice = choose_recorder(_recorder(own), device=settings.device)
    if own.capacity is None and not is_measured(choice.recorder):
        capacity_bytes, named = card.usable_bytes, card
    rates = find_learning_rates(own, target=target, runs=Path(settings.out))
    return Plan(
        setup=Setup(
            target=target,
            recorder=choice.recorder,
            device=settings.device,
            gpu=card.name,
            gpus=own.gpus,
            capacity_bytes=capacity_bytes,
            base_lr=rates.base_lr,
            max_lr=rates.max_lr,
            history=own.history,
        ),
        recorder_reason=choice.reason,
        card=named.title if named else None,
        lr_source=rates.source,
        trials=trials,
        settings=masked(asdict(settings)),
    )


def _recorder(own: MemSweepSettings) -> RecorderChoice:
    """Simulated ranks can only be predicted."""
    if own.world_size and own.recorder not in ("auto", "predicted"):
        raise UsageError(
            f"--world-size and --recorder {own.recorder} do not go together",
            hint="simulated ranks are predicted; for real ones start lrtool with torchrun, without --world-size",
        )
    return "predicted" if own.world_size else own.recorder


def _run(terminal: Terminal, plan: "Plan", run_dir: Path, executor: "Executor", *, shown: Shown) -> None:
    from lrtool.sweep.runner import conclude, run_trials

    begin = time.perf_counter()
    try:
        finished = run_trials(
            plan, run_dir, executor, on_trial=lambda *progress: terminal.note(trial_line(*progress, plan=plan))
        )
        if not finished.reports:
            raise NothingMeasured("interrupted", hint="no trial was finished yet")
        result = conclude(plan, finished.reports, run_dir, duration_s=time.perf_counter() - begin)
        stored_in, run, unwritten = store(
            result, command=COMMAND, folder=run_dir.parent, settings=plan.settings, run_dir=run_dir
        )
    except UnavailableError as error:
        error.hint = f"{error.hint}; go on with {_how_to_go_on(run_dir)}"
        raise
    except KeyboardInterrupt:
        raise Interrupted("interrupted", hint=f"finished trials are kept; go on: {_how_to_go_on(run_dir)}") from None
    found = check_run(run, shown.budget, run_dir=stored_in)
    show_checked(terminal, run, stored_in, as_json=shown.as_json, check=found)
    ending = _what_ended_it(plan, finished, run_dir) or unwritten or failure_of(found, run, stored_in)
    if ending is not None:
        raise ending


def _executor(plan: "Plan", own: MemSweepSettings) -> "Executor":
    from lrtool.sweep.executors import executor_of
    from lrtool.sweep.executors.executor import Demand
    from lrtool.sweep.rank_results import trial_of_ranks

    setup = plan.setup
    demand = Demand(recorder=setup.recorder, device=setup.device, jobs=own.jobs, timeout_s=own.timeout)
    return executor_of(own, demand, together=trial_of_ranks)


def _what_ended_it(plan: "Plan", finished: "Finished", run_dir: Path) -> LrtoolError | None:
    """Ctrl-C, or that not one trial could be run, because of the user's code or of this machine; anything else is a result."""
    count, total = len(finished.reports), len(plan.trials)
    if finished.was_interrupted:
        return Interrupted(f"interrupted after {count} of {total} trials", hint=f"go on: {_how_to_go_on(run_dir)}")
    first = finished.reports[0]
    if any(report.trial.status != "failed" for report in finished.reports):
        return None
    hint = first.hint or f"see {run_dir}/trials/{first.trial.number:03d}/log.txt"
    if all(report.exit_code == UnavailableError.exit_code for report in finished.reports):
        return UnavailableError(first.trial.message or "no trial could be run", hint=hint, trace=first.trace)
    return WorkloadError(f"every trial failed: {first.trial.message}", hint=hint, trace=first.trace)


def _how_to_go_on(run_dir: Path) -> str:
    return f"lrtool mem-sweep --resume {run_dir}"


def _announce(terminal: Terminal, plan: "Plan", *, is_given: bool, file: SettingsFile) -> None:
    from lrtool.sweep.learning_rates import LearningRates, describe

    setup = plan.setup
    rates = LearningRates(base_lr=setup.base_lr, max_lr=setup.max_lr, source=plan.lr_source)
    given = "" if is_given else " (bundled; no target was given)"
    place = plan.card or (f"a GPU of {format_bytes(setup.capacity_bytes)}" if setup.capacity_bytes else "this GPU")
    trials = f"{len(plan.trials)} trial{'s'[: len(plan.trials) != 1]}"
    terminal.note(
        f"memory sweep of {setup.target}{given}: {trials}, recorder {setup.recorder} ({plan.recorder_reason}) for {place}; "
        f"{describe(rates)}" + (f"; settings from {file.path}" if file.path else "")
    )


def trial_line(trial: Trial, num_done: int, num_trials: int, *, plan: "Plan") -> str:
    """A finished trial in one line."""
    figures = [count_of(trial.num_steps, "step")]
    if trial.max_memory_allocated_bytes is not None and trial.max_memory_reserved_bytes is not None:
        figures.append(f"peak {format_bytes(trial.max_memory_allocated_bytes)} allocated")
        figures.append(f"{format_bytes(trial.max_memory_reserved_bytes)} reserved")
    ending = trial.status if trial.death is None else f"out of memory {at_step(trial.death.step)}"
    if trial.status != "oom" and trial.message:
        ending = f"{trial.status}: {trial.message}"
    parts = [*_condition(trial, plan), *figures, trial.recorder, ending, format_duration(trial.duration_s)]
    return f"trial {num_done} of {num_trials}: {', '.join(parts)}"


def _condition(trial: Trial, plan: "Plan") -> list[str]:
    """What is special to the trial: its step size, and of the rest what varies over the sweep."""
    mine = _flat(asdict(trial.condition))
    others = [_flat(asdict(each.condition)) for each in plan.trials]
    varied = [name for name in mine if name == "step_size_up" or len({repr(other.get(name)) for other in others}) > 1]
    if all(other["step_size_up"] == other["step_size_down"] for other in others):
        varied = [name for name in varied if name != "step_size_down"]
    words = [f"{name} {shown_value(mine[name])}" for name in varied]
    return [*words, *([f"repeat {trial.repeat}"] if trial.repeat else [])]


def _flat(condition: dict[str, object]) -> dict[str, object]:
    params = condition.pop("params")
    assert isinstance(params, dict)
    return {**condition, **params}
