"""Whether `--per-group` finds LRs worth having: regret of its suggestion, and of one LR for all, on a grid of LR pairs.

    python benchmarks/parameter_groups.py [--seeds 3] [--quick] [--write]

Two workloads on the bundled digits, two optimizers each: an MLP trained on the digits 0 to 4 whose new head learns 5 to 9
(body and head), and a linear classifier that sees one half of the pixels a twentieth as large as the other (a group for each
half). Each is trained for 200 steps, two triangles from a tenth of max_lr, at every pair of LRs half a decade apart, two
seeds: the truth. Regret is the part of the reachable fall of the validation loss that is lost, 0 to 1, interpolated in the
logarithms of both LRs. `--write` puts the table into RESULTS.md.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor, nn

import lrtool
from benchmarks.finders.tables import as_table, write_section
from benchmarks.finders.truth import triangles
from lrtool.examples.digits import cross_entropy, digits, mlp
from lrtool.examples.loading import loaders

HEADING = "## A range for each parameter group"
STEPS = 200
SEEDS_OF_TRUTH = 2
Build = Callable[..., dict[str, Any]]


class Halves(nn.Module):
    """A linear classifier with weights of its own for the even and for the odd pixels, which come a twentieth as large."""

    def __init__(self) -> None:
        super().__init__()
        self.even, self.odd = nn.Linear(32, 10), nn.Linear(32, 10, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.flatten(1)
        logits: Tensor = self.even(pixels[:, ::2]) + self.odd(0.05 * pixels[:, 1::2])
        return logits


def build_halves(optimizer: str, seed: int = 0) -> dict[str, Any]:
    model = Halves()
    train_loader, val_loader = loaders(digits(), num_train=1400, batch_size=64, seed=seed)
    return _setup(model, [model.even, model.odd], optimizer, (train_loader, val_loader))


def build_fine_tuning(optimizer: str, seed: int = 0) -> dict[str, Any]:
    images, labels = digits()
    model = mlp()
    head = list(model.children())[-1]
    fresh = {name: value.clone() for name, value in head.state_dict().items()}
    model.load_state_dict(_pretrained())
    head.load_state_dict(fresh)
    new = labels >= 5
    both = loaders((images[new], labels[new] - 5), num_train=600, batch_size=32, seed=seed)
    return _setup(model, [nn.Sequential(*list(model.children())[:-1]), head], optimizer, both)


def _pretrained() -> dict[str, Any]:
    """Weights of the MLP after 300 steps on the digits 0 to 4, the same at every call; torch's generator is left alone."""
    images, labels = digits()
    images, labels = images[labels < 5], labels[labels < 5]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        model = mlp()
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(300):
            rows = torch.randint(len(images), (64,))
            optimizer.zero_grad()
            cross_entropy(model, (images[rows], labels[rows])).backward()
            optimizer.step()
    return model.state_dict()


