"""One training step, as everything that measures takes it, and the batches it takes."""

import warnings
from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import lrtool
from lrtool.errors import UnavailableError, UsageError, WorkloadError
from lrtool.lr.loss_reader import MIN_STEPS_BETWEEN_READS
from lrtool.lr.measure import run_ramp
from lrtool.workload.batches import Batches, LoaderEnded, move
from lrtool.workload.devices import pick_device, place
from lrtool.workload.step import Step, make_step, with_scheduler
from lrtool.workload.workload import Workload
from tests.conftest import Lrtool

CPU = torch.device("cpu")
META = torch.device("meta")  # a device that every machine has, and that is not the CPU
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

Batch = tuple[Tensor, Tensor]


def some_batches(count: int = 4, size: int = 4) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(size, 3, generator=generator), torch.randn(size, 1, generator=generator) / 10)
        for _ in range(count)
    ]


def squared_error(model: nn.Module, batch: Batch) -> Tensor:
    return F.mse_loss(model(batch[0]), batch[1])


def small_model() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def workload(**options: Any) -> Workload:
    """A linear regression; `options` replace its parts."""
    model = options.setdefault("model", small_model())
    options.setdefault("optimizer", torch.optim.SGD(model.parameters(), lr=0.1))
    options.setdefault("train_loader", some_batches())
    options.setdefault("loss", squared_error)
    return Workload(**options)


def step_of(setup: Workload, device: torch.device = CPU) -> Step:
    return make_step(setup, device, Batches(setup.train_loader))


def weights(setup: Workload) -> Tensor:
    return torch.cat([p.detach().flatten().cpu() for p in setup.model.parameters()])


# --- the step ---------------------------------------------------------------------------------------------------------


def test_a_step_does_what_the_plain_loop_does() -> None:
    setup, by_hand, batches = workload(), small_model(), some_batches()
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1)
    step = step_of(setup)
    for batch in batches:
        optimizer.zero_grad()
        loss = squared_error(by_hand, batch)
        loss.backward()
        optimizer.step()
        assert torch.equal(step(), loss.detach())
    assert torch.equal(weights(setup), torch.cat([p.detach().flatten() for p in by_hand.parameters()]))


def test_the_loss_a_step_returns_holds_no_graph() -> None:
    assert not step_of(workload())().requires_grad
    assert not step_of(workload(accumulate=2))().requires_grad


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}])
def test_old_gradients_are_set_to_none_so_that_unused_weights_stay(options: dict[str, Any]) -> None:
    model, unused = small_model(), nn.Parameter(torch.ones(2))
    unused.grad = torch.ones(2)
    step_of(workload(model=model, optimizer=torch.optim.SGD([*model.parameters(), unused], lr=0.1), **options))()
    assert unused.grad is None
    assert unused.tolist() == [1, 1]


def test_all_parameter_groups_are_trained_each_at_its_own_lr() -> None:
    model = small_model()
    before = model.weight.detach().clone(), model.bias.detach().clone()
    groups = [{"params": [model.weight], "lr": 0.5}, {"params": [model.bias], "lr": 0.25}]
    step_of(workload(model=model, optimizer=torch.optim.SGD(groups)))()
    assert model.weight.grad is not None
    assert model.bias.grad is not None
    assert torch.allclose(model.weight, before[0] - 0.5 * model.weight.grad)
    assert torch.allclose(model.bias, before[1] - 0.25 * model.bias.grad)


def test_micro_batches_equal_one_step_on_the_joined_batch() -> None:
    quarters = some_batches(4, size=2)
    whole = [(torch.cat([x for x, _ in quarters]), torch.cat([y for _, y in quarters]))]
    joined, accumulated = workload(train_loader=whole), workload(train_loader=quarters, accumulate=4)
    loss, mean_loss = step_of(joined)(), step_of(accumulated)()
    assert torch.allclose(mean_loss, loss)
    assert torch.allclose(weights(accumulated), weights(joined))


