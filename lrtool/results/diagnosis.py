"""What a diagnosis says: findings with their evidence, and where the bytes are at the peak."""

from dataclasses import dataclass
from typing import Literal

from lrtool.results.assumptions import Assumption, CardMemory, DeviceMemory, PeakInterval
from lrtool.results.categories import in_phase
from lrtool.results.checks import Count, Duration, Ratio
from lrtool.results.cures import Cures, MaxBatch
from lrtool.results.mem_sweep import Recorder
from lrtool.results.range_test import Confidence
from lrtool.results.ranks import Ranks


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One cause with the figures that tell it apart from others, the command or code that would prove it, and a cure.

    `cause` is one of the names in docs/diagnose.md, or "none" where nothing is wrong.
    `num_bytes` is what the cause accounts for at the peak, or per step where it grows; None where no single figure does.
    """

    cause: str
    title: str
    confidence: Confidence
    evidence: tuple[str, ...]
    proof: str
    cure: str
    num_bytes: Count | None = None
    source: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetLine:
    """Bytes of one kind."""

    name: str
    num_bytes: Count


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Where the bytes are at one moment: the peak of allocated memory, or where it ran out. `lines` add up to reserved.

    `modules` are the largest holders of activations, by module. With the context and what other processes hold it adds up
    to `device_used_bytes`, which is known on a GPU only; `context_bytes` is assumed where it was not measured. `moment` says
    which moment it is, and its place.
    """

    step: Count
    phase: str | None
    lines: tuple[BudgetLine, ...]
    modules: tuple[BudgetLine, ...]
    reserved_bytes: Count
    context_bytes: Count
    is_context_measured: bool
    other_processes_bytes: Count | None
    device_used_bytes: Count | None
    moment: str | None = None

    @property
    def place(self) -> str:
        """The moment, and where it lies."""
        if self.moment is not None:
            return self.moment
        step = f"step {self.step:,}" if self.step else "the build"
        return f"{step}, {in_phase(self.phase)}" if self.phase else step


@dataclass(frozen=True, kw_only=True, slots=True)
class PeakLine:
    """What one line of the program, `line`, has live at the peak; shape ("float32 [64, 10]"), operator and module are those
    of its largest tensor, and `num_alike` counts tensors like that.
    """

    source: str
    line: str | None
    phase: str | None
    category: str | None
    module: str | None
    operator: str | None
    shape: str | None
    num_tensors: Count
    num_alike: Count
    num_bytes: Count

    @property
    def text(self) -> str:
        """ "train.py:41 logits = model(ids).float()"."""
        return " ".join(part for part in (self.source, self.line) if part)

    @property
    def what(self) -> str:
        """ "float32 [2, 1024, 128256] in head, in forward; 3 tensors"."""
        module = f"of module {self.module}" if self.module else ""
        phase = in_phase(self.phase) if self.phase else ""
        parts = ", ".join(filter(None, (self.shape, self.category, module, phase)))
        return f"{parts}; {self.num_tensors:,} tensors" if self.num_tensors > 1 else parts


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What `lrtool diagnose` found, the most telling finding first; peaks in bytes, without a limit on memory.

    `num_steps_fit` is the number of steps that the capacity lasts for, None where it lasts. Of a prediction, `assumptions`
    are what it took for granted, and `peak_interval` where the peaks lie if any of that is otherwise; None: they are exact.
    `peak_lines` are the largest at the peak of allocated memory. `on_card` is what nvidia-smi would show. Where it trains on
    several `devices`, the figures are those of the fullest.
    """

    target: str
    origin: Literal["workload", "snapshot", "run"]
    recorder: Recorder | None
    recorder_reason: str
    capacity_bytes: Count | None
    card: str | None
    settings: str
    num_steps: Count | None
    num_steps_fit: Count | None
    peak_allocated_bytes: Count | None
    peak_reserved_bytes: Count | None
    fragmentation: Ratio | None
    verdict: str
    findings: tuple[Finding, ...]
    budget: Budget | None
    notes: tuple[str, ...]
    cures: Cures | None = None
    max_batch: MaxBatch | None = None
    duration_s: Duration = 0.0
    ranks: Ranks | None = None
    peak_interval: PeakInterval | None = None
    assumptions: tuple[Assumption, ...] = ()
    on_card: CardMemory | None = None
    devices: tuple[DeviceMemory, ...] = ()
    peak_lines: tuple[PeakLine, ...] = ()
