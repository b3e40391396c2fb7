"""The allocation trace of a workload's build and training steps: on fake CUDA tensors, or of a real run on the CPU."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from typing import Any, Literal

import torch
import torch.distributed as dist

from lrtool.errors import UnavailableError, WorkloadError
from lrtool.memory.growth import bounded_growth
from lrtool.memory.trace.allocation_trace import AllocationTrace
from lrtool.results import Assumption, Category
from lrtool.tracing.fake_cuda.gaps import missing_operator, source_of, way_out
from lrtool.tracing.fake_cuda.gpu import H100, FakeGpu, fake_cuda
from lrtool.tracing.fake_cuda.libraries import unnoticed_fakes
from lrtool.tracing.fake_kernels.autograd import watched_engine
from lrtool.tracing.fake_kernels.higher_order import without_compiler
from lrtool.tracing.fake_values.answers import Answers
from lrtool.tracing.fake_values.listener import Listener
from lrtool.tracing.fake_values.values import EVERYTHING, FROM_THE_BATCH, Limits, ValueFollower
from lrtool.tracing.tracer.collector import collector_held
from lrtool.tracing.tracer.growth.lawful_growth import continued
from lrtool.tracing.tracer.growth.leaks import Leak, LeakWatch
from lrtool.tracing.tracer.hooks import (
    has_even_batches,
    labelled_collectives,
    loading_in_process,
    names_of,
    state_tensors,
    watched_autocast,
    watched_collectives,
    watched_modules,
    watched_optimizers,
    watched_resizing,
)
from lrtool.tracing.tracer.limit import Gate
from lrtool.tracing.tracer.log import TracedStep, TraceLog
from lrtool.tracing.tracer.own_groups import own_groups
from lrtool.tracing.tracer.steady_state import Period, find_period, grows_regularly
from lrtool.tracing.tracer.storage_recorder import StorageRecorder
from lrtool.tracing.tracer.to_trace import Evaluation, trace_of
from lrtool.tracing.workspaces.operators import HiddenCosts
from lrtool.tracing.workspaces.platform import Platform, this_platform
from lrtool.workload.batches import Batches, LoaderEnded, move
from lrtool.workload.devices import place
from lrtool.workload.evaluation import make_evaluation
from lrtool.workload.step import Step, make_step, with_scheduler
from lrtool.workload.target import Factory
from lrtool.workload.user_code import innermost_line, user_code
from lrtool.workload.workload import Workload, loader_length

Kind = Literal["predicted", "cpu"]
DEFAULT_MAX_TRACED_STEPS = 400
MAX_EPOCH_STEPS = 128
MAX_REGULAR_GROWTH_STEPS = 128
MAX_GROWING_STEPS = 640
MAX_GROWING_REQUESTS = 40_000
MAX_LIVE_BYTES = 2**42
"""Growth is traced on for so long, as a pool or a cache may fill up: that of equal steps, that of others, by requests, and
until no device could hold it."""
FLAT_PART = 0.25
"""So much of a trace has to show that growth has come to its end."""
LOOKS_AT_GROWTH = (6, 12, 24)
"""After so many steps it is looked at what piles up: later, a pool that has filled up shows no growth any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """How questions that data decide are answered.

    Values are followed up to `limits`, which costs as much as computing on the CPU does; at the lines `other_at` a question
    whose answer is not known gets the other one, and of `shares`, by line, a selection takes that part.
    """

    limits: Limits = FROM_THE_BATCH
    other_at: frozenset[str] = frozenset()
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSettings:
    """What to trace: `num_steps` is the length of the run that the trace stands for.

    Tracing ends when steps have become periodic, at the latest after `max_traced_steps` steps or `max_duration_s`
    seconds; without `until_steady`, only when all of `num_steps` are traced. `with_workspaces` adds to a prediction what
    kernels are known to allocate for themselves, on `platform`: by default the torch that runs here, on `gpu`.
    With `evaluates`, one pass of evaluation follows the last step. With `keeps_failed`, a step that fails after others did
    not ends the trace, which tells it as its `failure`.
    `values` say how questions that data decide are answered.
    """

    num_steps: int
    kind: Kind = "predicted"
    seed: int = 0
    gpu: FakeGpu = H100
    max_traced_steps: int = DEFAULT_MAX_TRACED_STEPS
    max_duration_s: float = 600.0
    until_steady: bool = True
    with_workspaces: bool = True
    platform: Platform | None = None
    keeps_failed: bool = False
    evaluates: bool = False
    values: Values = field(default_factory=Values)


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedRun:
    """A traced run. `trace` covers the build and `num_steps` training steps, of which `num_traced_steps` were traced.

    Without a `period` nothing is known of what follows the traced steps, and `num_steps` is their number.
    `live_bytes` are the bytes requested and not freed at the end of the build and of each traced step; `leaks` are
    what grows, largest first, `early_leaks` what grew in the first steps. `garbage_bytes` were left to Python's collector
    by the build and by each traced step, at the end of which it runs. `num_operations` are the floating-point operations of
    each traced step. `assumptions` are what a prediction took for granted, and `branches` the lines at which another answer
    can be given, one for each assumption, None where there is no other; `seen_shares` what part of the most they could
    selections took, by line. `peak_bytes` are the most that were requested at once, `num_ranks` those of the process group
    that the program is in, 0 where it is in none. With `has_evaluation`, the trace has one step more, which evaluates.
    """

    trace: AllocationTrace
    kind: Kind
    num_steps: int
    num_traced_steps: int
    period: Period | None
    live_bytes: tuple[int, ...]
    leaks: tuple[Leak, ...]
    build_duration_s: float
    step_durations_s: tuple[float, ...]
    num_operations: tuple[int, ...]
    warnings: tuple[str, ...]
    failure: WorkloadError | None = None
    garbage_bytes: tuple[int, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    branches: tuple[str | None, ...] = ()
    seen_shares: Mapping[str, float] = field(default_factory=dict)
    peak_bytes: int = 0
    num_ranks: int = 0
    early_leaks: tuple[Leak, ...] = ()
    has_evaluation: bool = False


def trace(factory: Factory, settings: TraceSettings, *, gate: Gate | None = None) -> TracedRun:
    """Build the workload and take training steps until they repeat; with a `gate`, requests that do not fit raise.

    Raises WorkloadError where the user's code fails, UnavailableError where fake CUDA cannot be had or lacks what it uses.
    """
    platform = settings.platform or this_platform(
        settings.gpu.capability, num_multiprocessors=settings.gpu.num_multiprocessors
    )
    costs = HiddenCosts(platform) if settings.with_workspaces else None
    with recording(settings.kind, gpu=settings.gpu, costs=costs, values=settings.values) as recorder:
        if gate is not None:
            recorder.log.gate, gate.on_failure = gate, recorder.request_failed
        run = _Run(factory, settings, recorder)
        with told_apart(settings.kind):
            run.build()
            run.take_steps()
            if settings.evaluates:
                run.evaluate()
        return run.result()


@contextmanager
def told_apart(kind: Kind) -> Iterator[None]:
    """What fails in a prediction because the fake GPU lacks something is no fault of the user's code.

    Raises UnavailableError for it.
    """
    try:
        yield
    except WorkloadError as error:
        lacking = _lacking(error, kind)
        if lacking is None:
            raise
        cause = error.__cause__ or error
        place = source_of(cause) or innermost_line(cause)
        message = f"cannot be predicted: {lacking}{f' at {place}' if place else ''}"
        raise UnavailableError(message, hint=way_out(cause), trace=error.trace) from cause


def _lacking(error: WorkloadError, kind: Kind) -> str | None:
    """What the fake GPU lacked where that is what ended a prediction."""
    return missing_operator(error.__cause__) if kind == "predicted" and error.__cause__ is not None else None


@contextmanager
def recording(
    kind: Kind, *, gpu: FakeGpu = H100, costs: HiddenCosts | None = None, values: Values | None = None
) -> Iterator[StorageRecorder]:
    """Record what the body allocates, on a fake GPU ("predicted") or really on the CPU ("cpu"); it begins with a build.

    `costs` are added to a prediction, `values` say how it answers what data decide.
    """
    values = values or Values()
    listener, log = Listener(), TraceLog()
    fake = kind == "predicted"
    recorder = StorageRecorder(
        log,
        device_type="cuda" if fake else "cpu",
        listener=listener,
        follower=ValueFollower(values.limits) if fake else None,
        costs=costs if fake else None,
    )
    with ExitStack() as stack:
        if fake:
            is_exact = values.limits == EVERYTHING
            answers = Answers(listener, other_at=values.other_at, shares=values.shares, is_exact=is_exact)
            recorder.seen_shares = answers.seen_shares
            stack.enter_context(fake_cuda(gpu, listener=listener, answers=answers))
            recorder.on_step_end = stack.enter_context(unnoticed_fakes())
            stack.enter_context(own_groups(listener, partial(labelled_collectives, recorder)))
        stack.enter_context(without_compiler(listener))
        stack.enter_context(watched_engine(recorder.engine, on_start=recorder.backward_begins))
        stack.enter_context(watched_optimizers(recorder))
        stack.enter_context(watched_resizing(recorder))
        stack.enter_context(watched_autocast(recorder))
        stack.enter_context(watched_modules(recorder))
        stack.enter_context(loading_in_process(recorder))
        stack.enter_context(watched_collectives(recorder))
        recorder.thaw = stack.enter_context(collector_held())  # with what fake CUDA imports, and before the user's code
        stack.enter_context(recorder)
        recorder.start()
        stack.callback(recorder.stop)
        yield recorder


class _Run:
    """One traced run, from the build to the result."""

    def __init__(self, factory: Factory, settings: TraceSettings, recorder: StorageRecorder) -> None:
        self._factory, self._settings, self._recorder = factory, settings, recorder
        self._device = torch.device("cuda", 0) if settings.kind == "predicted" else torch.device("cpu")
        self._begin = time.perf_counter()
        self._durations: list[float] = []
        self._num_operations: list[int] = []
        self._period: Period | None = None
        self._warnings: list[str] = []
        self._failure: WorkloadError | None = None
        self._watch = LeakWatch(recorder)
        self._early_leaks: tuple[Leak, ...] = ()
        self._leaks: tuple[Leak, ...] | None = None
        self._evaluation: Evaluation | None = None

    def build(self) -> None:
        recorder = self._recorder
        workload = self._factory.build(seed=self._settings.seed, device=self._device)
        with user_code("moving the model to its device"):
            place(workload, self._device)
        model, optimizer = workload.model, workload.optimizer
        recorder.categorize(model.buffers(), Category.BUFFER)
        recorder.categorize(model.parameters(), Category.PARAMETER)
        recorder.categorize(state_tensors(optimizer), Category.OPTIMIZER_STATE)
        recorder.is_training = lambda: model.training
        recorder.module_names = names_of(model)
        is_even = has_even_batches(workload.train_loader)
        self._epoch_steps = None if is_even else self._traceable_epoch(_epoch_steps(workload))
        self._workload = marked = _marked(workload, recorder)
        step = make_step(marked, self._device, Batches(workload.train_loader))
        self._step = with_scheduler(step, workload.scheduler)
        recorder.phase = None
        recorder.end_step()
        self.build_duration_s = time.perf_counter() - self._begin

    def take_steps(self) -> None:
        settings = self._settings
        while len(self._durations) < settings.num_steps:
            if not self._take_step(self._step):
                return
            self._look_at_growth()
            if settings.until_steady and self._is_steady():
                if self._may_fill_up():
                    continue
                return
            if settings.until_steady and self._is_enough():
                self._warnings.append(
                    f"the {len(self._durations)} steps traced do not repeat; nothing is known of the steps after them"
                )
                return

    def evaluate(self) -> None:
        """One pass of evaluation, after the last step; what grows is looked at before."""
        recorder, log = self._recorder, self._recorder.log
        self._leaks = self._watch.leaks(self._period)
        evaluation = make_evaluation(self._workload, self._device)
        with user_code("the evaluation"):
            evaluation()
        recorder.end_step()
        self._evaluation = Evaluation(step=log.steps.pop(), after=len(self._durations))
        log.live_bytes_at_ends.pop()

    def result(self) -> TracedRun:
        self._recorder.stop()
        self._recorder.thaw()
        log, settings = self._recorder.log, self._settings
        traced = len(self._durations)
        leaks = self._watch.leaks(self._period) if self._leaks is None else self._leaks
        more = self._continued(leaks)
        num_steps = self._num_steps(leaks) + len(more)
        warnings = tuple(self._warnings)
        return TracedRun(
            trace=trace_of(
                [*log.steps, *more],
                period=self._period,
                num_steps=num_steps,
                name=self._factory.name,
                warnings=warnings,
                evaluation=self._evaluation,
            ),
            kind=settings.kind,
            num_steps=num_steps,
            num_traced_steps=traced,
            period=self._period,
            live_bytes=tuple(log.live_bytes_at_ends),
            leaks=leaks,
            early_leaks=self._early_leaks,
            build_duration_s=self.build_duration_s,
            step_durations_s=tuple(self._durations),
            num_operations=tuple(self._num_operations),
            warnings=warnings,
            failure=self._failure,
            garbage_bytes=tuple(self._recorder.garbage_bytes),
            assumptions=tuple(map(self._bounded, self._recorder.assumptions)),
            branches=self._recorder.branches,
            seen_shares=self._recorder.seen_shares,
            has_evaluation=self._evaluation is not None,
            peak_bytes=log.peak_bytes,
            num_ranks=dist.get_world_size() if dist.is_available() and dist.is_initialized() else 0,
        )

    def _continued(self, leaks: tuple[Leak, ...]) -> tuple[TracedStep, ...]:
        """The steps after those traced where nothing ends their growth, and each follows from those before it."""
        if self._period is not None or not leaks or any(each.may_end is not False for each in leaks):
            return ()
        more = continued(self._recorder.log.steps, self._settings.num_steps)
        if more:
            first = len(self._durations) + 1
            self._warnings = [f"from step {first} on, every step asks for more by as much as those traced did"]
        return more

    def _num_steps(self, leaks: tuple[Leak, ...]) -> int:
        """How many steps the trace stands for: growth that may end is not taken to go on beyond what was traced."""
        wanted, traced = self._settings.num_steps, len(self._durations)
        if self._period is None:
            return traced
        if self._evaluation is not None:  # which has to follow a step like that it followed
            wanted -= (wanted - traced) % self._period.num_steps
        if traced == wanted or not self._grows() or (leaks and all(each.may_end is False for each in leaks)):
            return wanted
        if leaks and leaks[0].until_step is not None:
            return min(wanted, max(leaks[0].until_step, traced))
        self._warnings.append(
            f"memory still grew when tracing ended, after {traced} steps, and may come to an end: no steps after them are told"
        )
        return traced

    def _bounded(self, assumption: Assumption) -> Assumption:
        """A compiler may free all but what is there between steps, and nobody knows how much of it."""
        if assumption.kind != "compiler":
            return assumption
        log = self._recorder.log
        return replace(assumption, below_bytes=log.peak_bytes - max(log.live_bytes_at_ends))

    def _traceable_epoch(self, epoch_steps: int | None) -> int | None:
        """The epoch's length where its end can be waited for; a run that ends before it need not wait either."""
        if epoch_steps is None or epoch_steps >= self._settings.num_steps:
            return None
        if epoch_steps <= MAX_EPOCH_STEPS or not self._settings.until_steady:
            return epoch_steps
        self._warnings.append(f"an epoch has {epoch_steps} steps; what happens at its end was not traced")
        return None

    def _take_step(self, step: Step) -> bool:
        begin, operations = time.perf_counter(), self._recorder.num_operations
        try:
            with user_code("the training step"):
                step()
        except LoaderEnded:
            self._warnings.append(f"train_loader ended after {len(self._durations)} steps and cannot start again")
            return False
        except WorkloadError as error:
            is_first = not self._durations
            if not self._settings.keeps_failed or is_first or _lacking(error, self._settings.kind) is not None:
                raise
            self._failure = error
            return False
        self._recorder.end_step()
        self._watch.step_ended()
        self._durations.append(time.perf_counter() - begin)
        self._num_operations.append(self._recorder.num_operations - operations)
        return True

    def _is_steady(self) -> bool:
        log = self._recorder.log
        digests = [step.digest for step in log.steps[1:]]
        self._period = find_period(digests, epoch_steps=self._epoch_steps, grows=self._grows())
        return self._period is not None

    def _grows(self) -> bool:
        last = self._recorder.log.live_bytes_at_ends[-4:]
        return len(last) == 4 and last[0] < last[1] < last[2] < last[3]

    def _is_enough(self) -> bool:
        """More steps would teach nothing: each does more than the one before, or the limits are reached."""
        settings, live_bytes = self._settings, self._recorder.log.live_bytes_at_ends
        is_late = time.perf_counter() - self._begin > settings.max_duration_s
        is_long = len(self._durations) >= settings.max_traced_steps and not self._may_fill_up()
        is_long = is_long or live_bytes[-1] > MAX_LIVE_BYTES
        is_regular = grows_regularly(live_bytes) and not self._may_fill_up()
        return is_late or is_long or is_regular or self._has_filled_up()

    def _has_filled_up(self) -> bool:
        """Whether what grew has come to its end and stays: steps that replace at random never repeat."""
        found = bounded_growth(self._recorder.log.live_bytes_at_ends[1:]) if self._early_leaks else None
        return found is not None and not found.falls

    def _may_fill_up(self) -> bool:
        """Whether what grows is worth tracing on, as it may come to its end."""
        longest = MAX_GROWING_STEPS if self._period is None else MAX_REGULAR_GROWTH_STEPS
        is_short = len(self._durations) < longest and self._recorder.log.num_requests < MAX_GROWING_REQUESTS
        return is_short and self._has_grown() and self._may_end()

    def _may_end(self) -> bool:
        """Nothing that grows is known to go on for ever, or what its holder takes at most is out of reach."""
        ends = [each.until_step or 0 for each in self._early_leaks if each.may_end is not False]
        return not self._early_leaks or any(end <= MAX_GROWING_STEPS for end in ends)

    def _has_grown(self) -> bool:
        """Memory at the steps' ends is higher than ever before, or was until lately."""
        levels = self._recorder.log.live_bytes_at_ends[2:]
        top = max(levels, default=0)
        since = len(levels) - levels.index(top) if levels else 0
        return self._grows() or (bool(self._early_leaks) and since <= FLAT_PART * len(levels))

    def _look_at_growth(self) -> None:
        if not self._early_leaks and len(self._durations) in LOOKS_AT_GROWTH and self._grows():
            self._early_leaks = self._watch.leaks(None)


def _marked(workload: Workload, recorder: StorageRecorder) -> Workload:
    """The workload with a `prepare` under which what it moves is known as input."""
    prepare = workload.prepare or move

    @wraps(prepare)
    def marked(*arguments: Any, **named: Any) -> Any:
        with recorder.loading():
            return prepare(*arguments, **named)

    return replace(workload, prepare=marked)


def _epoch_steps(workload: Workload) -> int | None:
    """Steps after which batches and steps begin together anew; None where the loader does not know its length."""
    length = loader_length(workload.train_loader)
    return None if length is None else math.lcm(length, workload.accumulate) // workload.accumulate
