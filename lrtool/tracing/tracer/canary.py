"""A training step whose requests are known, traced before any other: a prediction is trusted only where it comes out right."""

from dataclasses import dataclass

import torch
from torch import nn

from lrtool.errors import LrtoolError, cut
from lrtool.memory.allocator.config import MIN_BLOCK_BYTES
from lrtool.memory.trace.live import walk
from lrtool.tracing.fake_cuda.gpu import H100, FakeGpu
from lrtool.tracing.tracer.tracer import TraceSettings, trace
from lrtool.workload.target import from_callable

ROWS, INPUTS, WIDTH, CLASSES = 32, 96, 128, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """Whether fake CUDA can be trusted here; where not, `reason` says what came out differently."""

    is_trusted: bool
    reason: str | None = None


def send_canary(gpu: FakeGpu = H100) -> Canary:
    """Trace the known step on `gpu`. Never raises for what is wrong with torch: that is the answer."""
    settings = TraceSettings(num_steps=2, gpu=gpu, until_steady=False, with_workspaces=False)
    try:
        found = walk(trace(from_callable(build, params={}), settings).trace).changes.tolist()
    except LrtoolError as error:
        return Canary(is_trusted=False, reason=error.message)
    except Exception as error:  # private interfaces of an unknown torch may fail in any way
        return Canary(is_trusted=False, reason=cut(f"{type(error).__name__}: {error}"))
    for number, (wanted, got) in enumerate(zip(EXPECTED, found, strict=False)):
        if wanted != got:
            return Canary(is_trusted=False, reason=_difference(number, wanted, got))
    if len(found) != len(EXPECTED):
        return Canary(is_trusted=False, reason=f"{len(found)} requests instead of {len(EXPECTED)}")
    return Canary(is_trusted=True)


def _difference(number: int, wanted: int, got: int) -> str:
    return f"request {number} of the known step is {got:+d} bytes under torch {torch.__version__}, and should be {wanted:+d}"


def build() -> dict[str, object]:
    """The known training: an MLP and SGD with momentum."""
    model = nn.Sequential(nn.Linear(INPUTS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES))
    batch = (torch.zeros(ROWS, INPUTS), torch.zeros(ROWS, dtype=torch.int64))
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        "train_loader": [batch, batch],
        "loss": lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
    }


_WEIGHT1, _BIAS1, _WEIGHT2, _BIAS2 = (4 * n for n in (INPUTS * WIDTH, WIDTH, WIDTH * CLASSES, CLASSES))
_X, _Y, _HIDDEN, _OUT, _SCALAR = 4 * ROWS * INPUTS, 8 * ROWS, 4 * ROWS * WIDTH, 4 * ROWS * CLASSES, 4
_PARAMETERS = (_WEIGHT1, _BIAS1, _WEIGHT2, _BIAS2)
_FORWARD = (_X, _Y, _HIDDEN, _HIDDEN, -_HIDDEN, _OUT, _OUT, _SCALAR, _SCALAR, -_OUT)
_BACKWARD = (
    _SCALAR, _OUT, -_Y, -_SCALAR, _OUT, -_OUT, -_OUT,
    _HIDDEN, _WEIGHT2, _BIAS2, -_OUT, _HIDDEN, -_HIDDEN, -_HIDDEN,
    _WEIGHT1, _BIAS1, -_HIDDEN, -_X, -_SCALAR,
)  # fmt: skip
_FIRST_STEP = (*_FORWARD, *_BACKWARD, *_PARAMETERS, -_SCALAR)  # the optimizer makes its momentum
_SECOND_STEP = (*(-gradient for gradient in _PARAMETERS), *_FORWARD, *_BACKWARD, -_SCALAR)
EXPECTED = (*_PARAMETERS, *_FIRST_STEP, *_SECOND_STEP)
STEADY_BYTES = 3 * sum(-(-size // MIN_BLOCK_BYTES) * MIN_BLOCK_BYTES for size in _PARAMETERS)
"""Allocated between steps, apart from workspaces: parameters, gradients and momentum, in whole blocks."""
BATCH_BYTES = sum(-(-size // MIN_BLOCK_BYTES) * MIN_BLOCK_BYTES for size in (_X, _Y))
"""Of the batch, which `build` makes on the CPU and keeps."""
