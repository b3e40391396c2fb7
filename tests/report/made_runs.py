"""A finished run of every command, made by hand and stored as the command would store it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lrtool.diagnosis.diagnose import diagnose_file
from lrtool.gate.comparison import Subject, compare
from lrtool.lr.curve.suggest import suggest
from lrtool.lr.cyclic import schedule_line
from lrtool.memory.replay.replay import Scenario
from lrtool.memory.replay.scenarios import Place, replay_scenarios
from lrtool.memory.snapshot.reader import read_trace
from lrtool.results import (
    Band,
    BudgetLine,
    ComparedCurve,
    Comparison,
    Confirmation,
    ConfirmingRun,
    Diagnosis,
    Environment,
    GroupRange,
    GroupTest,
    Interval,
    MemSweep,
    RangeTest,
    RankMemory,
    Ranks,
    Replay,
    Result,
    RulePick,
    Run,
    StepSeries,
)
from lrtool.results.ranks import compare_ranks
from lrtool.results.stored.run_dir import write_run
from lrtool.results.stored.trial_dir import trial_dir, write_series
from tests import DOCS
from tests.diagnosis.cure_trials.made_cures import cures, max_batch
from tests.gate.test_judge import case, run
from tests.lr.curve.test_suggest import curve
from tests.report.range_test.test_batch_scaling import scaling
from tests.sweep.made_sweeps import flat, story
from tests.sweep.made_trials import GIB, MIB

HOSTILE = "<script>alert('x')</script>[red]$\\frac{a}$ \x1b[31m&amp;\"'id=\"a\".py"
"""A file name that is markup to HTML, to the terminal and to the plots, should any of them let it."""

Made = tuple[Result, dict[int, StepSeries]]


def range_test(*, stopped: str = "end", flat: bool = False, repeats: int = 1, num_steps: int = 200) -> RangeTest:
    lrs, losses = curve(count=num_steps)
    found = suggest([(lrs, [2.3 + 0.01 * (i % 2) for i in range(num_steps)] if flat else losses)])
    group = found.groups[0]
    return RangeTest(
        target="model.py", base_lr=group.base_lr, max_lr=group.max_lr, suggested_lr=group.suggested_lr,
        param_groups=found.groups, confidence=found.confidence, rule=found.rule, reason=found.reason,
        advice=found.advice, stopped=stopped, stop_reason="x", num_steps=num_steps, curve=found.curve,  # type: ignore[arg-type]
        repeats=found.repeats * repeats if repeats > 1 else (),
        band=Band(lr=found.curve.lr, low=found.curve.loss, high=found.curve.loss) if repeats > 1 else None,
        device="cpu", optimizer="SGD", steps_per_epoch=10, step_size_up=40,
        schedule_line=schedule_line(found.groups, step_size_up=40), duration_s=1.0,
    )  # fmt: skip


def full_range_test() -> RangeTest:
    """With everything that may be asked for."""
    found = range_test(stopped="diverged", repeats=3)
    half = GroupRange(base_lr=0.01, max_lr=0.1, suggested_lr=0.04)
    alone = GroupTest(
        num_parameters=1234, curve=found.curve, half_descent=0.03, range=half, confidence="high", reason="it falls"
    )
    runs = tuple(
        ConfirmingRun(schedule="cyclic", max_lr=lr, loss=(2.3, 2.0, final), final_loss=final)
        for lr, final in ((0.05, 1.5), (0.1, 1.2))
    )
    return replace(
        found,
        param_groups=(half, half),
        group_tests=(alone, alone),
        max_lr_interval=Interval(low=0.08, high=0.13),
        confirmation=Confirmation(
            schedule="cyclic", judged_by="train", budget_steps=10, num_steps=6, runs=runs, winner=runs[1], margin=0.3,
            margin_over_noise=5.0,
        ),
        batch_scaling=scaling(0.5),
        rules=(RulePick(finder="fastai", version="2.8.12", rule="valley", lr=1e-3, why_none=None),
               RulePick(finder="Ignite", version="0.5.5", rule="steepest", lr=None, why_none="too short")),
        ranks=ranks(),
    )  # fmt: skip


def ranks() -> Ranks:
    memory = tuple(
        RankMemory(rank=rank, device=f"cuda:{rank}", peak_allocated_bytes=(rank + 1) * GIB,
                   peak_reserved_bytes=(rank + 2) * GIB, peak_resident_bytes=GIB)
        for rank in (0, 1)
    )  # fmt: skip
    return compare_ranks(memory, backend="nccl", wrapping="ddp", bucket_bytes=MIB, note="as if")


def replay() -> Replay:
    trace = read_trace(DOCS / "split.jsonl")
    settings = ["", "expandable_segments:True"]
    return replay_scenarios(
        trace, base=Scenario(), settings=settings, places=[Place(capacity_bytes=64 * 2**20, card=None)], least=True
    )


def diagnosis() -> Diagnosis:
    """With everything that may be asked for."""
    scenario = Scenario(capacity_bytes=64 * MIB)
    found = diagnose_file(DOCS / "split.jsonl", scenario, total_bytes=None, environment={})
    return replace(found, cures=cures(), max_batch=max_batch())


def comparison() -> Comparison:
    """Of two sweeps, the second of which takes more."""
    summaries = (run(case(peak_allocated=each * MIB, fragmentation=0.01 * each)) for each in (100, 105))
    subjects = [Subject(name=f"runs/{n}", summary=each, result=flat()[0]) for n, each in enumerate(summaries, 1)]
    x = tuple(map(float, range(1, 41)))
    curves = [ComparedCurve(case="", run=n, x=x, y=tuple((100.0 + n) * MIB for _ in x)) for n in (0, 1)]
    return compare(subjects, curves)


MADE: dict[str, Callable[[], Made]] = {
    "range-test": lambda: (full_range_test(), {}),
    "replay": lambda: (replay(), {}),
    "mem-sweep": story,
    "diagnose": lambda: (diagnosis(), {}),
    "compare": lambda: (comparison(), {}),
}


def hostile(result: Result) -> Result:
    """The result of a file with a hostile name."""
    if isinstance(result, RangeTest):
        return replace(result, target=HOSTILE, optimizer=HOSTILE, reason=HOSTILE, advice=HOSTILE)
    if isinstance(result, Replay):
        rows = tuple(
            replace(row, settings=HOSTILE, death=row.death and replace(row.death, source=HOSTILE, detail=HOSTILE))
            for row in result.rows
        )
        return replace(result, trace=HOSTILE, warnings=(HOSTILE,), rows=rows)
    if isinstance(result, Diagnosis):
        findings = tuple(replace(each, title=HOSTILE, evidence=(HOSTILE,), source=HOSTILE) for each in result.findings)
        assert result.budget is not None
        budget = replace(result.budget, modules=(BudgetLine(name=HOSTILE, num_bytes=1),))
        return replace(result, target=HOSTILE, verdict=HOSTILE, findings=findings, budget=budget, notes=(HOSTILE,))
    if isinstance(result, Comparison):
        runs = tuple(replace(each, name=HOSTILE, facts={"settings": HOSTILE}) for each in result.runs)
        figures = tuple(replace(figure, case=HOSTILE) for figure in result.figures)
        curves = tuple(replace(curve, case=HOSTILE) for curve in result.curves)
        return replace(
            result, answer=HOSTILE, runs=runs, figures=figures, curves=curves, not_comparable=(HOSTILE,)
        )  # fmt: skip
    assert isinstance(result, MemSweep)
    trials = tuple(
        replace(
            trial,
            condition=replace(trial.condition, params={"name": HOSTILE + str(trial.number)}),
            growth_sources=tuple(replace(source, source=HOSTILE, line=HOSTILE) for source in trial.growth_sources),
        )
        for trial in result.trials
    )
    verdict = replace(result.verdict, text=HOSTILE, evidence=(HOSTILE,), growth_source=HOSTILE)
    return replace(result, target=HOSTILE, trials=trials, verdict=verdict, lr_source=HOSTILE)


def stored(command: str, folder: Path, *, is_hostile: bool = False) -> Path:
    """The run directory of a command's run below `folder`."""
    result, series = MADE[command]()
    return store(command, hostile(result) if is_hostile else result, series, folder / f"0001-{command}")


def store(command: str, result: Result, series: dict[int, StepSeries], run_dir: Path) -> Path:
    run_dir.mkdir(parents=True)
    for number, steps in series.items():
        trial_dir(run_dir, number).mkdir(parents=True)
        write_series(run_dir, number, steps)
    write_run(run_dir, run_of(command, result))
    return run_dir


def run_of(command: str, result: Result) -> Run[Result]:
    return Run(
        command=command, created="2026-01-01T00:00:00+00:00", arguments=(command, HOSTILE), result=result,
        settings={"target": HOSTILE, "params": {"name": HOSTILE}, "seed": 0, command.replace("-", "_"): {"repeats": 1}},
        environment=Environment(lrtool="0.1.0", python="3.12", torch="2.13", platform="Linux x86_64", num_cpus=2,
                                device_name=None, cuda=None),
    )  # fmt: skip