def _setup(model: nn.Module, parts: Sequence[nn.Module], optimizer: str, both: tuple[Any, Any]) -> dict[str, Any]:
    groups = [{"params": list(part.parameters())} for part in parts]
    made: torch.optim.Optimizer = (
        torch.optim.SGD(groups, lr=0.1, momentum=0.9) if optimizer == "sgdm" else torch.optim.AdamW(groups, lr=1e-3)
    )
    return {
        "model": model, "optimizer": made, "train_loader": both[0], "val_loader": both[1], "loss": cross_entropy,
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """A workload of two groups, and the lowest LR of each group's grid of `num_lrs` half a decade apart."""

    name: str
    build: Build
    optimizer: str
    lowest: tuple[float, float]
    num_lrs: int = 9

    def grid(self, group: int) -> list[float]:
        """The LRs tried for one group."""
        return [self.lowest[group] * 10 ** (index / 2) for index in range(self.num_lrs)]

    def make(self, seed: int) -> dict[str, Any]:
        """The workload from `seed`."""
        torch.manual_seed(seed)
        return self.build(self.optimizer, seed=seed)


CASES = (
    Case(name="fine-tuning, SGD", build=build_fine_tuning, optimizer="sgdm", lowest=(1e-3, 1e-4)),
    Case(name="fine-tuning, AdamW", build=build_fine_tuning, optimizer="adamw", lowest=(1e-4, 1e-4)),
    Case(name="halves, SGD", build=build_halves, optimizer="sgdm", lowest=(1e-2, 1e-1)),
    Case(name="halves, AdamW", build=build_halves, optimizer="adamw", lowest=(1e-3, 1e-2)),
)


def regrets_of_pairs(case: Case) -> list[list[float]]:
    """Regret at every pair of the grid: rows by the first group's LR."""
    seeds = range(SEEDS_OF_TRUTH)
    initial = statistics.mean(_validation_loss(case.make(seed)) for seed in seeds)
    losses = [
        [[_train(case.make(seed), (first, second)) for seed in seeds] for second in case.grid(1)]
        for first in case.grid(0)
    ]
    best = min(statistics.mean(pair) for row in losses for pair in row)
    span = initial - best
    return [[statistics.mean(min(1.0, max(0.0, (x - best) / span)) for x in pair) for pair in row] for row in losses]


def regret(case: Case, values: list[list[float]], lrs: Sequence[float] | None) -> float:
    """Bilinear in the logarithms; LRs beyond the grid are taken at its edge, no suggestion is 1."""
    if lrs is None:
        return 1.0
    at = [2 * math.log10(lr / lowest) for lr, lowest in zip(lrs, case.lowest, strict=True)]
    at = [min(max(each, 0.0), case.num_lrs - 1.0) for each in at]
    cell = [min(int(each), case.num_lrs - 2) for each in at]
    part = [each - corner for each, corner in zip(at, cell, strict=True)]
    corners = [(i, j) for i in (0, 1) for j in (0, 1)]
    return sum(
        values[cell[0] + i][cell[1] + j] * (part[0] if i else 1 - part[0]) * (part[1] if j else 1 - part[1])
        for i, j in corners
    )


def suggested(case: Case, *, seed: int, per_group: bool) -> list[float] | None:
    """max_lr of each group, over a ramp that goes as far up as the odd half of the pixels needs."""
    found = lrtool.range_test(lambda: case.make(seed), seed=seed, per_group=per_group, end_lr=1e3)
    highs = [group.max_lr for group in found.param_groups if group.max_lr is not None]
    return highs if len(highs) == len(found.param_groups) else None


def _train(setup: dict[str, Any], lrs: Sequence[float]) -> float:
    optimizer = setup["optimizer"]
    batches = islice(cycle_epochs(setup["train_loader"]), STEPS)
    for index, batch in enumerate(batches):
        for group, lr in zip(optimizer.param_groups, lrs, strict=True):
            group["lr"] = lr * triangles(index / STEPS)
        optimizer.zero_grad(set_to_none=True)
        loss = setup["loss"](setup["model"], batch)
        if not math.isfinite(loss.item()):
            return math.inf
        loss.backward()
        optimizer.step()
    return _validation_loss(setup)


def cycle_epochs(loader: Any) -> Any:
    """Batches without end, shuffled anew in every epoch."""
    return (batch for epoch in cycle([loader]) for batch in epoch)


def _validation_loss(setup: dict[str, Any]) -> float:
    with torch.no_grad():
        (batch,) = setup["val_loader"]
        loss: float = setup["loss"](setup["model"], batch).item()
    return loss if math.isfinite(loss) else math.inf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the range tests")
    parser.add_argument("--quick", action="store_true", help="one case, one seed")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/RESULTS.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [_row(case, 1 if options.quick else options.seeds) for case in CASES[: 1 if options.quick else None]]
    table = as_table(
        ["regret, mean (worst)", "best single LR", "range-test", "range-test --per-group", "max_lr found per group"],
        rows,
    )
    print(table)
    if options.write:
        head = (
            f"`python benchmarks/parameter_groups.py --write`, torch {torch.__version__}; {options.seeds} seeds a test."
        )
        write_section(Path(__file__).with_name("RESULTS.md"), f"{head}\n\n{table}", heading=HEADING)


def _row(case: Case, num_seeds: int) -> list[str]:
    values = regrets_of_pairs(case)
    single = min(regret(case, values, (lr, lr)) for group in (0, 1) for lr in case.grid(group))
    one = [regret(case, values, suggested(case, seed=seed, per_group=False)) for seed in range(num_seeds)]
    pairs = [suggested(case, seed=seed, per_group=True) for seed in range(num_seeds)]
    each = [regret(case, values, pair) for pair in pairs]
    shown = "; ".join("none" if pair is None else ", ".join(f"{lr:.2g}" for lr in pair) for pair in pairs)
    print(f"{case.name}: done", file=sys.stderr)
    return [case.name, f"{single:.3f}", *(f"{statistics.mean(r):.3f} ({max(r):.3f})" for r in (one, each)), shown]


if __name__ == "__main__":
    main()