def test_micro_batches_run_on_into_the_next_epoch() -> None:
    setup = workload(train_loader=some_batches(3), accumulate=2)
    batches = Batches(setup.train_loader)
    step = make_step(setup, CPU, batches)
    for _ in range(3):
        step()
    assert next(iter(batches))[0] is setup.train_loader[0][0]  # type: ignore[index]


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"precision": "fp16"}])
def test_clipping_limits_the_norm_of_the_whole_gradient(options: dict[str, Any]) -> None:
    model = small_model()
    setup = workload(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=1.0), clip_norm=0.01, **options)
    before = weights(setup)
    step_of(setup)()
    assert (weights(setup) - before).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_a_gradient_below_the_limit_is_not_clipped() -> None:
    clipped, free = workload(clip_norm=100.0), workload()
    step_of(clipped)()
    step_of(free)()
    assert torch.equal(weights(clipped), weights(free))


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_autocast_computes_in_half_precision_and_trains_whole_weights(precision: str, dtype: torch.dtype) -> None:
    seen = []

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        output = model(batch[0])
        seen.append(output.dtype)
        return F.mse_loss(output, batch[1])

    half, full = workload(loss=loss, precision=precision), workload()
    losses = step_of(half)().item(), step_of(full)().item()
    assert seen == [dtype]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert weights(half).dtype == torch.float32
    assert torch.allclose(weights(half), weights(full), atol=0.01)  # so the scaled gradients were scaled back
    assert not torch.equal(weights(half), weights(workload()))


def test_an_fp16_step_whose_gradients_overflow_changes_nothing_and_the_next_ones_recover() -> None:
    far_off = [(x, y + 100) for x, y in some_batches(20)]
    setup = workload(train_loader=far_off, precision="fp16")
    before, step = weights(setup), step_of(setup)
    step()
    assert torch.equal(weights(setup), before)
    for _ in range(19):
        step()
    assert not torch.equal(weights(setup), before)
    assert weights(setup).isfinite().all()


def test_the_scheduler_steps_once_after_each_step() -> None:
    setup = workload()
    scheduler = torch.optim.lr_scheduler.ExponentialLR(setup.optimizer, 0.5)
    step = with_scheduler(step_of(setup), scheduler)
    for _ in range(3):
        step()
    assert scheduler.last_epoch == 3
    assert setup.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 8)


def test_without_a_scheduler_the_step_stays_as_it_is() -> None:
    step = step_of(workload())
    assert with_scheduler(step, None) is step


def test_an_lr_kept_as_a_tensor_trains_as_its_number_does() -> None:
    def build(lr: Any) -> Workload:
        model = small_model()
        return workload(model=model, optimizer=torch.optim.Adam(model.parameters(), lr=lr), train_loader=some_batches())

    number = lrtool.range_test(lambda: build(0.1), num_steps=20, device="cpu")
    tensor = lrtool.range_test(lambda: build(torch.tensor(0.1)), num_steps=20, device="cpu")
    assert tensor.curve.loss == pytest.approx(number.curve.loss, rel=1e-5)


# --- the user's own step ----------------------------------------------------------------------------------------------


def test_a_given_step_gets_what_its_parameters_name_in_any_order() -> None:
    seen: dict[str, Any] = {}

    def step(loss: Any, device: Any, scheduler: Any, optimizer: Any, batch: Any, model: Any) -> Tensor:
        seen.update(loss=loss, device=device, scheduler=scheduler, optimizer=optimizer, batch=batch, model=model)
        return torch.tensor(1.0)

    model = small_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    setup = workload(model=model, optimizer=optimizer, scheduler=scheduler, step=step)
    assert step_of(setup)().item() == 1.0
    assert seen["model"] is model
    assert seen["optimizer"] is optimizer
    assert seen["scheduler"] is scheduler
    assert seen["loss"] is squared_error
    assert seen["device"] == CPU
    assert seen["batch"] is setup.train_loader[0]  # type: ignore[index]


def test_a_given_step_keeps_its_own_defaults() -> None:
    def step(model: Any, batch: Any, optimizer: Any, scale: float = 7.0) -> Tensor:
        return torch.tensor(scale)

    assert step_of(workload(step=step))().item() == 7.0


def test_a_given_step_keeps_a_default_for_what_the_workload_has_not() -> None:
    def step(model: Any, batch: Any, loss: Any = squared_error, scheduler: Any = "mine") -> Tensor:
        assert scheduler == "mine"
        return loss(model, batch)  # type: ignore[no-any-return]

    assert step_of(workload(step=step, loss=None))().item() == step_of(workload())().item()


def trained(model: Any, batch: Any, optimizer: Any, /) -> Tensor:
    loss = squared_error(model, batch)
    loss.backward()
    optimizer.step()
    return loss


