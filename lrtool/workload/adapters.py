"""Whatever a factory may return, as a Workload: a dict, a LightningModule or a Hugging Face Trainer.

Lightning and transformers are recognised by the names in a class's ancestry, so neither is imported here: who returns
one has imported it already.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lrtool.errors import WorkloadError
from lrtool.workload.batches import move
from lrtool.workload.frameworks.loops import (
    LIGHTNING,
    evaluate_lightning,
    evaluate_trainer,
    overrides,
    with_epoch_hooks,
)
from lrtool.workload.frameworks.manual_optimization import manual_step, stand_in
from lrtool.workload.schedulers import EpochScheduler, takes_loss
from lrtool.workload.user_code import user_code
from lrtool.workload.workload import CONVENTION, Workload, from_mapping, loader_length


def as_workload(returned: Any, *, name: str) -> Workload:
    """The workload of what the factory `name` returned. Raises WorkloadError that says what is missing."""
    if isinstance(returned, Workload):
        return returned
    if isinstance(returned, Mapping):
        return from_mapping(returned, name=name)
    if is_lightning_module(returned):
        return from_lightning(returned)
    if isinstance(returned, tuple) and len(returned) == 2 and is_lightning_module(returned[0]):
        return from_lightning(returned[0], data=returned[1])
    if is_trainer(returned):
        return from_trainer(returned)
    if isinstance(returned, nn.Module):
        raise bare_module(f"{name} returned a bare nn.Module ({type(returned).__name__})")
    forgot = ": is its `return` missing?" if returned is None else f" ({type(returned).__name__}), which is no workload"
    raise WorkloadError(f"{name} returned {returned if returned is None else 'an object'}{forgot}", hint=CONVENTION)


def bare_module(sentence: str) -> WorkloadError:
    return WorkloadError(
        f"{sentence}: an optimizer, a train_loader and a loss are missing",
        hint='write `def build(): return {"model": ..., "optimizer": ..., "train_loader": ..., "loss": ...}`',
    )


def is_lightning_module(value: object) -> bool:
    return is_lightning_class(type(value))


def is_lightning_class(value: type) -> bool:
    return _descends(value, "LightningModule", LIGHTNING)


def is_trainer(value: object) -> bool:
    return _descends(type(value), "Trainer", ("transformers",))


def from_lightning(module: Any, *, data: Any = None) -> Workload:
    """A LightningModule, with one optimizer or, where it optimizes manually, with several; `data` is a datamodule or a loader.

    There is no Lightning Trainer: of its hooks those that make layers, data and batches are called, and logs go nowhere.
    """
    name = type(module).__name__
    datamodule = data if hasattr(data, "train_dataloader") else None
    module.log = module.log_dict = _log_nothing  # without a Trainer each call would only warn
    _set_up_lightning(module, datamodule)
    with user_code(f"{name}.configure_optimizers()"):
        configured = module.configure_optimizers()
    loader = _lightning_loader(module, datamodule, "train") if data is datamodule else data
    loader = with_epoch_hooks(module, loader)
    if not module.automatic_optimization:
        return _manual(module, configured, loader, prepare=_lightning_move(module, datamodule))
    return Workload(
        model=module,
        optimizer=_one_optimizer(configured, name),
        train_loader=loader,
        scheduler=_lightning_scheduler(configured, loader),
        loss=_lightning_loss(module),
        prepare=_lightning_move(module, datamodule),
        evaluate=partial(_evaluate_lightning, module, datamodule) if overrides(module, "validation_step") else None,
    )


def _manual(module: Any, configured: Any, loader: Any, *, prepare: Callable[..., Any]) -> Workload:
    """A LightningModule whose training_step moves its optimizers by itself."""
    optimizers = _optimizers(configured)
    if not optimizers:
        raise _no_optimizer(type(module).__name__)
    stand_in(module, optimizers, _schedulers(configured))
    name = f"{type(module).__name__}.training_step()"
    return Workload(
        model=module,
        optimizer=cast(torch.optim.Optimizer, optimizers if len(optimizers) > 1 else optimizers[0]),
        train_loader=loader,
        step=manual_step(_training_step(module), name),
        prepare=prepare,
    )


def from_trainer(trainer: Any) -> Workload:
    """A Hugging Face Trainer: its model, optimizer, loader, loss, precision, accumulation and clipping."""
    arguments = trainer.args
    with user_code("the Trainer"):
        optimizer = trainer.optimizer or trainer.create_optimizer()
        loader = trainer.get_train_dataloader()
    return Workload(
        model=trainer.model,
        optimizer=getattr(optimizer, "optimizer", optimizer),  # accelerate wraps it
        train_loader=loader,
        loss=partial(trainer_loss, trainer),
        prepare=move,
        precision="bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "fp32",
        accumulate=arguments.gradient_accumulation_steps,
        clip_norm=arguments.max_grad_norm or None,
        evaluate=partial(evaluate_trainer, trainer) if getattr(trainer, "eval_dataset", None) is not None else None,
    )


def _descends(value: type, name: str, packages: tuple[str, ...]) -> bool:
    return any(c.__name__ == name and c.__module__.partition(".")[0] in packages for c in value.__mro__)


def _one_optimizer(configured: Any, name: str) -> torch.optim.Optimizer:
    found = _optimizers(configured)
    if len(found) > 1:
        raise WorkloadError(
            f"{name} configures {len(found)} optimizers, which Lightning trains by manual optimization only",
            hint="set automatic_optimization = False and step them in training_step, or return a dict with them",
        )
    if not found:
        raise _no_optimizer(name)
    return cast(torch.optim.Optimizer, found[0])


def _no_optimizer(name: str) -> WorkloadError:
    return WorkloadError(f"{name}.configure_optimizers() gives no optimizer", hint="return one from it")


def _entries(configured: Any) -> tuple[list[Any], list[Any]]:
    """Optimizers and schedulers in the forms of configure_optimizers: one, a list, (optimizers, schedulers), dicts."""
    if isinstance(configured, tuple | list) and len(configured) == 2 and isinstance(configured[0], tuple | list):
        return list(configured[0]), list(configured[1] or [])
    entries = list(configured) if isinstance(configured, tuple | list) else [configured]
    optimizers = [each.get("optimizer") if isinstance(each, Mapping) else each for each in entries]
    schedulers = [each.get("lr_scheduler") for each in entries if isinstance(each, Mapping)]
    return optimizers, schedulers


def _optimizers(configured: Any) -> list[Any]:
    found = (each.get("optimizer") if isinstance(each, Mapping) else each for each in _entries(configured)[0])
    return [each for each in found if each is not None]


def _schedulers(configured: Any) -> list[Any]:
    found = (each.get("scheduler") if isinstance(each, Mapping) else each for each in _entries(configured)[1])
    return [each for each in found if each is not None]


def _lightning_scheduler(configured: Any, loader: Any) -> Any:
    """The scheduler that configure_optimizers returned, moved on as Lightning would; None for one that waits for a metric."""
    found = [each for each in _entries(configured)[1] if each is not None]
    config = found[0] if len(found) == 1 and isinstance(found[0], Mapping) else {"scheduler": (*found, None)[0]}
    scheduler, every = config.get("scheduler"), config.get("frequency", 1)
    if len(found) > 1 or scheduler is None or takes_loss(scheduler):
        return None
    if config.get("interval", "epoch") == "epoch":
        every *= loader_length(loader) or 1
    return EpochScheduler(scheduler, every_steps=every) if every > 1 else scheduler


def _log_nothing(*arguments: Any, **options: Any) -> None:
    pass


def _set_up_lightning(module: Any, datamodule: Any) -> None:
    """Call the hooks that make data and layers, in Lightning's order."""
    for hook, *arguments in (("prepare_data",), ("setup", "fit"), ("configure_model",)):
        for owner in (datamodule, module):
            if overrides(owner, hook):
                with user_code(f"{type(owner).__name__}.{hook}()"):
                    getattr(owner, hook)(*arguments)


