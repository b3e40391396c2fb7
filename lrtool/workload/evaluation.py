"""One pass of evaluation as the workload would make it: its own `evaluate`, or its loss over val_loader without gradients."""

from collections.abc import Callable

import torch

from lrtool.errors import WorkloadError
from lrtool.workload.batches import prepared
from lrtool.workload.step import call_by_name, compute_loss
from lrtool.workload.workload import Workload

Evaluation = Callable[[], None]


def make_evaluation(workload: Workload, device: torch.device) -> Evaluation:
    """A function that evaluates once and leaves the model in training mode.

    Raises WorkloadError where there is nothing to evaluate with.
    """
    if workload.evaluate is not None:
        return _users_own(workload, device)
    if workload.val_loader is None or (workload.step is not None and workload.loss is None):
        missing = "val_loader" if workload.val_loader is None else "loss"
        raise WorkloadError(
            f"there is nothing to evaluate: the workload has no {missing}",
            hint=f'add "{missing}" to what build() returns, or "evaluate": a function of (model, val_loader, device)',
        )
    loader, compute = workload.val_loader, compute_loss(workload, device)
    prepare = prepared(workload, device)

    def evaluate() -> None:
        workload.model.eval()
        with torch.no_grad():
            for batch in loader:
                compute(prepare(batch))
        workload.model.train()

    return evaluate


def _users_own(workload: Workload, device: torch.device) -> Evaluation:
    assert workload.evaluate is not None
    known = {"model": workload.model, "val_loader": workload.val_loader, "device": device, "loss": workload.loss}
    call = call_by_name(workload.evaluate, known)

    def evaluate() -> None:
        call()
        workload.model.train()

    return evaluate
