"""The sets of public measurements: which figures each has, and how they are predicted."""

import gc
import gzip
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from benchmarks import liger_prediction, peft_prediction, snapshot_prediction
from benchmarks.liger_operations import OPERATIONS
from benchmarks.public_programs import Steps, amp_training, image_inference, xmem_training
from benchmarks.public_rows import (
    AmpRow,
    Comparison,
    InferenceRow,
    Prediction,
    XmemRow,
    read_amp,
    read_inference,
    read_xmem,
)
from benchmarks.snapshot_runs import RUNS, SnapshotRun
from benchmarks.snapshot_truth import truth_of
from lrtool.memory.allocator.versions import TorchVersion, torch_version
from lrtool.memory.gpus import known_card
from lrtool.memory.recorders.predicted import fake_gpu
from lrtool.memory.replay.interval import ends, replays_otherwise
from lrtool.memory.replay.replay import Scenario
from lrtool.memory.snapshot.unpickle import load_snapshot
from lrtool.results import Assumption
from lrtool.tracing.tracer.to_trace import trace_of
from lrtool.tracing.tracer.tracer import recording
from lrtool.tracing.workspaces.operators import HiddenCosts
from lrtool.tracing.workspaces.platform import Platform

XMEM_TORCH = TorchVersion(2, 6)
INFERENCE_TORCH = TorchVersion(2, 5)
"""Of late 2024; which one, the rows do not say."""
_WHOLE_DEVICE = "of the whole device: the CUDA context and what else runs there are no part of a prediction"
_OF_AMD = "of AMD's kernels nothing is predicted"
_NO_HISTORY = "it has no history: neither its requests nor the state of its program are known"
UNREBUILT = {
    "MAGMA27__assignment2-systems__15883f2b__memory_snapshot": "its program was not rebuilt",
    "bcrafton__assignment2-systems__0c0e8a73__memory_snapshot": "compiled by inductor, whose kernels are not predicted",
    "ZijianDu__Attention__9e91cf37__memory": _NO_HISTORY,
    "Yiyi-philosophy__LLM-inference__41810bae__oom_snapshot": _NO_HISTORY,
    "LfieLike__SketchKV2__b118ae0c__my_snapshot": _NO_HISTORY,
}
"""Public snapshots without a prediction, and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A published figure, and how to predict its bytes; without `predict` the row says why not."""

    row: Comparison
    predict: Callable[[], Prediction] | None = None

    @property
    def key(self) -> str:
        return f"{self.row.group}: {self.row.name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Set:
    """Its files below the data folder, the packages its programs need, and what reads its cases."""

    path: str
    read: Callable[[Path], list[Case]]
    packages: tuple[str, ...] = ()


def cases_of(name: str, data: Path) -> tuple[list[Case], str | None]:
    """The cases of a set, and what is missing; without its packages, rows have no prediction."""
    found = SETS[name]
    path = data / found.path
    if not path.exists():
        return [], f"{path} is not there"
    cases = found.read(path)
    absent = [package for package in found.packages if importlib.util.find_spec(package) is None]
    if not absent:
        return cases, None
    return [_without(case, absent) for case in cases], f"needs {', '.join(absent)}"


def _without(case: Case, absent: list[str]) -> Case:
    if case.predict is None:
        return case
    row = case.row
    return Case(
        row=Comparison(
            group=row.group, name=row.name, truth_bytes=row.truth_bytes, why_not=f"needs {', '.join(absent)}"
        )
    )


Predictions = dict[str, Prediction]
"""By the name of a figure of `Peaks`."""


def predicted_peaks(program: Callable[[], Steps], card: str, version: TorchVersion) -> Predictions:
    """What a program takes on the card, from its first allocation to its end."""
    gpu = fake_gpu(card)
    platform = Platform(
        capability=gpu.capability,
        torch_version=(version.major, version.minor),
        num_multiprocessors=gpu.num_multiprocessors,
    )
    num_parts = 0
    with recording("predicted", gpu=gpu, costs=HiddenCosts(platform)) as recorder:
        for _ in program():
            recorder.end_step()
            recorder.phase = None
            num_parts += 1
        recorder.stop()
        trace = trace_of(recorder.log.steps, period=None, num_steps=num_parts - 1, name="public")
    gc.collect()
    scenario = Scenario(version=version, capacity_bytes=known_card(card).usable_bytes)
    played = [each.peaks for each in replays_otherwise(trace, scenario)]
    return {
        name: predicted([getattr(each, name) for each in played], recorder.assumptions, is_reserved=is_reserved)
        for name, is_reserved in (("allocated_bytes", False), ("reserved_bytes", True))
    }


def predicted(values: list[int], assumptions: tuple[Assumption, ...], *, is_reserved: bool) -> Prediction:
    """A figure as replays gave it, the likely one first."""
    return Prediction(likely_bytes=values[0], interval=ends(values, assumptions, is_reserved=is_reserved))


def _snapshots(folder: Path) -> list[Case]:
    return [_snapshot(run, folder / run.file) for run in RUNS if (folder / run.file).is_file()]


