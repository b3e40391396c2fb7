"""What may be gated, and how a limit is written: `peak_allocated=14GiB`, `growth=0`, `peak_allocated:5%`."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lrtool.errors import UsageError, did_you_mean
from lrtool.results import METRICS, Unit
from lrtool.units import format_bytes, format_lr, meant_by, parse_memory, three_digits

Kind = Literal["max", "min", "increase"]
DEFAULT_METRIC = "peak_allocated"
"""What a limit without a name is about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """What a metric must not exceed ("max"), fall below ("min"), or exceed its baseline by ("increase").

    With `is_share` the value is a share of the baseline's figure.
    """

    metric: str
    kind: Kind
    value: float
    is_share: bool = False


def parse_limit(text: str, kind: Kind) -> Limit:
    """The limit of "peak_allocated=14GiB" or "peak_allocated:5%"; without a name it is peak_allocated's.

    Raises UsageError.
    """
    name, separator, value = text.replace(":", "=", 1).rpartition("=")
    return limit_of(name.strip() if separator else DEFAULT_METRIC, value.strip(), kind)


def limit_of(name: str, value: str | int | float, kind: Kind) -> Limit:
    """The limit of a metric by its name, its value a number or written with a unit or a percent sign. Raises UsageError."""
    name = name.replace("-", "_")
    metric = METRICS.get(name)
    if metric is None:
        raise UsageError(f"{name!r} is no metric that can be gated", hint=did_you_mean(name, METRICS))
    text = str(value).strip()
    try:
        if kind == "increase" and text.endswith("%"):
            return Limit(metric=name, kind=kind, value=_number(text[:-1]) / 100, is_share=True)
        return Limit(metric=name, kind=kind, value=_PARSERS[metric.unit](text))
    except (ValueError, UsageError):
        separator = ":" if kind == "increase" else "="
        if metric.unit == "bytes" and (meant := meant_by(text)):
            message = f"{text!r} is no limit of {name}: as bytes it is too little"
            raise UsageError(message, hint=f"did you mean {name}{separator}{' or '.join(meant)}?") from None
        example = ":5%" if kind == "increase" else f"={EXAMPLES[metric.unit]}"
        raise UsageError(f"{text!r} is no limit of {name}", hint=f"write it like {name}{example}") from None


def format_value(metric: str, value: float) -> str:
    """A figure as people read it, in the metric's unit."""
    unit = METRICS[metric].unit
    if unit in ("bytes", "bytes per step"):
        return f"{three_digits(value)} B" if 0 < abs(value) < 1 else format_bytes(round(value))
    if unit == "ratio":
        return f"{100 * value:.3g}%"
    return format_lr(value) if unit == "lr" else f"{value:.4g}"


def format_limit(limit: Limit) -> str:
    """ "≤ 14.0 GiB", "≥ 0.01", "+5%"."""
    if limit.is_share:
        return f"+{100 * limit.value:.3g}%"
    sign = {"max": "≤ ", "min": "≥ ", "increase": "+"}[limit.kind]
    return f"{sign}{format_value(limit.metric, limit.value)}"


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(text)
    return value


def _ratio(text: str) -> float:
    return _number(text[:-1]) / 100 if text.endswith("%") else _number(text)


def _rate(text: str) -> float:
    """Bytes per step, of which a few are as plausible as many."""
    return float(parse_memory(text)) if text[-1:].isalpha() else _number(text)


_PARSERS: dict[Unit, Callable[[str], float]] = {
    "bytes": parse_memory, "bytes per step": _rate, "ratio": _ratio, "count": _number, "lr": _number, "loss": _number,
}  # fmt: skip
EXAMPLES: dict[Unit, str] = {
    "bytes": "14GiB", "bytes per step": "0", "ratio": "10%", "count": "0", "lr": "0.01", "loss": "0.5",
}  # fmt: skip
