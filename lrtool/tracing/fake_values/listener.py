"""What user code tells a GPU besides operators, and who hears of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from lrtool.results import AssumptionKind


class OnAssumption(Protocol):
    """Hears of what is taken for granted: its kind, what was asked, what was answered; and, where another answer makes the
    program do something else, the line that asks, by which that one can be given.
    """

    def __call__(self, kind: AssumptionKind, asked: str, taken: str, site: str | None = None, /) -> None: ...


@dataclass(slots=True)
class Listener:
    """What user code tells a GPU besides operators; replace what you want to hear of, or to answer.

    `allocated_bytes` and `peak_bytes` answer torch.cuda.memory_allocated and its maximum. `stream` is the number of the
    current CUDA stream, 0 for the default one; `device` that of the current GPU, of `num_devices`.
    """

    on_hidden_birth: Callable[[Tensor], None] = lambda _tensor: None
    on_empty_cache: Callable[[], None] = lambda: None
    on_record_stream: Callable[[Tensor, int], None] = lambda _tensor, _stream: None
    on_assumption: OnAssumption = lambda _kind, _asked, _taken, _site=None: None
    allocated_bytes: Callable[[], int] = lambda: 0
    peak_bytes: Callable[[], int] = lambda: 0
    stream: int = 0
    num_streams: int = field(default=1)
    device: int = 0
    num_devices: int = 1
