"""A LightningModule that optimizes manually, without a Trainer: what its training_step asks of one is given to it here."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from lrtool.errors import WorkloadError
from lrtool.workload.own_losses import differentiated

Step = Callable[..., Tensor]


def stand_in(module: Any, optimizers: list[Any], schedulers: list[Any]) -> None:
    """Give the module its optimizers and schedulers, backward passes and clipping, as its Trainer would in full precision."""

    def some(values: list[Any]) -> Any:
        return None if not values else values[0] if len(values) == 1 else values

    def clip_gradients(optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None) -> None:
        parameters = [each for group in optimizer.param_groups for each in group["params"] if each.grad is not None]
        if gradient_clip_val and str(gradient_clip_algorithm or "norm") == "value":
            nn.utils.clip_grad_value_(parameters, gradient_clip_val)
        elif gradient_clip_val:
            nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    module.optimizers = lambda use_pl_optimizer=True: some(optimizers)
    module.lr_schedulers = lambda: some(schedulers)
    module.manual_backward = lambda loss, *arguments, **named: loss.backward(*arguments, **named)
    module.clip_gradients = clip_gradients
    _give_toggles(module, optimizers)


def _give_toggles(module: Any, optimizers: list[Any]) -> None:
    """Toggled on, an optimizer's parameters alone need gradients."""
    before: list[tuple[Tensor, bool]] = []

    def parameters_of(optimizer: Any) -> set[Tensor]:
        return {parameter for group in optimizer.param_groups for parameter in group["params"]}

    def toggle(optimizer: Any) -> None:
        own = parameters_of(optimizer)
        for parameter in set().union(*map(parameters_of, optimizers)) - own:
            before.append((parameter, parameter.requires_grad))
            parameter.requires_grad_(False)

    def untoggle(optimizer: Any) -> None:
        while before:
            parameter, requires_grad = before.pop()
            parameter.requires_grad_(requires_grad)

    module.toggle_optimizer, module.untoggle_optimizer = toggle, untoggle


def manual_step(call: Callable[[Any], Any], name: str) -> Step:
    """The training step, which moves the optimizers by itself and may return no loss: then it is what it differentiated."""

    def step(batch: Any) -> Any:
        with differentiated() as losses:
            output = call(batch)
        output = output.get("loss") if isinstance(output, dict) else output
        if output is not None:
            return output
        if not losses:
            raise WorkloadError(
                f"{name} computed no loss", hint="call self.manual_backward(loss) in it, or return a loss"
            )
        return sum(losses[1:], start=losses[0])

    return step
