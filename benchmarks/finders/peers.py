"""The finders, each called as its documentation does: one function each, from a fresh setup to what it suggests."""

import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial, wraps
from importlib.metadata import version
from typing import Any

import matplotlib as mpl

from benchmarks.finders.cases import Setup

DISTRIBUTIONS = {
    "fastai": "fastai", "Lightning": "lightning", "torch-lr-finder": "torch-lr-finder", "Ignite": "pytorch-ignite",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """The ramp to ask a finder for; None leaves a finder's own default."""

    start_lr: float | None = None
    end_lr: float | None = None
    num_steps: int | None = None

    def arguments(self, start: str, end: str, steps: str) -> dict[str, Any]:
        """What is not None, under the names a finder has for it."""
        named = {start: self.start_lr, end: self.end_lr, steps: self.num_steps}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a finder suggests under each of its rules, None where it raised or returned None, and the steps it took."""

    picks: dict[str, float | None]
    num_steps: int


Finder = Callable[[Setup, Ramp], Found]


def versions() -> dict[str, str]:
    """The installed release of every peer."""
    return {name: version(distribution) for name, distribution in DISTRIBUTIONS.items()}


def fastai(setup: Setup, ramp: Ramp) -> Found:
    from fastai.callback.schedule import minimum, slide, steep, valley
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    with _quiet() as folder:
        learner = Learner(
            DataLoaders(setup.train_loader, setup.val_loader), setup.model, loss_func=setup.criterion,
            opt_func=partial(OptimWrapper, opt=setup.make_optimizer), path=folder,
        )  # fmt: skip
        found = learner.lr_find(
            **ramp.arguments("start_lr", "end_lr", "num_it"), show_plot=False,
            suggest_funcs=[_or_none(rule) for rule in (valley, slide, minimum, steep)],
        )  # fmt: skip
    return Found(picks=found._asdict(), num_steps=len(learner.recorder.losses))


def _or_none(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A rule of fastai that gives None where it raises for want of points, so that the others are heard all the same."""

    @wraps(rule)
    def pick(*arguments: Any) -> Any:
        try:
            return rule(*arguments)
        except (IndexError, ValueError):
            return None, None

    return pick


def lightning(setup: Setup, ramp: Ramp) -> Found:
    from lightning import LightningModule, Trainer
    from lightning.pytorch.tuner import Tuner

    class Module(LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model, self.lr = setup.model, 1e-3

        def training_step(self, batch: Any, index: int) -> Any:
            return setup.criterion(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return setup.make_optimizer(self.parameters())

    with _quiet() as folder:
        trainer = Trainer(
            logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            accelerator="cpu", max_epochs=1000, default_root_dir=folder,
        )  # fmt: skip
        arguments = ramp.arguments("min_lr", "max_lr", "num_training")
        found = Tuner(trainer).lr_find(
            Module(), train_dataloaders=setup.train_loader, **arguments, update_attr=False
        )  # fmt: skip
        assert found is not None
        return Found(picks={"steepest": found.suggestion()}, num_steps=len(found.results["loss"]))


def torch_lr_finder(setup: Setup, ramp: Ramp) -> Found:
    from torch_lr_finder import LRFinder

    with _quiet():
        finder = LRFinder(setup.model, setup.make_optimizer(setup.model.parameters()), setup.criterion)
        finder.range_test(setup.train_loader, **ramp.arguments("start_lr", "end_lr", "num_iter"))
        try:
            picked = finder.plot(ax=mpl.figure.Figure().add_subplot())[1]
        except RuntimeError:
            picked = None
        finder.reset()
    return Found(picks={"steepest": picked}, num_steps=len(finder.history["loss"]))


def ignite(setup: Setup, ramp: Ramp) -> Found:
    from ignite.engine import Engine
    from ignite.handlers import FastaiLRFinder

    optimizer = setup.make_optimizer(setup.model.parameters())

    def train_step(engine: Engine, batch: Any) -> float:
        setup.model.train()
        optimizer.zero_grad()
        loss = setup.criterion(setup.model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        return loss.item()

    trainer, finder = Engine(train_step), FastaiLRFinder()
    arguments = ramp.arguments("start_lr", "end_lr", "num_iter")
    with _quiet():
        with finder.attach(trainer, to_save={"model": setup.model, "optimizer": optimizer}, **arguments) as attached:
            attached.run(setup.train_loader)
        try:
            picked = finder.lr_suggestion()
        except RuntimeError:
            picked = None
    return Found(picks={"steepest": picked}, num_steps=len(finder.get_results()["loss"]))


PEERS: dict[str, Finder] = {
    "fastai": fastai, "Lightning": lightning, "torch-lr-finder": torch_lr_finder, "Ignite": ignite,
}  # fmt: skip


@contextmanager
def _quiet() -> Iterator[str]:
    """A folder that is deleted at the end, and nobody's progress bars, warnings and notes meanwhile."""
    mpl.use("Agg")
    logging.getLogger("lightning.pytorch").setLevel(logging.CRITICAL)
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield folder
