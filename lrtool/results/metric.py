"""What a field of a result says of itself where it is a metric: a figure that can be gated and shown as a column."""

from dataclasses import KW_ONLY, dataclass, fields
from typing import Annotated, Literal, get_args, get_origin

Unit = Literal["bytes", "bytes per step", "ratio", "count", "lr", "loss"]
RESERVED_IS_NOISY = (
    "reserved memory is noisy: equal work reserves more or less by what was cached before it "
    "(35,926 to 39,026 MiB in sglang#38172, which then gated on allocated memory)"
)


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure by the name it has in limits: `fragmentation: Annotated[float | None, Metric("fragmentation", "ratio")]`.

    A peak of a run that ran out of memory is no peak: it would have risen further. An estimate exceeds a limit only where
    its whole interval does. `caution` says why it makes a poor gate.
    """

    name: str
    unit: Unit
    _: KW_ONLY
    is_peak: bool = False
    is_estimate: bool = False
    caution: str | None = None


def metrics_of(result: type) -> dict[str, Metric]:
    """The fields of a result that are metrics."""
    return {
        field.name: part
        for field in fields(result)
        for part in (get_args(field.type) if get_origin(field.type) is Annotated else ())
        if isinstance(part, Metric)
    }
