"""The learning-rate finders of fastai, Lightning, torch-lr-finder and Ignite, and lrtool, on the bundled workloads.

    python benchmarks/lr_finders.py [--quick] [--write] [--truth FILE] [--environment DIR]

It makes an environment of its own for the peers (torch as in constraints.txt, the peers without what they would pull in) and
runs itself there. Three workloads are trained with two optimizers each, for their whole budget, at every LR of a grid, as
constant LR and as CyclicLR (two triangles from a tenth of max_lr), two seeds: the truth. Then every finder runs on them,
three seeds each, with its defaults and with more steps. Regret is the part of the reachable fall of the validation loss that
is lost at the suggested LR, 0 to 1; no suggestion is 1. A peer suggests one LR, taken for both schedules; lrtool's
suggested_lr is taken as the constant LR, its max_lr as that of the cycle. Time per step includes the snapshot, the state put
back and the suggestion. `--write` puts the tables into RESULTS.md, `--truth` keeps the truth between runs, `--quick` is a
smoke run of minutes. `--record FILE` writes what the peers suggest on scripted losses, which
tests/lr/curve/test_rules.py reads.
"""

import argparse
import json
import platform
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.finders.environment import enter

if TYPE_CHECKING:
    from benchmarks.finders.cases import Case
    from benchmarks.finders.truth import Truth

ROOT = Path(__file__).parents[1]
LRS_A_DECADE, NUM_LRS = 3, 13
SEEDS_OF_TRUTH, SEEDS_OF_FINDERS = 2, 3
TIMED = ("digits-sgdm", "char-transformer-adamw")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one case, a coarse grid, one seed")
    parser.add_argument("--write", action="store_true", help="put the tables into benchmarks/RESULTS.md")
    parser.add_argument("--truth", type=Path, help="read the truth from this file, or write it there")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--environment", type=Path, default=ROOT / "build" / "finders")
    parser.add_argument("--record", type=Path, help="write the peers' picks on scripted losses, and nothing else")
    options = parser.parse_args()
    code = enter(options.environment)
    if code is not None:
        return code
    if options.record is not None:
        from benchmarks.finders.recording import record

        record(options.record)
    else:
        _compare(options)
    return 0


def _compare(options: argparse.Namespace) -> None:
    import torch

    from benchmarks.finders import tables
    from benchmarks.finders.cases import all_cases
    from benchmarks.finders.regrets import run_finders, scores
    from benchmarks.finders.timing import time_per_step

    torch.set_num_threads(1)
    cases = [case for case in all_cases() if options.only in case.name][: 1 if options.quick else None]
    timed = [case for case in cases if case.name in TIMED]
    times = {case.name: time_per_step(case, num_steps=100, rounds=2 if options.quick else 5) for case in timed}
    _say(tables.timing_table(times))
    truths = {case.name: _truth(case, options) for case in cases}
    _say(tables.truth_table(truths))
    suggested = []
    for case in cases:
        for seed in range(1 if options.quick else SEEDS_OF_FINDERS):
            suggested += run_finders(case, seed=seed, peer_steps=[100] if options.quick else [100, 400])
        print(f"{case.name}: found", file=sys.stderr)
    table = tables.regret_table(scores(suggested, truths))
    _say(table)
    if options.write:
        parts = [_heading(), tables.timing_table(times), table, tables.truth_table(truths)]
        tables.write_section(ROOT / "benchmarks" / "RESULTS.md", "\n\n".join(parts))


def _truth(case: "Case", options: argparse.Namespace) -> "Truth":
    from benchmarks.finders.truth import Truth, measure_truth

    kept = json.loads(options.truth.read_text()) if options.truth and options.truth.exists() else {}
    if case.name in kept:
        return Truth(**{**kept[case.name], "lrs": tuple(kept[case.name]["lrs"])})
    grid = [case.lowest_lr * 10 ** (index / LRS_A_DECADE) for index in range(NUM_LRS)]
    lrs, num_seeds, num_steps = (grid[::2], 1, 100) if options.quick else (grid, SEEDS_OF_TRUTH, case.num_steps)
    truth = measure_truth(case, lrs=lrs, num_seeds=num_seeds, num_steps=num_steps)
    print(f"{case.name}: trained", file=sys.stderr)
    if options.truth:
        options.truth.write_text(json.dumps({**kept, case.name: asdict(truth)}))
    return truth


def _heading() -> str:
    import torch

    from benchmarks.finders.peers import versions

    installed = {"lrtool": version("lrtool"), **versions()}
    peers = ", ".join(f"{name} {release}" for name, release in installed.items())
    return (
        f"`python benchmarks/lr_finders.py --write`, {datetime.now(UTC):%Y-%m-%d}; {peers}; torch {torch.__version__}, Python "
        f"{platform.python_version()}, one thread. What is measured and how: the script's docstring."
    )


def _say(table: str) -> None:
    print(f"{table}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
