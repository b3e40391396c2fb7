"""A range test on live objects leaves them exactly as they were, however it ends."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

import lrtool
from lrtool.errors import WorkloadError
from lrtool.workload.restore import restored
from lrtool.workload.workload import Workload

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, needs_cuda])]

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.05),
    "momentum": lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=1e-4),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.01, betas=(0.8, 0.99)),
    "amsgrad, tensor lr": lambda groups: torch.optim.AdamW(groups, lr=torch.tensor(0.01), amsgrad=True),
}


@dataclass(frozen=True)
class Live:
    """A training that is under way: BatchNorm, dropout, two parameter groups, a scheduler, a shuffled loader."""

    model: nn.Sequential
    optimizer: torch.optim.Optimizer
    scheduler: Any
    loader: DataLoader[Any]
    device: str = "cpu"

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return F.mse_loss(model(batch[0].to(self.device)), batch[1].to(self.device))

    def train(self, num_steps: int) -> list[float]:
        """The user's own loop; from its start each time."""
        batches, losses = iter(self.loader), []
        for _ in range(num_steps):
            self.optimizer.zero_grad()
            loss = self.loss(self.model, next(batches))
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            losses.append(loss.item())
        return losses

    def workload(self, **options: Any) -> Workload:
        given = Workload(
            model=self.model,
            optimizer=self.optimizer,
            train_loader=self.loader,
            loss=self.loss,
            scheduler=self.scheduler,
        )
        return replace(given, **options)


def live(optimizer: str = "adam", *, steps_done: int = 5, device: str = "cpu", **loader_options: Any) -> Live:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 1)).to(device)
    groups = [{"params": model[0].parameters()}, {"params": [*model[1].parameters(), *model[4].parameters()]}]
    made = OPTIMIZERS[optimizer](groups)
    made.param_groups[1]["lr"] = made.param_groups[1]["lr"] * 2
    x = torch.randn(160, 4)
    options: dict[str, Any] = {"shuffle": True, "generator": torch.Generator().manual_seed(7)} | loader_options
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8, **options)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(made, 1000)
    training = Live(model, made, scheduler, loader, device)
    training.train(steps_done)
    return training


def range_test(workload: Workload) -> None:
    lrtool.range_test(workload, num_steps=30, end_lr=1.0, repeats=2, seed=3)


