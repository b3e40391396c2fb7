"""What was published of real GPU runs, beside what was predicted of it: rows, what a set of them amounts to, and tables.

Pure: nothing here needs torch.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lrtool.units import format_bytes

SHOWN = 0.005
"""Figures are shown with three digits: by so much they may be off."""
FAR = 0.05
"""Rows whose prediction is further off are listed by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """Bytes that a run is likely to take, and, where the prediction has ends, the least and the most."""

    likely_bytes: int
    interval: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One published figure; `why_not` says why there is no prediction of it."""

    group: str
    name: str
    truth_bytes: int
    prediction: Prediction | None = None
    why_not: str | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.prediction is None else self.prediction.likely_bytes / self.truth_bytes

    @property
    def error(self) -> float | None:
        """Absolute, relative to the truth."""
        return None if self.ratio is None else abs(self.ratio - 1)

    @property
    def is_inside(self) -> bool | None:
        """Whether the truth lies between the prediction's ends, as figures of three digits show them; None without ends."""
        if self.prediction is None or self.prediction.interval is None:
            return None
        low, high = self.prediction.interval
        return low * (1 - SHOWN) <= self.truth_bytes <= high * (1 + SHOWN)

    @property
    def width(self) -> float | None:
        """Of the interval, relative to what is likely."""
        if self.prediction is None or self.prediction.interval is None:
            return None
        low, high = self.prediction.interval
        return (high - low) / self.prediction.likely_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class XmemRow:
    """A training run of xMem's experiments; bytes are NVML's, beyond what was in use when the run began."""

    model: str
    optimizer: str
    batch: int
    gpu: str
    truth_bytes: int

    @property
    def name(self) -> str:
        return f"{self.model}, {self.optimizer}, batch {self.batch}, {self.gpu}"


@dataclass(frozen=True, kw_only=True, slots=True)
class AmpRow:
    """A training step of torch-preflight's calibration; `size` is a length in tokens, or of an image's side."""

    model: str
    gpu: str
    torch: str
    batch: int
    size: int
    allocated_bytes: int
    reserved_bytes: int

    @property
    def name(self) -> str:
        return f"{self.model}, {self.batch} x {self.size}"


@dataclass(frozen=True, kw_only=True, slots=True)
class InferenceRow:
    """A figure of optimum-benchmark's data sets: one `quantity` of a workload on a GPU."""

    workload: str
    gpu: str
    versions: str
    quantity: str
    truth_bytes: int

    @property
    def name(self) -> str:
        return ", ".join(filter(None, (self.workload, self.quantity, self.gpu, self.versions)))


def read_xmem(path: Path) -> list[XmemRow]:
    """Those that did not run out of memory."""
    return [
        XmemRow(
            model=line["model"],
            optimizer=line["optimizer"],
            batch=int(line["batch"]),
            gpu=line["gpu"],
            truth_bytes=int(line["truth"]),
        )
        for line in _lines(path)
        if line["oom"] == "0"
    ]


def read_amp(path: Path) -> list[AmpRow]:
    return [
        AmpRow(
            model=line["model"],
            gpu=line["gpu"],
            torch=line["torch"],
            batch=int(line["batch_size"]),
            size=int(line["seq_len or image_size"]),
            allocated_bytes=int(line["peak_allocated_bytes"]),
            reserved_bytes=int(line["peak_reserved_bytes"]),
        )
        for line in _lines(path)
    ]


def read_inference(path: Path) -> list[InferenceRow]:
    return [
        InferenceRow(
            workload=line["workload"],
            gpu=line["gpu"],
            versions=line["versions"],
            quantity=line["quantity"],
            truth_bytes=round(float(line["MB(1e6)"]) * 1e6),
        )
        for line in _lines(path)
    ]


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def median(values: Sequence[float]) -> float | None:
    """The middle one, or the mean of both; None of nothing."""
    if not values:
        return None
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


def summary(group: str, rows: Sequence[Comparison]) -> str:
    """One line of the table of sets."""
    errors = [each.error for each in rows if each.error is not None]
    inside = [each.is_inside for each in rows if each.is_inside is not None]
    widths = [each.width for each in rows if each.width is not None]
    return (
        f"| {group} | {len(rows)} | {len(errors)} | {_percent(median(errors))} | {_percent(max(errors, default=None))} "
        f"| {sum(error <= FAR for error in errors)} | {_percent(sum(inside) / len(inside) if inside else None)} "
        f"| {_percent(median(widths))} |"
    )


def sets_table(rows: Sequence[Comparison]) -> str:
    """A line for each set, in their order, and one for all."""
    groups = dict.fromkeys(each.group for each in rows)
    lines = [
        "| set | rows | predicted | median absolute error | worst | within 5 % | truth inside the interval "
        "| median width |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
        *(summary(group, [each for each in rows if each.group == group]) for group in groups),
        summary("**all**", rows),
    ]
    return "\n".join(lines)


def rows_table(rows: Sequence[Comparison]) -> str:
    """A line for each row."""
    lines = ["| set | run | truth | likely | low | high | ratio |", "| --- | --- | --: | --: | --: | --: | --: |"]
    return "\n".join(lines + [_row(each) for each in rows])


def far_rows(rows: Sequence[Comparison]) -> list[Comparison]:
    """Predicted ones that are off by more than FAR."""
    return [each for each in rows if each.error is not None and each.error > FAR]


def left_out_table(rows: Sequence[Comparison]) -> str:
    """How many rows of a set have no prediction, for each reason, with the name of one that stands alone."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for each in rows:
        if each.prediction is None:
            reasons.setdefault((each.group, each.why_not or "-"), []).append(each.name)
    lines = ["| set | rows | why not predicted |", "| --- | --: | --- |"]
    for (group, reason), names in reasons.items():
        alone = f"{names[0]}: " if len(names) == 1 else ""
        lines.append(f"| {group} | {len(names)} | {alone}{reason} |")
    return "\n".join(lines)


def _row(each: Comparison) -> str:
    likely = low = high = ratio = "-"
    if each.prediction is not None:
        likely = format_bytes(each.prediction.likely_bytes)
        ratio = f"{each.ratio:.4f}"
        if each.prediction.interval is not None:
            low, high = (format_bytes(end) for end in each.prediction.interval)
    else:
        ratio = each.why_not or "-"
    truth = format_bytes(each.truth_bytes)
    return f"| {each.group} | {each.name} | {truth} | {likely} | {low} | {high} | {ratio} |"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