@pytest.mark.parametrize(
    "step",
    [lambda m, b, o: trained(m, b, o), lambda *given: trained(*given), trained],
    ids=["names of its own", "*args", "positional only"],
)
def test_a_step_that_names_its_parameters_otherwise_gets_model_batch_and_optimizer(step: Callable[..., Any]) -> None:
    own, standard = workload(step=step), workload()
    assert step_of(own)().item() == step_of(standard)().item()
    assert torch.equal(weights(own), weights(standard))


def test_a_step_may_have_no_parameters() -> None:
    assert step_of(workload(step=lambda: 0.5))().item() == 0.5


def test_a_step_of_two_parameters_gets_model_and_batch() -> None:
    assert step_of(workload(step=lambda m, b: squared_error(m, b)))().item() == step_of(workload())().item()


def test_a_step_that_asks_for_something_unknown_is_refused_with_the_nearest_name() -> None:
    def step(model: Any, batch: Any, optimiser: Any) -> Tensor:
        return torch.tensor(0.0)

    with pytest.raises(WorkloadError) as refused:
        step_of(workload(step=step))
    assert refused.value.message == "step() asks for 'optimiser', which there is not"
    assert refused.value.hint == "did you mean 'optimizer'?"


def test_a_given_step_may_return_a_number() -> None:
    assert step_of(workload(step=lambda model, batch: 0.25))().item() == 0.25


def test_a_given_step_that_returns_nothing_is_refused() -> None:
    with pytest.raises(WorkloadError) as refused:
        step_of(workload(step=lambda model, batch: None))()
    assert refused.value.message == "step() returned None, not a loss"
    assert refused.value.hint == "return the step's loss, a scalar tensor or a number"


def test_a_given_step_that_returns_a_tuple_is_refused() -> None:
    with pytest.raises(WorkloadError, match=r"^step\(\) returned a tuple, not a loss$"):
        step_of(workload(step=lambda model, batch: (torch.tensor(1.0), 0.9)))()


def test_a_given_step_that_returns_a_vector_is_refused() -> None:
    with pytest.raises(WorkloadError, match=r"^step\(\) is not a scalar but a tensor of shape \(2,\)$"):
        step_of(workload(step=lambda model, batch: torch.zeros(2)))()


# --- losses that cannot be trained on ---------------------------------------------------------------------------------


def refusal(loss: Callable[..., Any], **options: Any) -> WorkloadError:
    with pytest.raises(WorkloadError) as refused:
        step_of(workload(loss=loss, **options))()
    return refused.value


def test_a_loss_that_is_a_number_is_refused() -> None:
    error = refusal(lambda model, batch: squared_error(model, batch).item())
    assert error.message == "the loss is a float, not a tensor"
    assert "without .item()" in error.hint


def test_a_loss_that_is_a_tuple_is_refused() -> None:
    error = refusal(lambda model, batch: (squared_error(model, batch), "logs"))
    assert error.message == "the loss is a tuple, not a tensor"
    assert "of a tuple return the loss alone" in error.hint


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"precision": "bf16"}])
def test_a_loss_that_is_no_scalar_is_refused(options: dict[str, Any]) -> None:
    error = refusal(lambda model, batch: (model(batch[0]) - batch[1]) ** 2, **options)
    assert error.message == "the loss is not a scalar tensor"
    assert error.hint == "reduce it, for example with .mean()"


@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}])
def test_a_loss_without_gradient_is_refused(options: dict[str, Any]) -> None:
    error = refusal(lambda model, batch: squared_error(model, batch).detach(), **options)
    assert error.message == "the loss has no gradient: nothing in it depends on a trainable parameter"
    assert ".detach()" in error.hint


def test_a_loss_of_one_element_is_a_scalar() -> None:
    step = step_of(workload(loss=lambda model, batch: squared_error(model, batch).reshape(1)))
    assert step().numel() == 1


def test_what_the_user_code_raises_comes_through_unchanged() -> None:
    def loss(model: nn.Module, batch: Batch) -> Tensor:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match=r"^mine$"):
        step_of(workload(loss=loss))()


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.MSELoss, F.mse_loss])
def test_a_criterion_in_the_place_of_the_loss_is_told_from_it(loss: Any) -> None:
    with pytest.raises(WorkloadError) as refused:
        workload(loss=loss)
    assert refused.value.message == "loss must be a function of (model, batch), not torch's own of (output, target)"
    assert refused.value.hint == "wrap it: lambda model, batch: criterion(model(batch[0]), batch[1])"


# --- models that compute their own loss -------------------------------------------------------------------------------


