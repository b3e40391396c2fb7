"""The public snapshots, and the program that each was recorded from."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.snapshot_programs.course import course_first_step, course_with_own_adamw, course_with_torch_adamw
from benchmarks.snapshot_programs.late import attention_alone, late_model
from benchmarks.snapshot_programs.parts import Mode, Size, Steps
from benchmarks.snapshot_programs.plain import plain_model
from lrtool.memory.allocator.versions import TorchVersion

NOT_RECORDED = (8, 0)
"""Nothing tells the GPU; cuBLAS workspaces of 8,519,680 bytes say that it is none of Hopper."""
RTX_4090 = (8, 9)
RTX_PRO_6000 = (12, 0)
"""By the published logs: 94.97 GiB in the checkout under Python 3.12, 23.52 GiB and its name in that under 3.13."""
_XL = Size(width=2560, hidden=10_240, layers=32, heads=32)
_NARROW = Size(width=768, hidden=3072, layers=12, heads=12)
_MEDIUM = Size(width=1024, hidden=4096, layers=24, heads=16)
_BY_TORCH_ADAMW = "LINYUNLinYun__cs336_systems__results__memory_profiles__xl_ctx"
_BY_OWN_ADAMW = "Wedsonlin__results__medium_"
_PLAIN = "NiuHuangxiaozi__cs336_systems__profile_memory__"
_ALONE = "silmont2000__"


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotRun:
    """A snapshot by its file's name, its program, and the torch it ran on.

    `is_whole` says that it was recorded from the first allocation on; of the others the last step was recorded.
    """

    label: str
    file: str
    program: Callable[[], Steps]
    version: TorchVersion
    is_whole: bool
    capability: tuple[int, int] = NOT_RECORDED


def _torch_adamw(length: int, mode: Mode, precision: str) -> SnapshotRun:
    name = f"{length}_{mode.replace(' ', '_')}_{precision}"
    program = partial(
        course_with_torch_adamw, _XL, length, mode=mode, precision=precision,
        empties_cache=(length, mode, precision) == (128, "forward", "none"), without_gradients=mode == "forward",
    )  # fmt: skip
    return SnapshotRun(
        label=f"xl, {length} tokens, {mode}, {precision.replace('none', 'fp32')}",
        file=f"{_BY_TORCH_ADAMW}{name}.pickle.gz",
        program=program,
        version=TorchVersion(2, 11),
        is_whole=False,
        capability=RTX_4090 if (length, mode) == (128, "forward") else RTX_PRO_6000,
    )


def _own_adamw(length: int, mode: Mode) -> SnapshotRun:
    name = {"forward": "inference", "full step": "training"}[mode]
    return SnapshotRun(
        label=f"medium, {length} tokens, {mode}, fp32",
        file=f"{_BY_OWN_ADAMW}{length}_{name}_memory_snapshot.pickle.gz",
        program=partial(course_with_own_adamw, _MEDIUM, length, mode=mode),
        version=TorchVersion(2, 11),
        is_whole=False,
    )


def _plain(length: int, mode: Mode) -> SnapshotRun:
    name = {"forward": "forward", "full step": "forward_and_backward"}[mode]
    return SnapshotRun(
        label=f"small, {length} tokens, {mode}, fp32",
        file=f"{_PLAIN}{name}_memory_snapshot_{length}.pickle.gz",
        program=partial(plain_model, length, mode=mode),
        version=TorchVersion(2, 6),
        is_whole=True,
    )


def _late(precision: str) -> SnapshotRun:
    return SnapshotRun(
        label=f"narrow, 128 tokens, forward, {precision}",
        file=f"{_ALONE}memory_forward_{precision}_128.pickle.gz",
        program=partial(late_model, _NARROW, 128, precision=precision),
        version=TorchVersion(2, 6),
        is_whole=False,
    )


RUNS = (
    SnapshotRun(
        label="attention alone, 4096 tokens, full step, fp32",
        file=f"{_ALONE}mem_snapshot.pickle.gz",
        program=attention_alone,
        version=TorchVersion(2, 6),
        is_whole=True,
    ),
    *(_plain(length, mode) for length in (100, 150) for mode in ("forward", "full step")),
    *(_late(precision) for precision in ("fp32", "bf16")),
    *(_own_adamw(length, mode) for length in (128, 256) for mode in ("forward", "full step")),
    *(_torch_adamw(length, "forward", p) for length in (128, 512, 1024, 2048) for p in ("none", "bf16")),
    *(_torch_adamw(length, "full step", p) for length in (128, 512) for p in ("none", "bf16")),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedPeaks:
    """Peaks of a run of which nothing else is public, in MiB, and where they are."""

    run: SnapshotRun
    allocated_mib: float
    reserved_mib: float
    source: str


PUBLISHED = (
    PublishedPeaks(
        run=SnapshotRun(
            label="narrow, 512 tokens, first step, fp32, RTX 4090",
            file="memory_baseline_assignment_rank0.json",
            program=partial(course_first_step, _NARROW, 512),
            version=TorchVersion(2, 11),
            is_whole=True,
            capability=RTX_4090,
        ),
        allocated_mib=4149.42626953125,
        reserved_mib=4288.0,
        source="LINYUNLinYun/CS336-assignment2-systems 616d72d, the baseline of its sharded optimizers",
    ),
)
"""Predicted before anything was compared: nothing was corrected afterwards."""