def everything(training: Live) -> dict[str, Any]:
    """All that training depends on, as plain values that compare by `==`."""
    model, optimizer = training.model, training.optimizer
    state = {
        "weights and buffers": list(model.state_dict().items()),
        "gradients": [parameter.grad for parameter in model.parameters()],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "modes": [module.training for module in model.modules()],
        "optimizer state": [list(state.items()) for state in optimizer.state.values()],
        "groups": [[(k, v) for k, v in group.items() if k != "params"] for group in optimizer.param_groups],
        "optimizer": sorted(vars(optimizer)),
        "scheduler": training.scheduler.state_dict(),
        "random": [random.getstate(), list(np.random.get_state()), torch.get_rng_state()],
        "loader": training.loader.generator and training.loader.generator.get_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    return {key: plain(value) for key, value in state.items()}


def plain(value: Any) -> Any:
    if isinstance(value, Tensor | np.ndarray):
        return str(value.dtype), str(getattr(value, "device", "")), value.tolist()
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def tensors(training: Live) -> list[Any]:
    """Every object that the user may hold a reference to."""
    model, optimizer = training.model, training.optimizer
    states = list(optimizer.state.values())
    values = [value for state in states for value in state.values() if isinstance(value, Tensor)]
    groups = [value for group in optimizer.param_groups for value in group.values() if isinstance(value, Tensor | list)]
    gradients = [parameter.grad for parameter in model.parameters()]
    holders = [*optimizer.param_groups, *states, *optimizer.state]
    return [*model.parameters(), *model.buffers(), *gradients, *values, *groups, *holders]


def assert_same_objects(before: list[Any], after: list[Any]) -> None:
    assert len(before) == len(after)
    assert all(old is new for old, new in zip(before, after, strict=True))


# --- a run that ends well ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("steps_done", [0, 5], ids=["fresh", "under way"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_everything_is_as_before(optimizer: str, steps_done: int, device: str) -> None:
    training = live(optimizer, steps_done=steps_done, device=device)
    values, objects = everything(training), tensors(training)
    range_test(training.workload())
    assert everything(training) == values
    assert_same_objects(objects, tensors(training))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_as_if_nothing_had_been(optimizer: str, device: str) -> None:
    uninterrupted = live(optimizer, device=device).train(15)
    training = live(optimizer, device=device)
    range_test(training.workload())
    assert training.train(15) == uninterrupted


def test_the_range_test_itself_does_move_things() -> None:
    training, seen = live(), []

    def loss(model: nn.Module, batch: Any) -> Tensor:
        seen.append(everything(training))
        return training.loss(model, batch)

    before = everything(training)
    range_test(training.workload(loss=loss))
    moved = {key for key in before if seen[-1][key] != before[key]}
    assert moved >= {"weights and buffers", "gradients", "optimizer state", "groups", "random", "loader"}


@pytest.mark.parametrize("gradients", ["none", "kept"])
def test_gradients_are_the_same_tensors_or_none(gradients: str) -> None:
    training = live()
    if gradients == "none":
        training.optimizer.zero_grad()
    before = [parameter.grad for parameter in training.model.parameters()]
    assert all((gradient is None) == (gradients == "none") for gradient in before)
    values = plain(before)
    range_test(training.workload())
    after = [parameter.grad for parameter in training.model.parameters()]
    assert_same_objects(before, after)
    assert plain(after) == values


@pytest.mark.parametrize("mode", ["eval", "frozen BatchNorm", "only the head trains"])
def test_the_mode_of_every_module_is_as_before(mode: str) -> None:
    training = live()
    if mode == "frozen BatchNorm":
        training.model[1].eval()
    else:
        training.model.eval()
        training.model[4].train(mode == "only the head trains")
    before = [module.training for module in training.model.modules()]
    range_test(training.workload())
    assert [module.training for module in training.model.modules()] == before


def test_frozen_parameters_stay_frozen_and_untouched() -> None:
    training = live()
    for parameter in training.model[0].parameters():
        parameter.requires_grad_(False)
    before = everything(training)
    range_test(training.workload())
    assert everything(training) == before


def test_a_parameter_that_belongs_to_no_module_is_put_back() -> None:
    training, temperature = live(), nn.Parameter(torch.ones(1))
    training.optimizer.add_param_group({"params": [temperature]})
    scheduler = torch.optim.lr_scheduler.ConstantLR(training.optimizer)
    range_test(
        training.workload(
            scheduler=scheduler, loss=lambda model, batch: training.loss(model, batch) * temperature.square().sum()
        )
    )
    assert temperature.tolist() == [1.0]


def test_live_objects_may_come_as_the_dict_a_factory_returns() -> None:
    training = live()
    before = everything(training)
    given = {"model": training.model, "optimizer": training.optimizer, "train_loader": training.loader}
    lrtool.range_test(given | {"loss": training.loss}, num_steps=20)
    assert everything(training) == before


# --- a run that ends badly --------------------------------------------------------------------------------------------


def failing_after(num_calls: int, error: BaseException, loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    calls = iter(range(num_calls))

    def failing(model: nn.Module, batch: Any) -> Tensor:
        if next(calls, None) is None:
            raise error
        return loss(model, batch)

    return failing


@pytest.mark.parametrize("num_calls", [0, 7], ids=["at once", "midway"])
def test_everything_is_as_before_when_the_loss_raises(num_calls: int) -> None:
    training = live()
    values, objects = everything(training), tensors(training)
    error = ValueError("no such sample")
    with pytest.raises(WorkloadError) as raised:
        range_test(training.workload(loss=failing_after(num_calls, error, training.loss)))
    assert raised.value.message == "the training step raised ValueError: no such sample"
    assert raised.value.__cause__ is error
    assert everything(training) == values
    assert_same_objects(objects, tensors(training))


@pytest.mark.parametrize("num_calls", [0, 7], ids=["at once", "midway"])
def test_everything_is_as_before_after_ctrl_c(num_calls: int) -> None:
    training = live()
    values, objects = everything(training), tensors(training)
    with pytest.raises(KeyboardInterrupt):
        range_test(training.workload(loss=failing_after(num_calls, KeyboardInterrupt(), training.loss)))
    assert everything(training) == values
    assert_same_objects(objects, tensors(training))


def test_weights_that_became_nan_are_put_back() -> None:
    training = live("sgd")
    before = everything(training)
    lrtool.range_test(training.workload(loss=lambda m, b: training.loss(m, b) * 1e12), num_steps=30, start_lr=1e-9)
    assert everything(training) == before


def test_gradients_are_not_lost_when_the_snapshot_itself_fails() -> None:
    training = live()
    training.optimizer.param_groups[0]["later"] = (number for number in range(9))  # cannot be put back
    before = [parameter.grad for parameter in training.model.parameters()]
    with pytest.raises(WorkloadError, match="cannot be put back"):
        range_test(training.workload())
    assert_same_objects(before, [parameter.grad for parameter in training.model.parameters()])


# --- steps that do more than train ------------------------------------------------------------------------------------


def rude_step(model: Any, batch: Any, optimizer: Any, scheduler: Any, loss: Any) -> Tensor:
    """A user's step that rearranges about all there is."""
    optimizer.zero_grad(set_to_none=False)
    value: Tensor = loss(model, batch)
    value.backward()
    optimizer.step()
    scheduler.step()
    model.eval()
    model[0].weight.requires_grad_(False)
    model[0].weight.data = model[0].weight.data * 2
    model[1].running_mean = torch.zeros(8)
    model[1].register_buffer("extra", torch.zeros(1))
    model[4].bias = nn.Parameter(torch.zeros(1))
    for group in optimizer.param_groups:
        group["betas"], group["note"] = (0.1, 0.2), "new"
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 1.0})
    optimizer.state[model[0].bias] = {"mine": torch.zeros(1)}
    optimizer.note = "new"
    return value