class OwnLoss(nn.Module):
    """A model that returns its loss, as an attribute or as a dict's entry."""

    def __init__(self, wrap: Callable[..., Any] = SimpleNamespace) -> None:
        super().__init__()
        self.linear, self.wrap = nn.Linear(3, 1), wrap

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        return self.wrap(loss=(self.linear(x) - (0 if y is None else y)).square().mean(), logits=None)


@pytest.mark.parametrize(
    "batch",
    [{"x": torch.ones(2, 3), "y": torch.ones(2, 1)}, (torch.ones(2, 3), torch.ones(2, 1)), [torch.ones(2, 3)]],
    ids=["dict", "tuple", "list of one"],
)
@pytest.mark.parametrize("wrap", [SimpleNamespace, dict])
def test_without_a_loss_the_models_own_is_taken(batch: Any, wrap: Callable[..., Any]) -> None:
    step = step_of(workload(model=OwnLoss(wrap), loss=None, train_loader=[batch, batch]))
    assert step().item() > step().item()


def test_without_a_loss_a_batch_that_is_one_tensor_goes_to_the_model_whole() -> None:
    batch = torch.ones(2, 3)
    step = step_of(workload(model=OwnLoss(), loss=None, train_loader=[batch, batch]))
    assert step().item() > step().item()


def test_a_model_without_a_loss_of_its_own_needs_one() -> None:
    with pytest.raises(WorkloadError) as refused:
        step_of(workload(loss=None, train_loader=[torch.ones(2, 3)]))()
    assert refused.value.message == "no loss was given, and the model's output (Tensor) has no .loss"
    assert '"loss": lambda model, batch' in refused.value.hint


def test_a_loss_that_was_forgotten_is_missed_before_the_model_is_called_wrongly() -> None:
    with pytest.raises(WorkloadError) as refused:
        step_of(workload(loss=None))()
    assert (
        refused.value.message
        == "no loss was given, and the model does not take a whole batch (too many positional arguments)"
    )
    assert '"loss": lambda model, batch' in refused.value.hint


# --- batches ----------------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    x: Any
    y: Any


class Recorded(Tensor):
    """A tensor that remembers how it was moved."""

    moved_with: dict[str, Any]

    def to(self, *arguments: Any, **options: Any) -> Any:
        moved: Any = super().to(*arguments, **options)
        moved.moved_with = options
        return moved


class MovesItself:
    """What tokenizers and graph libraries return: an object with a `to` of its own."""

    def __init__(self) -> None:
        self.moved: tuple[Any, ...] = ()

    def to(self, device: torch.device, non_blocking: bool = False) -> "MovesItself":
        self.moved = (device, non_blocking)
        return self


class MovesItselfToDevice:
    def to(self, device: torch.device) -> torch.device:
        return device


def tensor() -> Tensor:
    return torch.ones(1)


def test_tensors_are_moved_at_any_depth_of_tuples_lists_dicts_and_namedtuples() -> None:
    moved = move({"a": [tensor(), (tensor(), Pair(tensor(), {"b": tensor()}))]}, META)
    first, (second, pair) = moved["a"]
    assert {t.device for t in (first, second, pair.x, pair.y["b"])} == {META}


@pytest.mark.parametrize(
    "batch",
    [[tensor()], (tensor(),), Pair(tensor(), 1), {"x": tensor()}, OrderedDict(x=tensor()), UserDict(x=tensor())],
    ids=lambda batch: type(batch).__name__,
)
def test_a_moved_batch_keeps_its_type(batch: Any) -> None:
    assert type(move(batch, META)) is type(batch)


def test_the_users_own_batch_stays_as_it_was() -> None:
    batch = {"x": tensor(), "deep": {"y": tensor()}}
    move(batch, META)
    assert batch["x"].device == batch["deep"]["y"].device == CPU  # type: ignore[attr-defined, index]


def test_what_is_no_tensor_stays() -> None:
    assert move(("text", 3, None, 1.5, b"raw"), META) == ("text", 3, None, 1.5, b"raw")


def test_tensors_are_moved_without_waiting() -> None:
    assert move(torch.ones(1).as_subclass(Recorded), META).moved_with == {"non_blocking": True}


def test_a_batch_that_moves_itself_is_asked_not_to_wait() -> None:
    assert move(MovesItself(), META).moved == (META, True)
    assert move(MovesItselfToDevice(), META) == META


