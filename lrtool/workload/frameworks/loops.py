"""What the loops of Lightning's and transformers' trainers do around the steps: evaluation, and hooks at an epoch's end.

Neither library is imported here: who hands over a module or a Trainer has imported it.
"""

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from itertools import count
from typing import Any

import torch

from lrtool.workload.user_code import user_code

LIGHTNING = ("lightning", "pytorch_lightning")
EPOCH_HOOKS = ("on_train_epoch_start", "on_train_epoch_end")


def overrides(owner: Any, hook: str) -> bool:
    """Whether a method of a LightningModule or LightningDataModule is the user's own."""
    method = getattr(owner, hook, None)
    return method is not None and getattr(method, "__module__", "").partition(".")[0] not in LIGHTNING


def with_epoch_hooks(module: Any, loader: Any) -> Any:
    """The loader itself; where the module has hooks of its own at an epoch's ends, one that calls them."""
    return _HookedLoader(module, loader) if any(overrides(module, hook) for hook in EPOCH_HOOKS) else loader


class _HookedLoader:
    """A loader that calls a LightningModule's hooks as an epoch begins, and as it ends."""

    def __init__(self, module: Any, loader: Iterable[Any]) -> None:
        self._module, self._loader = module, loader

    def __iter__(self) -> Iterator[Any]:
        call_hook(self._module, "on_train_epoch_start")
        yield from self._loader
        call_hook(self._module, "on_train_epoch_end")

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]


def call_hook(module: Any, hook: str) -> None:
    """Call a hook if it is the user's own. One that needs a Trainer, which there is not, is left out with a warning."""
    if not overrides(module, hook):
        return
    try:
        with user_code(f"{type(module).__name__}.{hook}()"):
            getattr(module, hook)()
    except Exception as error:
        if "not attached to a `Trainer`" not in str(error):
            raise
        warnings.warn(f"{hook}() needs a Lightning Trainer, and was left out", stacklevel=2)


def evaluate_lightning(module: Any, loader: Any, move: Callable[..., Any], device: torch.device) -> None:
    """Lightning's validation loop, and then what the module does at the epoch's end."""
    takes_index = len(inspect.signature(module.validation_step).parameters) > 1
    module.eval()
    with torch.no_grad():
        call_hook(module, "on_validation_epoch_start")
        for index, batch in zip(count(), loader):
            moved = move(batch, device)
            module.validation_step(moved, index) if takes_index else module.validation_step(moved)
        call_hook(module, "on_validation_epoch_end")
    module.train()
    call_hook(module, "on_train_epoch_end")


def evaluate_trainer(trainer: Any, device: torch.device) -> None:
    """The memory that `Trainer.evaluation_loop` takes: predictions are joined on the device until they go to the CPU.

    As in transformers 4.38 to 5: with `compute_metrics` logits and labels are kept, and with `eval_accumulation_steps` they
    leave the device after so many batches. The metrics themselves are computed on the CPU, and are left out.
    """
    arguments, join = trainer.args, import_module("transformers.trainer_pt_utils").nested_concat
    loss_only = arguments.prediction_loss_only or trainer.compute_metrics is None
    preprocess = trainer.preprocess_logits_for_metrics
    kept: dict[str, Any] = {}
    model = trainer.model
    model.eval()
    for number, inputs in enumerate(trainer.get_eval_dataloader(), 1):
        loss, logits, labels = trainer.prediction_step(model, _moved(inputs, device), loss_only)
        if logits is not None and preprocess is not None:
            logits = preprocess(logits, labels)
        losses = None if loss is None else loss.repeat(arguments.eval_batch_size)
        for name, value in (("losses", losses), ("logits", logits), ("labels", labels)):
            if value is not None:
                kept[name] = value if name not in kept else join(kept[name], value, padding_index=-100)
        del loss, losses, logits, labels, value
        if arguments.eval_accumulation_steps is not None and number % arguments.eval_accumulation_steps == 0:
            kept.clear()
    model.train()


def _moved(inputs: Any, device: torch.device) -> Any:
    return {name: value.to(device) if hasattr(value, "to") else value for name, value in inputs.items()}