def test_everything_is_as_before_whatever_the_users_step_did() -> None:
    training = live()
    values, objects = everything(training), tensors(training)
    places = [tensor.data_ptr() for tensor in training.model.parameters()]
    with restored(training.workload()):
        batch = next(iter(training.loader))
        rude_step(training.model, batch, training.optimizer, training.scheduler, training.loss)
    assert everything(training) == values
    assert_same_objects(objects, tensors(training))
    assert [tensor.data_ptr() for tensor in training.model.parameters()] == places


def test_a_buffer_whose_elements_share_memory_is_no_obstacle() -> None:
    training = live()
    training.model.register_buffer("ones", torch.ones(1).expand(3))
    before = everything(training)
    range_test(training.workload())
    assert everything(training) == before


# --- loaders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"generator": None},
        {"shuffle": False, "generator": None},
        {"shuffle": None, "sampler": torch.utils.data.WeightedRandomSampler([1.0] * 160, 160)},
        {"num_workers": 1},
        {"num_workers": 1, "persistent_workers": True},
    ],
    ids=["shuffled by torch's generator", "in order", "sampler", "worker", "persistent worker"],
)
def test_the_order_of_batches_is_as_if_nothing_had_been(options: dict[str, Any]) -> None:
    uninterrupted = live(steps_done=0, **options).train(15)
    training = live(steps_done=0, **options)
    range_test(training.workload())
    assert training.train(15) == uninterrupted


def test_an_epoch_under_way_goes_on_where_it_was() -> None:
    def drawn(*, interrupted: bool) -> list[Any]:
        training = live(persistent_workers=True, num_workers=1)
        batches = iter(training.loader)
        first = [next(batches) for _ in range(3)]
        if interrupted:
            range_test(training.workload())
        return plain([*first, *batches])  # type: ignore[no-any-return]

    assert drawn(interrupted=True) == drawn(interrupted=False)


class Augmented(Dataset[Any]):
    """A data set that adds noise from generators of its own."""

    def __init__(self) -> None:
        self.torch, self.numpy, self.python = torch.Generator(), np.random.default_rng(0), random.Random(0)

    def __len__(self) -> int:
        return 160

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        noise = self.numpy.random() + self.python.random()
        return torch.rand(4, generator=self.torch) + noise, torch.zeros(1)


def test_generators_that_the_data_set_owns_are_put_back() -> None:
    def losses(*, interrupted: bool) -> list[float]:
        training = live()
        augmented = replace(training, loader=DataLoader(Augmented(), batch_size=8))
        if interrupted:
            range_test(augmented.workload())
        return augmented.train(15)

    assert losses(interrupted=True) == losses(interrupted=False)


# --- schedulers -------------------------------------------------------------------------------------------------------

SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "cyclic": lambda o: torch.optim.lr_scheduler.CyclicLR(o, 1e-3, 1e-1, step_size_up=7, cycle_momentum=True),
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=200),
    "lambda": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 0.9**step),
    "sequential": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o,
        [torch.optim.lr_scheduler.ConstantLR(o), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)],
        milestones=[8],
    ),
}


@pytest.fixture(params=SCHEDULERS)
def scheduled(request: pytest.FixtureRequest) -> Callable[[], Live]:
    def make() -> Live:
        training = live("momentum", steps_done=0)
        training = replace(training, scheduler=SCHEDULERS[request.param](training.optimizer))
        training.train(5)
        return training

    return make


def test_a_scheduler_goes_on_as_if_nothing_had_been(scheduled: Callable[[], Live]) -> None:
    def stepping(model: Any, batch: Any, optimizer: Any, scheduler: Any, loss: Any) -> Tensor:
        optimizer.zero_grad()
        value: Tensor = loss(model, batch)
        value.backward()
        optimizer.step()
        scheduler.step()
        return value

    uninterrupted = scheduled().train(15)
    training = scheduled()
    before = everything(training)
    range_test(training.workload(step=stepping))
    assert everything(training) == before
    assert training.train(15) == uninterrupted
