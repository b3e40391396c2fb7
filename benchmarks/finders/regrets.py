"""How much of the reachable loss reduction is lost at the LRs that each finder suggests."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch

import lrtool
from benchmarks.finders.cases import Case
from benchmarks.finders.peers import PEERS, Found, Ramp
from benchmarks.finders.truth import Truth

GOOD_REGRET = 0.05
FROM_TINY = 1e-7


@dataclass(frozen=True, kw_only=True)
class Suggested:
    """One run of one finder under one rule: the LR for each schedule and the steps it took to find it."""

    case: str
    finder: str
    lrs: dict[str, float | None]
    num_steps: int


@dataclass(frozen=True, kw_only=True)
class Score:
    """One line of the table: the regrets of all runs of one finder under one rule."""

    finder: str
    regrets: dict[str, list[float]]
    num_failed: int
    num_steps: float

    def mean(self) -> float:
        """Over all schedules."""
        return statistics.mean(value for values in self.regrets.values() for value in values)


def run_finders(case: Case, *, seed: int, peer_steps: Sequence[int]) -> list[Suggested]:
    """Every finder on `case`: lrtool as it is, each peer with its defaults and with each of `peer_steps` from 1e-7."""
    found = [_lrtool(case, seed)]
    for name, find in PEERS.items():
        ramps = {
            "": Ramp(num_steps=100 if name == "Ignite" else None)
        }  # Ignite's default is the length of the training
        ramps |= {f", {steps} steps from 1e-7": Ramp(start_lr=FROM_TINY, num_steps=steps) for steps in peer_steps}
        for text, ramp in ramps.items():
            setup = case.setup(seed)
            torch.manual_seed(seed)
            found += _of_peer(case, name, text, find(setup, ramp))
    return found


def scores(suggested: Sequence[Suggested], truths: dict[str, Truth]) -> list[Score]:
    """One score for each finder and rule, the best first."""
    names = list(dict.fromkeys(each.finder for each in suggested))
    return sorted((_score(name, [s for s in suggested if s.finder == name], truths) for name in names), key=Score.mean)


def _lrtool(case: Case, seed: int) -> Suggested:
    found = lrtool.range_test(lambda: case.setup(seed).as_workload(), seed=seed)
    lrs = {"constant": found.suggested_lr, "cyclic": found.max_lr}
    return Suggested(case=case.name, finder="lrtool", lrs=lrs, num_steps=found.num_steps)


def _of_peer(case: Case, name: str, text: str, found: Found) -> list[Suggested]:
    return [
        Suggested(
            case=case.name, finder=f"{name} {rule}{text}" if len(found.picks) > 1 else f"{name}{text}",
            lrs={"constant": lr, "cyclic": lr}, num_steps=found.num_steps,
        )
        for rule, lr in found.picks.items()
    ]  # fmt: skip


def _score(name: str, runs: Sequence[Suggested], truths: dict[str, Truth]) -> Score:
    schedules = runs[0].lrs
    return Score(
        finder=name,
        regrets={each: [truths[run.case].regret(each, run.lrs[each]) for run in runs] for each in schedules},
        num_failed=sum(None in run.lrs.values() for run in runs),
        num_steps=statistics.mean(run.num_steps for run in runs),
    )
