"""The figures that a diagnosis reads, from whatever source there is: what a source cannot tell is empty or None. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from lrtool.memory.attribution.step_profile import Leftover, StepProfile
from lrtool.memory.growth import (
    STEADY_FROM_STEP,
    BoundedGrowth,
    FragmentationGrowth,
    fragmentation_growth,
    full_at_step,
    is_growing,
)
from lrtool.results import (
    Assumption,
    Budget,
    CardMemory,
    Category,
    DeviceMemory,
    GrowthSource,
    Oom,
    PeakInterval,
    PeakLine,
    Recorder,
    StepGrowth,
    StepSeries,
)
from lrtool.units import format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a snapshot without history shows, in bytes: its segments, and the largest of their live blocks by line."""

    num_segments: int
    reserved_bytes: int
    active_bytes: int
    split_bytes: int
    largest_free_bytes: int
    largest_blocks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRetry:
    """A program caught that memory ran out, at `first_source`, tried again, and died at `source`.

    `in_handler` says that it tried within the except clause; `held_bytes` are what the first attempt had made by then and is
    still there.
    """

    step: int
    size_bytes: int
    source: str | None
    first_source: str | None
    in_handler: bool
    held_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPeak:
    """A pass of evaluation after the last step, number `step`: its peak, that of training, and the lines of its own peak."""

    step: int
    peak_allocated_bytes: int
    training_peak_bytes: int
    reserved_bytes: int
    training_reserved_bytes: int
    lines: tuple[PeakLine, ...]

    @property
    def is_highest(self) -> bool:
        return self.peak_allocated_bytes > self.training_peak_bytes

    @property
    def text(self) -> str:
        """Its peak beside training's."""
        own, training = format_bytes(self.peak_allocated_bytes), format_bytes(self.training_peak_bytes)
        added = self.reserved_bytes - self.training_reserved_bytes
        more = f"; it reserves {format_bytes(added)} more" if added > 0 else ""
        return f"evaluation peaks at {own} allocated, training at {training}{more}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFigures:
    """One run. Peaks are without a limit where the run was traced, and up to its end else; bytes.

    `profiles` are of the build and of each distinct step, `leftovers` what one step left behind, by line.
    `side_reserved_bytes` are segments of other streams than the default, of which `side_free_bytes` are unused.
    `garbage_bytes` were left to Python's collector before training, `step_garbage_bytes` by a step at most.
    Growth that came to its end is `bounded_growth`, of which `has_kept_graph` says that autograd graphs are kept.
    `settings_problems` say which allocator options are not in force. `is_traced` says that phases and categories are known.
    `peak_lines` are the largest at the peak, `loss_shape` is that of the largest log-softmax, and `has_checkpointing` says
    that a backward pass computes activations again, `computes_in_half` that most matrix products are in half precision.
     `caught` says that it runs out of memory, catches that and goes on;
    `failed_retry` that it tries again and dies. `is_file` says that the target is a recording, not a program. `held` is
    all there is of a snapshot without history.
    """

    target: str
    capacity_bytes: int | None
    series: StepSeries
    growth: StepGrowth | None
    peak_allocated_bytes: int
    peak_active_bytes: int
    peak_reserved_bytes: int
    recorder: Recorder | None = None
    is_traced: bool = False
    is_file: bool = False
    held: Held | None = None
    oom: Oom | None = None
    budget: Budget | None = None
    profiles: tuple[StepProfile, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    sources: tuple[GrowthSource, ...] = ()
    garbage_bytes: int = 0
    step_garbage_bytes: int = 0
    side_reserved_bytes: int = 0
    side_free_bytes: int = 0
    other_processes_bytes: int | None = None
    settings: str = ""
    settings_problems: tuple[str, ...] = ()
    request_sizes_vary: bool | None = None
    notes: tuple[str, ...] = ()
    peak_interval: PeakInterval | None = None
    assumptions: tuple[Assumption, ...] = ()
    on_card: CardMemory | None = None
    devices: tuple[DeviceMemory, ...] = ()
    bounded_growth: BoundedGrowth | None = None
    has_kept_graph: bool = False
    peak_lines: tuple[PeakLine, ...] = ()
    loss_shape: str | None = None
    has_checkpointing: bool = False
    computes_in_half: bool = False
    evaluation: EvaluationPeak | None = None
    caught: bool = False
    failed_retry: FailedRetry | None = None

    @property
    def is_growing(self) -> bool:
        return is_growing(self.growth) and (self.bounded_growth is None or self.ends_too_late)

    @property
    def ends_too_late(self) -> bool:
        """Whether growth that ends would have filled the capacity before."""
        if self.bounded_growth is None or self.capacity_bytes is None or not self.series.allocated_bytes:
            return False
        within_step_bytes = self.series.peak_allocated_bytes[-1] - self.series.allocated_bytes[-1]
        return self.bounded_growth.level_bytes + within_step_bytes > self.capacity_bytes

    @property
    def main_source(self) -> GrowthSource | None:
        """What grows most, where that is known."""
        return self.sources[0] if self.sources else None

    @property
    def steady(self) -> tuple[StepProfile, ...]:
        """The profiles of steps in which everything is there."""
        return self.profiles[STEADY_FROM_STEP:] or self.profiles[1:]

    @property
    def full_at_step(self) -> int | None:
        """The step at which growth fills the capacity; None where it has no limit, or no law."""
        if self.capacity_bytes is None or self.growth is None:
            return None
        return full_at_step(self.series, capacity_bytes=self.capacity_bytes)

    @property
    def fragmentation_growth(self) -> FragmentationGrowth | None:
        return fragmentation_growth(self.series.reserved_bytes, self.series.active_bytes)

    @property
    def num_input_sizes(self) -> int | None:
        """How many different sizes of batches came by; None where batches are not known."""
        sizes = {profile.input_bytes for profile in self.profiles[1:] if profile.input_bytes}
        return len(sizes) if sizes else None

    @property
    def has_varying_shapes(self) -> bool | None:
        """Whether batches differ in size; of a recording, whether steps ask for different sizes; None where unknown."""
        count = self.num_input_sizes
        return self.request_sizes_vary if count is None else count > 1

    @property
    def highest(self) -> StepProfile | None:
        """The step with the highest peak."""
        return max(self.profiles[1:], key=lambda each: each.peak_bytes, default=None)

    @property
    def own_peak_bytes(self) -> int:
        """The peak without workspaces, against which shares are taken: on small models these would hide everything."""
        highest = self.highest
        return self.peak_allocated_bytes - (highest.at_peak.get(Category.WORKSPACE, 0) if highest else 0)

    @property
    def may_not_fit(self) -> bool:
        """Whether it fits as predicted, and would not at the upper end of its interval."""
        if self.oom is not None or self.capacity_bytes is None or self.peak_interval is None:
            return False
        return self.peak_interval.high_reserved_bytes > self.capacity_bytes

    def would_fit_without(self, num_bytes: int) -> bool:
        """Whether that much less would have fitted; true as well where nothing ran out of memory."""
        if self.oom is None or self.capacity_bytes is None:
            return True
        return self.peak_active_bytes - num_bytes <= self.capacity_bytes


def most(values: Sequence[int]) -> int:
    """The largest, 0 of none."""
    return max(values, default=0)