def _evaluate_lightning(module: Any, datamodule: Any, device: torch.device) -> None:
    evaluate_lightning(
        module, _lightning_loader(module, datamodule, "val"), _lightning_move(module, datamodule), device
    )


def _lightning_loader(module: Any, datamodule: Any, kind: Literal["train", "val"]) -> Any:
    source, name = module if datamodule is None else datamodule, f"{kind}_dataloader"
    doing = f"{type(source).__name__}.{name}()"
    with user_code(doing):
        loader = getattr(source, name)() if overrides(source, name) else None
    if loader is None:
        raise WorkloadError(
            f"{type(source).__name__} has no {name}",
            hint="give it one, or return (module, datamodule) or (module, train_loader) from build()",
        )
    is_sequence_of_loaders = isinstance(loader, tuple | list) and any(isinstance(item, DataLoader) for item in loader)
    if is_sequence_of_loaders or isinstance(loader, Mapping) or type(loader).__name__ == "CombinedLoader":
        raise WorkloadError(
            f"{doing} returned several loaders (a {type(loader).__name__})",
            hint="return (module, train_loader) from build(), with one loader that joins their batches",
        )
    return loader


def _training_step(module: Any) -> Callable[[Any], Any]:
    """training_step as a function of the batch alone, which counts them."""
    indexes = count()
    try:
        inspect.signature(module.training_step).bind(None, 0)
    except TypeError:
        return lambda batch: module.training_step(batch)
    return lambda batch: module.training_step(batch, next(indexes))


def _lightning_loss(module: Any) -> Callable[[nn.Module, Any], Tensor]:
    name, training_step = f"{type(module).__name__}.training_step()", _training_step(module)

    def loss(model: nn.Module, batch: Any) -> Tensor:
        output = training_step(batch)
        if isinstance(output, Mapping):
            output = output.get("loss", output)
        if output is None or isinstance(output, Mapping):
            returned = "None" if output is None else "a dict without 'loss'"
            raise WorkloadError(f"{name} returned {returned}", hint="return the loss, or a dict with it")
        return cast(Tensor, output)

    return loss


def _lightning_move(module: Any, datamodule: Any) -> Callable[[Any, torch.device], Any]:
    def hook(name: str) -> Callable[..., Any]:
        return cast(Callable[..., Any], getattr(datamodule if overrides(datamodule, name) else module, name))

    before, transfer = hook("on_before_batch_transfer"), hook("transfer_batch_to_device")
    after = hook("on_after_batch_transfer")

    def moved(batch: Any, device: torch.device) -> Any:
        return after(transfer(before(batch, 0), device, 0), 0)

    return moved


def trainer_loss(trainer: Any, model: nn.Module, batch: Any) -> Tensor:
    return cast(Tensor, trainer.compute_loss(model, batch))
