"""Cures made by hand, for whatever reads them."""

from typing import Any

from lrtool.results import BatchTry, CureEffect, CureFigures, Cures, MaxBatch

MIB = 2**20


def figures(reserved_mib: int, allocated_mib: int | None = None, **more: Any) -> CureFigures:
    allocated = reserved_mib if allocated_mib is None else allocated_mib
    return CureFigures(
        peak_allocated_bytes=allocated * MIB,
        peak_reserved_bytes=reserved_mib * MIB,
        **{"reserved_at_capacity_bytes": reserved_mib * MIB, "fits": reserved_mib <= 200} | more,
    )


def effect(name: str, title: str, reserved_mib: int, outcome: str = "helps", **more: Any) -> CureEffect:
    return CureEffect(
        name=name, title=title, outcome=outcome, how=(f"use({name})",), figures=figures(reserved_mib),  # type: ignore[arg-type]
        saved_allocated_bytes=(390 - reserved_mib) * MIB, saved_reserved_bytes=(400 - reserved_mib) * MIB, **more,
    )  # fmt: skip


def cures(**more: Any) -> Cures:
    """400 MiB where 200 are: one cure fits, one is nearly free, one saves nothing, two cannot be tried."""
    made: dict[str, Any] = {
        "recorder": "predicted",
        "num_steps": 5,
        "capacity_bytes": 200 * MIB,
        "loss_device": "cpu",
        "baseline": figures(400, 390),
        "effects": (
            effect("accumulation", "gradient accumulation", 180, time_ratio=1.0, time_basis="operations",
                   loss_difference=2e-4),
            effect("checkpointing", "activation checkpointing", 240, time_ratio=1.33, time_basis="operations",
                   loss_difference=0.0),
            effect("bf16", "bf16 autocast", 250, loss_difference=-0.0213),
            effect("foreach-off", "foreach=False", 400, outcome="no effect", loss_difference=0.0),
            effect("roundup", "roundup_power2_divisions", 480, outcome="costs", settings="roundup_power2_divisions:2"),
            CureEffect(name="8-bit", title="8-bit optimizer state", outcome="cannot help", reason="no library " * 20),
            CureEffect(name="no-grad", title="no_grad in evaluation", outcome="failed", reason="it was killed by SIGSEGV"),
        ),
        "together": effect("together", "gradient accumulation + activation checkpointing + bf16 autocast", 90),
    }  # fmt: skip
    return Cures(**made | more)


def max_batch(**more: Any) -> MaxBatch:
    tries = tuple(
        BatchTry(batch_size=size, fits=size <= 96, peak_reserved_bytes=size * MIB, recorder="predicted")
        for size in (32, 64, 96, 97, 128)
    )
    made: dict[str, Any] = {
        "batch_size": 96, "capacity_bytes": 96 * MIB, "current_batch_size": 32, "bytes_per_sample": float(MIB),
        "is_limit_reached": True, "is_confirmed": None, "tries": tries,
    }  # fmt: skip
    return MaxBatch(**made | more)