def _snapshot(run: SnapshotRun, path: Path) -> Case:
    @cache
    def outcome() -> snapshot_prediction.Outcome:
        return snapshot_prediction.compare(run, truth)

    truth = truth_of(path, Scenario(version=run.version))
    row = Comparison(group="snapshots", name=run.label, truth_bytes=truth.peaks.reserved_bytes)
    return Case(
        row=row,
        predict=lambda: Prediction(likely_bytes=outcome().predicted.reserved_bytes, interval=outcome().reserved_ends),
    )


def _more_snapshots(folder: Path) -> list[Case]:
    cases = []
    for name, reason in UNREBUILT.items():
        path = folder / f"{name}.pickle.gz"
        if path.is_file():
            segments = load_snapshot(gzip.decompress(path.read_bytes()), name=name)["segments"]
            reserved = sum(int(segment["total_size"]) for segment in segments)
            cases.append(Case(row=Comparison(group="more snapshots", name=name, truth_bytes=reserved, why_not=reason)))
    return cases


def _liger(path: Path) -> list[Case]:
    return [_liger_case(row) for row in liger_prediction.read_rows(path)]


def _liger_case(row: liger_prediction.Row) -> Case:
    mib = liger_prediction.MIB
    reason = (liger_prediction.LEFT_OUT | liger_prediction.BESIDE).get(row.operation)
    compared = Comparison(
        group="Liger", name=f"{row.label}, {row.gpu}", truth_bytes=round(row.measured * mib), why_not=reason
    )
    if reason or row.operation not in OPERATIONS:
        return Case(row=compared)
    return Case(row=compared, predict=partial(_predict_liger, row))


def _predict_liger(row: liger_prediction.Row) -> Prediction:
    trace, assumptions = liger_prediction.traced(row)
    played = replays_otherwise(trace, Scenario())
    return predicted([liger_prediction.last_peak_bytes(each) for each in played], assumptions, is_reserved=False)


def _peft(path: Path) -> list[Case]:
    return [_peft_case(row) for row in peft_prediction.read_rows(path)]


def _peft_case(row: peft_prediction.Row) -> Case:
    reason = peft_prediction.WHY_NOT.get(row.name)
    compared = Comparison(group="PEFT", name=row.name, truth_bytes=row.measured, why_not=reason)
    return Case(row=compared, predict=None if reason else partial(_predict_peft, row))


def _predict_peft(row: peft_prediction.Row) -> Prediction:
    trace, assumptions = peft_prediction.traced(row)
    played = replays_otherwise(trace, peft_prediction.SCENARIO)
    return predicted([each.peaks.reserved_bytes for each in played], assumptions, is_reserved=True)


def _xmem(path: Path) -> list[Case]:
    return [
        Case(
            row=Comparison(group="xMem", name=row.name, truth_bytes=row.truth_bytes),
            predict=partial(_predict_xmem, row),
        )
        for row in read_xmem(path)
    ]


def _predict_xmem(row: XmemRow) -> Prediction:
    return predicted_peaks(partial(xmem_training, row), row.gpu.lower(), XMEM_TORCH)["reserved_bytes"]


def _amp(path: Path) -> list[Case]:
    return [case for row in read_amp(path) for case in _amp_cases(row)]


def _amp_cases(row: AmpRow) -> list[Case]:
    @cache
    def peaks() -> Predictions:
        return predicted_peaks(partial(amp_training, row), row.gpu, torch_version(row.torch))

    return [
        Case(
            row=Comparison(group="T4, autocast", name=row.name, truth_bytes=row.reserved_bytes),
            predict=lambda: peaks()["reserved_bytes"],
        ),
        Case(
            row=Comparison(group="T4, autocast, allocated", name=row.name, truth_bytes=row.allocated_bytes),
            predict=lambda: peaks()["allocated_bytes"],
        ),
    ]


def _inference(path: Path) -> list[Case]:
    return [_inference_case(row) for row in read_inference(path)]


def _inference_case(row: InferenceRow) -> Case:
    """Batches of 1, as in the tests of optimum-benchmark that fill the data set (tests/configs/_inference_.yaml)."""
    reason = _OF_AMD if row.gpu.startswith("AMD") else _WHOLE_DEVICE if row.quantity == "max_global_vram" else None
    compared = Comparison(group="inference", name=row.name, truth_bytes=row.truth_bytes, why_not=reason)
    if reason:
        return Case(row=compared)
    field = f"{row.quantity.removeprefix('max_')}_bytes"
    program = partial(image_inference, 1, with_forward=row.workload.endswith("forward"))
    return Case(row=compared, predict=lambda: predicted_peaks(program, "a10g", INFERENCE_TORCH)[field])


_TRUTH = "ground-truth"
SETS = {
    "snapshots": Set(path="cuda-snapshots", read=_snapshots),
    "more-snapshots": Set(path="cuda-snapshots", read=_more_snapshots),
    "liger": Set(path=f"{_TRUTH}/liger_memory.csv", read=_liger),
    "peft": Set(
        path=f"{_TRUTH}/peft_method_comparison_memory.csv", read=_peft, packages=("transformers", "peft", "accelerate")
    ),
    "xmem": Set(path=f"{_TRUTH}/xmem_18.csv", read=_xmem, packages=("torchvision",)),
    "t4": Set(path=f"{_TRUTH}/t4_amp_4.csv", read=_amp, packages=("torchvision", "transformers")),
    "inference": Set(path=f"{_TRUTH}/optimum_benchmark.csv", read=_inference, packages=("timm",)),
}