def test_batches_are_moved_to_the_steps_device() -> None:
    seen = []

    def step(model: Any, batch: Batch) -> float:
        seen.extend([batch[0].device, batch[1].device])
        return 0.0

    step_of(workload(step=step), META)()
    assert seen == [META, META]


def prepared(prepare: Callable[..., Any]) -> Any:
    """What a step gets of the first batch, on the device `meta`."""
    seen = []

    def step(model: Any, batch: Any) -> float:
        seen.append(batch)
        return 0.0

    step_of(workload(prepare=prepare, step=step), META)()
    return seen[0]


def test_prepare_takes_the_place_of_the_move() -> None:
    assert prepared(lambda batch: ("only", batch[0].device)) == ("only", CPU)


def test_prepare_gets_the_device_where_it_takes_one() -> None:
    def by_keyword(batch: Batch, *, device: torch.device) -> Any:
        return device

    assert prepared(lambda batch, device: device) == META
    assert prepared(lambda batch, where: where) == META
    assert prepared(by_keyword) == META


def test_prepare_keeps_its_own_defaults() -> None:
    assert prepared(lambda batch, factor=3.0: factor) == 3.0


def test_prepare_may_be_a_builtin() -> None:
    setup = workload(train_loader=[[[1.0, 2.0, 3.0]]] * 2, prepare=torch.tensor, loss=lambda m, batch: m(batch).sum())
    assert step_of(setup)().numel() == 1


def numbers(loader: Any, count: int) -> list[float]:
    iterator = iter(Batches(loader))
    return [float(next(iterator)[0]) for _ in range(count)]


class Stream(IterableDataset[Tensor]):
    def __init__(self, length: int) -> None:
        self.length = length

    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.arange(self.length, dtype=torch.float32))


class ByIndex:
    """The old protocol: no `__iter__`, and IndexError at the end."""

    def __getitem__(self, index: int) -> Tensor:
        if index >= 3:
            raise IndexError
        return torch.tensor([index])


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(TensorDataset(torch.arange(3.0))),
        DataLoader(Stream(3)),
        [torch.tensor([float(i)]) for i in range(3)],
        ByIndex(),
    ],
    ids=["DataLoader", "IterableDataset", "list", "__getitem__"],
)
def test_a_loader_that_ends_is_started_again(loader: Any) -> None:
    assert numbers(loader, 8) == [0, 1, 2, 0, 1, 2, 0, 1]


def test_a_shuffled_loader_is_shuffled_anew_each_epoch() -> None:
    loader = DataLoader(TensorDataset(torch.arange(50.0)), shuffle=True, generator=torch.Generator().manual_seed(0))
    drawn = numbers(loader, 100)
    assert sorted(drawn[:50]) == sorted(drawn[50:])
    assert drawn[:50] != drawn[50:]


def test_the_epoch_length_is_known_after_the_first_epoch() -> None:
    batches = Batches(DataLoader(Stream(3)))
    iterator = iter(batches)
    for _ in range(3):
        next(iterator)
    assert batches.epoch_length is None
    next(iterator)
    assert batches.epoch_length == 3


@pytest.mark.parametrize("loader", [DataLoader(Stream(0)), iter(())], ids=["IterableDataset", "iterator"])
def test_a_loader_that_yields_nothing_is_an_error(loader: Any) -> None:
    with pytest.raises(WorkloadError) as refused:
        step_of(workload(train_loader=loader))()
    assert refused.value.message == "train_loader is empty: it yields no batch"
    assert "drop_last" in refused.value.hint


@pytest.mark.parametrize("loader", [[], DataLoader(TensorDataset(torch.ones(3, 1)), batch_size=4, drop_last=True)])
def test_a_loader_that_knows_it_is_empty_is_refused_at_once(loader: Any) -> None:
    with pytest.raises(WorkloadError, match="train_loader is empty"):
        workload(train_loader=loader)


def test_an_iterator_gives_what_it_has_and_says_that_it_ended() -> None:
    iterator = iter(Batches(iter([1, 2])))
    assert [next(iterator), next(iterator)] == [1, 2]
    with pytest.raises(LoaderEnded):
        next(iterator)


def test_an_iterator_with_less_than_one_steps_micro_batches_has_its_own_sentence() -> None:
    with pytest.raises(WorkloadError) as refused:
        lrtool.range_test(lambda: workload(train_loader=iter(some_batches(3)), accumulate=4), num_steps=12)
    assert refused.value.message == "train_loader ended and, being an iterator, cannot start again"
    assert refused.value.hint == "give the DataLoader or list itself, not iter(...) or a generator"


