"""Public reports whose cause was established, rebuilt: what went wrong is named first, and the mended program has no finding.

The programs are not in this repository; where they are not found beside it, these tests are left out.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lrtool.diagnosis.diagnose import run_diagnosis
from lrtool.diagnosis.reports import DiagnosisSetup
from lrtool.results import Diagnosis
from tests.sweep.running import InlineExecutor

REPORTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "reports" / "memory"
KIB, MIB, GIB = 2**10, 2**20, 2**30


@dataclass(frozen=True)
class Expected:
    """The first finding and its place, growth per step, and where memory runs out or growth ends, within 2 %."""

    cause: str
    source: str = ""
    capacity_bytes: int = 80 * GIB
    bytes_per_step: int | None = None
    full_at_step: int | None = None
    until_step: int | None = None
    num_steps: int = 1000


CASES = {
    "02-running-total": Expected("none"),
    "03-create-graph": Expected(
        "retained-graph", "broken.py:25", capacity_bytes=GIB, bytes_per_step=round(2.51 * MIB), full_at_step=375
    ),
    "05-eval-logits": Expected("evaluation", "broken.py:22"),
    "07-hook-activations": Expected("kept-tensors", "broken.py:8", bytes_per_step=192 * KIB, num_steps=60),
    "09-best-weights": Expected("checkpoint-saving", "broken.py:21"),
    "11-logits-fp32": Expected("capacity", "broken.py:26", capacity_bytes=3 * GIB),
    "13-ascending-lengths": Expected("variable-shapes-fragmentation", num_steps=48),
    "14-image-pool": Expected("retained-graph", "broken.py:", until_step=50),
    "17b-oom-retry-small": Expected("failed-retry", "broken.py:13", capacity_bytes=250 * MIB),
    "18-sparse-embedding": Expected("capacity", "broken.py:17", capacity_bytes=500 * MIB),
    "19b-cat-preds": Expected("kept-tensors", "broken.py:14", capacity_bytes=GIB, bytes_per_step=MIB, full_at_step=480),
}
"""`13` mended is the same program with its longest batch first, which still has one length after the other."""


@pytest.fixture(autouse=True)
def imports_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them have the same two names."""
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if "reports" not in folder])
    for name in ("broken", "fixed"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def diagnosed(file: Path, folder: Path, expected: Expected) -> Diagnosis:
    setup: dict[str, Any] = {
        "target": str(file), "params": {}, "recorder": "predicted", "device": "auto", "gpu": "h100", "seed": 0,
        "num_steps": expected.num_steps, "settings": "", "capacity_bytes": expected.capacity_bytes,
    }  # fmt: skip
    found, _ = run_diagnosis(DiagnosisSetup(**setup), folder / "trial", InlineExecutor(), reason="a test", card=None)
    return found


@pytest.mark.skipif(
    not REPORTS.is_dir(), reason="the rebuilt reports lie beside the repository, in shared/data/reports"
)
@pytest.mark.parametrize(("name", "expected"), CASES.items(), ids=CASES)
def test_what_went_wrong_is_named_first(name: str, expected: Expected, tmp_path: Path) -> None:
    first = diagnosed(REPORTS / name / "broken.py", tmp_path, expected).findings[0]
    evidence = " ".join(first.evidence)

    assert first.cause == expected.cause, evidence
    assert (first.source or "").startswith(expected.source)
    if expected.bytes_per_step is not None:
        assert first.num_bytes == pytest.approx(expected.bytes_per_step, rel=0.01)
    if expected.full_at_step is not None:
        assert f"are full at step {expected.full_at_step}" in evidence
    if expected.until_step is not None:
        assert f"until step {expected.until_step}," in evidence


@pytest.mark.skipif(
    not REPORTS.is_dir(), reason="the rebuilt reports lie beside the repository, in shared/data/reports"
)
@pytest.mark.parametrize("name", [name for name in CASES if (REPORTS / name / "fixed.py").is_file()])
def test_the_mended_program_has_no_finding(name: str, tmp_path: Path) -> None:
    capacity_bytes = CASES[name].capacity_bytes if name.startswith("17b") else 80 * GIB
    first = diagnosed(
        REPORTS / name / "fixed.py", tmp_path, replace(CASES[name], capacity_bytes=capacity_bytes)
    ).findings[0]

    assert first.cause == ("variable-shapes-fragmentation" if name.startswith("13") else "none"), first.evidence
