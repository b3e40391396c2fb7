"""A finished run of every command, made by hand and stored as the command would store it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lrtool.lr.cyclic import schedule_line
from lrtool.lr.suggest import suggest
from lrtool.memory.replay import Scenario
from lrtool.memory.stream_reader import read_stream
from lrtool.memory.what_if import Place, ask
from lrtool.results import (
    Band,
    BudgetLine,
    Diagnosis,
    Environment,
    MemSweep,
    RangeTest,
    Replay,
    Result,
    Run,
    StepSeries,
)
from lrtool.series import trial_dir, write_series
from lrtool.store import write_run
from lrtool.sweep.diagnosis import diagnose_file
from tests.lr.test_suggest import curve
from tests.sweep.made_sweeps import story

DOCS = Path(__file__).parents[2] / "docs"
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
        schedule_line=schedule_line(found.groups, step_size_up=40, cycles_momentum=True), duration_s=1.0,
    )  # fmt: skip


def replay() -> Replay:
    stream = read_stream(DOCS / "split.jsonl")
    settings = ["", "expandable_segments:True"]
    return ask(
        stream, base=Scenario(), settings=settings, places=[Place(capacity_bytes=64 * 2**20, card=None)], least=True
    )


def diagnosis() -> Diagnosis:
    scenario = Scenario(capacity_bytes=64 * 2**20)
    return diagnose_file(DOCS / "split.jsonl", scenario, total_bytes=None, environment={})


MADE: dict[str, Callable[[], Made]] = {
    "range-test": lambda: (range_test(stopped="diverged", repeats=3), {}),
    "replay": lambda: (replay(), {}),
    "mem-sweep": story,
    "diagnose": lambda: (diagnosis(), {}),
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