def test_spawned_workers_find_the_users_file_under_its_own_name(workload_file: Callable[[str], Path]) -> None:
    result = lrtool.range_test(str(workload_file("spawn_loader")), num_steps=12, device="cpu")
    assert result.num_steps == 12


def test_what_a_worker_raises_is_told_as_if_it_was_raised_here(
    lrtool: Lrtool, workload_file: Callable[[str], Path]
) -> None:
    file = workload_file("spawn_loader")
    failed = lrtool("range-test", file, "--device=cpu", "--param=fails_at=3", "--param=context=fork")
    assert failed.code == 3
    assert "error: the training step raised ValueError: sample 3 is broken (in a DataLoader worker)\n" in failed.err
    assert f'File "{file}", line 18, in __getitem__' in failed.err
    assert "site-packages" not in failed.err


# --- where the model is, and its mode ---------------------------------------------------------------------------------


def test_a_model_wholly_in_eval_mode_is_put_into_training_mode() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).eval()
    place(workload(model=model), CPU)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("root_trains", [True, False])
def test_modes_that_differ_within_a_model_stay_as_the_user_put_them(root_trains: bool) -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3))
    model[0].eval()
    model.training = root_trains
    place(workload(model=model), CPU)
    assert [module.training for module in model.modules()] == [root_trains, False, True]


def test_a_model_spread_over_devices_stays_spread() -> None:
    model = nn.Sequential(nn.Linear(3, 3, device=CPU), nn.Linear(3, 3, device=META))
    place(workload(model=model), CPU)
    assert [p.device.type for p in model.parameters()] == ["cpu", "cpu", "meta", "meta"]


def test_device_auto_is_cuda_where_there_is_one_else_the_cpu() -> None:
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "", "meta", "cuda:x"])
def test_an_unknown_device_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        pick_device(name)
    assert refused.value.message == f"unknown device {name!r}"
    assert refused.value.hint == "known: auto, cpu, cuda, cuda:1, mps"


def test_a_device_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(UnavailableError) as refused:
        pick_device("cuda:63")
    assert refused.value.message.startswith("device cuda:63 was asked for, and this machine has ")
    assert refused.value.hint == "use --device cpu"
    assert refused.value.exit_code == 4


# --- on a GPU ---------------------------------------------------------------------------------------------------------


@pytest.mark.cuda
@needs_cuda
def test_model_and_optimizer_are_moved_and_stay_the_same_parameters() -> None:
    model, temperature = small_model(), nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([*model.parameters(), temperature], lr=0.1, momentum=0.9)
    setup = workload(model=model, optimizer=optimizer)
    step_of(setup)()
    place(setup, torch.device("cuda"))
    assert optimizer.param_groups[0]["params"][0] is model.weight
    assert optimizer.state[model.weight]["momentum_buffer"].device == model.weight.device
    assert {model.weight.device.type, temperature.device.type} == {"cuda"}


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("options", [{}, {"accumulate": 2, "clip_norm": 0.1}])
def test_cuda_gives_the_losses_that_the_cpu_gives(options: dict[str, Any]) -> None:
    losses = {}
    for device in (CPU, torch.device("cuda")):
        setup = workload(**options)
        place(setup, device)
        step = step_of(setup, device)
        losses[device.type] = torch.stack([step() for _ in range(20)]).tolist()
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-4)


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("options", [{}, {"accumulate": 2, "clip_norm": 0.1}, {"precision": "bf16"}])
def test_a_step_never_waits_for_the_gpu(options: dict[str, Any]) -> None:
    setup, device = workload(**options), torch.device("cuda")
    place(setup, device)
    step = step_of(setup, device)
    step()
    try:
        torch.cuda.set_sync_debug_mode("error")
        losses = [step() for _ in range(20)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(loss.device.type == "cuda" for loss in losses)


@pytest.mark.cuda
@needs_cuda
def test_a_ramp_waits_for_the_gpu_only_when_it_looks_at_the_losses() -> None:
    setup, device, lrs = workload(), torch.device("cuda"), [1e-3] * 100
    place(setup, device)
    step = step_of(setup, device)
    try:
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            ramp = run_ramp(step, setup.optimizer, lrs=lrs, ratios=[1.0], on_progress=lambda progress: None)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(ramp.losses) == 100
    assert len(waits) <= 100 // MIN_STEPS_BETWEEN_READS + 1
