"""Watches every operator below autograd: a storage is born when one returns it, and is freed when its last owner lets go.

Works on real tensors and on fake ones; what a fake run would see and a real run would not is undone on the way.
"""

import gc
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    is_traceable_wrapper_subclass,
    is_traceable_wrapper_subclass_type,
)
from torch.utils.flop_counter import flop_registry

import lrtool
from lrtool.results import AFTER_UPDATE, Assumption, AssumptionKind, Category
from lrtool.tracing.fake_cuda.gaps import note_operator
from lrtool.tracing.fake_cuda.torch_cuda import device_of, without_real_tensors
from lrtool.tracing.fake_kernels.autograd import EngineView, composite_body, next_sequence_number, undecomposed_body
from lrtool.tracing.fake_kernels.higher_order import body_of, is_higher_order, is_one_kernel, remember_kernel
from lrtool.tracing.fake_kernels.sparse import is_in_coordinates, parts_of
from lrtool.tracing.fake_values.answers import remember_no_overflow
from lrtool.tracing.fake_values.counts import remember_count
from lrtool.tracing.fake_values.listener import Listener
from lrtool.tracing.fake_values.truths import remember_truth
from lrtool.tracing.fake_values.values import ValueFollower
from lrtool.tracing.tracer.log import Birth, OpenNote, TraceLog
from lrtool.tracing.tracer.workspace_log import WorkspaceLog
from lrtool.tracing.workspaces.estimates import Estimate
from lrtool.tracing.workspaces.operators import HiddenCosts, estimated_outputs
from lrtool.workload.user_code import is_library_file, is_users_file

aten = torch.ops.aten
REAL_LIMIT_BYTES = 2**20
_DEVICE = torch.ops.prim.device.default
_NOT_RECORDED = ("profiler", "prim")
_TORCH = str(Path(torch.__file__).parent)
_CALLERS = {
    str(Path(lrtool.__file__).parent / name)
    for name in ("workload/step.py", "workload/target.py", "tracing/tracer/tracer.py")
}
"""Whose frames end the search for the user's line: they call what is the user's."""


@dataclass(slots=True)
class LiveStorage:
    """A storage that is allocated now; `node` is the backward node in which it was born."""

    birth: Birth
    num_bytes: int
    reference: "weakref.ref[torch.UntypedStorage]"
    node: object | None
    source: str | None
    device: int


class StorageRecorder(TorchDispatchMode):
    """Writes births and frees of the storages on one kind of device to `log`.

    With a `follower`, tensors on the CPU of at most 1 MiB are real although a fake tensor mode is on, so that
    lengths, indices and labels made in user code have values; within `loading`, all of them are. It keeps what is computed
    from them. `costs` are what kernels allocate for themselves, noted as workspace. `garbage_bytes` were left to Python's
    collector by the build and by each step.
    """

    supports_higher_order_operators = True

    def __init__(
        self,
        log: TraceLog,
        *,
        device_type: str,
        listener: Listener | None = None,
        follower: ValueFollower | None = None,
        costs: HiddenCosts | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.log = log
        self.live: dict[int, LiveStorage] = {}
        self.engine = EngineView(self._birth_node)
        self.phase: str | None = "build"
        self.num_operations = 0
        self.seen_shares: Mapping[str, float] = {}
        self.garbage_bytes: list[int] = []
        self.is_training: Callable[[], bool] = lambda: True
        self.on_step_end: Callable[[], None] = lambda: None
        self.thaw: Callable[[], None] = lambda: None
        self.device_type = device_type
        self._listener = listener or Listener()
        self._follower = follower
        self._workspaces = WorkspaceLog(log, costs)
        self._is_loading = False
        self._is_ignoring = False
        self._label: Category | None = None
        self._is_recording = False
        self._operator: str | None = None
        self.module: str | None = None
        self.module_names: Mapping[int, str] = {}
        self._is_opening = False
        self._forward_births: list[tuple[int, Birth]] = []
        self._updated_at: int | None = None
        self._failure: torch.OutOfMemoryError | None = None
        self._backward_source: str | None = None
        self.create_graph_source: str | None = None
        self._forward_sources: dict[int, str | None] = {}
        self._listen()
        self._assumed: Counter[tuple[AssumptionKind, str | None, str, str, str | None]] = Counter()

    def _listen(self) -> None:
        """Hear of what comes by no operator, and tell what is allocated."""
        self._listener.on_hidden_birth = lambda tensor: self._see(tensor, self._source())
        self._listener.on_empty_cache = self.log.empty_cache
        self._listener.on_record_stream = self._used_by_stream
        self._listener.allocated_bytes = lambda: self.log.live_bytes
        self._listener.peak_bytes = lambda: self.log.peak_bytes
        self._listener.on_assumption = self._assume

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        """What was taken for granted, each once for its line, in the order of the first time."""
        told = (
            Assumption(kind=kind, source=source, asked=asked, taken=taken, times=times)
            for (kind, source, asked, taken, _), times in self._assumed.items()
        )
        return (*told, *self._workspaces.assumptions)

    @property
    def branches(self) -> tuple[str | None, ...]:
        """Of each assumption, by what line the other answer can be given; None where there is no other."""
        return (*(site for *_, site in self._assumed), *(None for _ in self._workspaces.assumptions))

    def start(self) -> None:
        """Record from now on."""
        self.engine.calibrate(self.device_type)
        self._is_recording = True

    def stop(self) -> None:
        """What is freed from now on is freed because the trace is over."""
        self._is_recording = False

    def end_step(self) -> None:
        """Close the current step of the log, or the build; what only reference cycles hold is freed as its last."""
        self.on_step_end()
        before = self.log.live_bytes
        with self.log.freeing_together():
            gc.collect()
        self.garbage_bytes.append(before - self.log.live_bytes)
        if self._updated_at is not None:
            self.log.rename_phase("forward", AFTER_UPDATE, first=self._updated_at)
        self._updated_at = None
        self.log.end_step()
        self._workspaces.end_step()
        self._forward_births.clear()
        self._forward_sources.clear()

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Within the body a batch is fetched: what is born is input, and the CPU computes really."""
        before, self._is_loading = self._is_loading, True
        try:
            yield
        finally:
            self._is_loading = before

    @contextmanager
    def labelled(self, category: Category) -> Iterator[None]:
        """Within the body everything is born in this category."""
        before, self._label = self._label, category
        try:
            yield
        finally:
            self._label = before

    @contextmanager
    def ignoring(self) -> Iterator[None]:
        """What is born within the body is not recorded: torch tries out shapes there, on tensors without memory."""
        before, self._is_ignoring = self._is_ignoring, True
        try:
            yield
        finally:
            self._is_ignoring = before

    def categorize(self, tensors: Iterable[object], category: Category) -> None:
        """Say what tensors are; whatever is no tensor on the watched device is passed over."""
        for tensor in _tensors(part for each in tensors for part in _parts(each)):
            if self._is_watched(tensor):
                storage = self.live.get(tensor.untyped_storage()._cdata)
                if storage is not None:
                    self.log.categorize(storage.birth, category)

    def update_begins(self) -> None:
        """All that is born until `update_ends` is the optimizer's."""
        self.phase, self._updated_at = "optimizer", None

    def update_ends(self) -> None:
        """What follows in this step is no forward pass of training, unless a backward pass or another update follows."""
        self.phase, self._updated_at = None, self.log.num_births

    def request_failed(self) -> None:
        """An operator is left by an error that the program may catch, and so may the optimizer's step be."""
        self._operator = None
        if self.phase == "optimizer":
            self.phase = None

    def backward_begins(self, *, creates_graph: bool = False) -> None:
        """What forward made and is still there is kept for the backward pass."""
        self._backward_source = _users_line()
        if creates_graph:
            self.create_graph_source = self._backward_source
        self._updated_at = None
        for key, birth in self._forward_births:
            storage = self.live.get(key)
            if storage is not None and storage.birth == birth and self.log.category(birth) == Category.TEMPORARY:
                self.log.categorize(birth, Category.ACTIVATION)
        self._forward_births.clear()

    def resized(self, storage: torch.UntypedStorage) -> None:
        """`UntypedStorage.resize_` happened: the new memory is allocated before the old is freed."""
        known = self.live.get(storage._cdata)
        if known is None or known.num_bytes == storage.nbytes():
            return
        del self.live[storage._cdata]
        if storage.nbytes():
            self._born(storage, known.source, device=known.device)
        if self._is_recording:
            self.log.free(known.birth, known.num_bytes)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = self._dispatched(func, types, args, kwargs)
        if self._failure is not None:
            error, self._failure = self._failure.with_traceback(None), None
            del args, kwargs, out  # what the program catches keeps its own frames' tensors alive, and none of ours
            try:
                raise error
            finally:
                del error  # else this frame holds it, and it this frame
        return out

    def _dispatched(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if any(map(is_traceable_wrapper_subclass_type, types)):
            return NotImplemented  # a sharded tensor first becomes operators on this rank's part, which come by here
        if func is _DEVICE and (device := device_of(args[0])) is not None:
            return device
        kwargs = kwargs or {}
        if is_higher_order(func):
            return self._run_higher_order(func, args, kwargs)
        if kwargs.get("pin_memory") and self._follower is not None:
            kwargs = {**kwargs, "pin_memory": False}  # the host's memory, which nobody has to pin here
        body = undecomposed_body(func, self.device_type, in_composite=self._is_opening)
        if body is not None:
            with self:
                return body(*args, **kwargs)
        twin = self.engine.in_place_twin(func, args)
        if twin is not None:
            out = twin(*args, **kwargs)
            self._emit_workspaces(twin, args)
            return out
        out = self._told(func, args, kwargs)
        if self._follower is not None:
            self._follower.follow(func, args, kwargs, out)
            for tensor in _tensors((out,)):
                remember_truth(func, args, tensor)
                remember_count(func, args, tensor)
        self.num_operations += num_operations(func, args, kwargs, out)
        if func.namespace in _NOT_RECORDED:
            return out
        if func is aten._amp_foreach_non_finite_check_and_unscale_.default:
            remember_no_overflow(args[1])
        self._operator = func._opname
        self._see_all(func, args, out)
        self._operator = None
        self._emit_workspaces(func, args)
        return out

    def _run_higher_order(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._follower is None or not is_one_kernel(func, args):
            body = body_of(func)
            with self:
                return body(*args, **kwargs)
        out = func(*args, **kwargs)
        if not self.engine.is_running:
            remember_kernel(out)
        self._operator = func._name
        for tensor in _tensors((out,)):
            self._see(tensor, self._source())
        self._operator = None
        return out

    def _told(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return self._run(func, args, kwargs)
        except Exception as error:
            note_operator(error, func.name(), self._source())
            raise

    def _run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        body = None if self._is_opening else composite_body(func)
        if body is not None:
            return self._opened(body, args, kwargs)
        if self._follower is None:
            return func(*args, **kwargs)
        device = kwargs.get("device")
        tensors = list(_tensors(args))
        is_elsewhere = device is not None and torch.device(device).type != "cpu"
        if is_elsewhere or any(isinstance(tensor, FakeTensor) for tensor in tensors):
            return func(*without_real_tensors(args), **without_real_tensors(kwargs))
        if not tensors:
            fake = func(*args, **kwargs)
            if not isinstance(fake, FakeTensor) or fake.device.type != "cpu":
                return fake
            if not (self._is_loading or self._follower.follows_all) and _is_large(fake):
                return fake
        with unset_fake_temporarily():
            return func(*args, **kwargs)

    def _opened(self, body: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a composite's C++ body under this mode, so that its temporaries come by as operators."""
        self._is_opening = True
        try:
            with self:
                return body(*args, **kwargs)
        finally:
            self._is_opening = False

    def _see_all(self, func: Any, args: Sequence[Any], out: Any) -> None:
        source: str | None = None
        looked = False
        sizes = estimated_outputs(func._opname, args)
        for index, tensor in enumerate(_tensors(out if isinstance(out, tuple | list) else (out,))):
            if not looked:
                source, looked = self._source(), True
            self._see(tensor, source, sizes.get(index))

    def _is_watched(self, tensor: Tensor) -> bool:
        return tensor.device.type == self.device_type and tensor.layout is torch.strided

    def _see(self, tensor: Tensor, source: str | None, size: Estimate | None = None) -> None:
        if tensor.device.type == self.device_type and is_in_coordinates(tensor):
            for part in parts_of(tensor):
                self._see(part, source)
        if not self._is_watched(tensor):
            return
        storage = tensor.untyped_storage()
        known = self.live.get(storage._cdata)
        if known is None:
            self._born(storage, source, size, shape=_shape_of(tensor), device=tensor.device.index or 0)
        elif known.num_bytes != storage.nbytes():
            self.resized(storage)

    def _born(
        self,
        storage: torch.UntypedStorage,
        source: str | None,
        size: Estimate | None = None,
        *,
        shape: str | None = None,
        device: int,
    ) -> None:
        num_bytes, key = storage.nbytes(), storage._cdata
        may_be_larger = size is not None and size.high_bytes > 0
        if (num_bytes == 0 and not may_be_larger) or self._is_ignoring or not self._is_recording:
            return
        if self._failure is not None:  # of several that one operator returns, an earlier one did not fit
            return
        phase = self._phase()
        note = self._note(phase, source, shape, device)
        self._listener.num_devices = max(self._listener.num_devices, device + 1)
        if size is not None:
            note.low_bytes, note.high_bytes = size.low_bytes, size.high_bytes
            self._workspaces.count(size)
        try:
            birth = self.log.alloc(num_bytes, stream=self._listener.stream, note=note)
        except torch.OutOfMemoryError as error:
            self._failure = error
            return
        if phase == "forward":
            self._forward_births.append((key, birth))

        def freed(_reference: object) -> None:
            known = self.live.get(key)
            if known is not None and known.birth == birth:
                del self.live[key]
                if self._is_recording:
                    self.log.free(birth, num_bytes)

        self.live[key] = LiveStorage(birth, num_bytes, weakref.ref(storage, freed), self.engine.node(), source, device)

    def _note(self, phase: str, source: str | None, shape: str | None, device: int) -> OpenNote:
        return OpenNote(
            phase=phase,
            category=self._category(phase),
            source=source,
            operator=self._operator,
            module=self.module,
            has_graph=phase in ("forward", "evaluation") and torch.is_grad_enabled(),
            shape=shape,
            device=device,
        )

    def _phase(self) -> str:
        if self.engine.is_running:
            return "backward"
        if self.phase is not None:
            return self.phase
        return "forward" if self.is_training() else "evaluation"

    def _category(self, phase: str) -> Category:
        if self._is_loading:
            return Category.INPUT
        if self._label is not None:
            return self._label
        return Category.ACTIVATION if phase == "backward" and torch.is_grad_enabled() else Category.TEMPORARY

    def _source(self) -> str | None:
        """The user's line that runs now; within backward, the line that ran forward."""
        node = self.engine.node()
        if node is None:
            source = _users_line()
            if torch.is_grad_enabled():
                self._forward_sources[next_sequence_number() - 1] = source
            return source
        return self._forward_sources.get(node[1]) or _users_line() or self._backward_source

    def _birth_node(self, tensor: Tensor) -> object | None:
        known = self.live.get(tensor.untyped_storage()._cdata)
        return None if known is None else known.node

    def _assume(self, kind: AssumptionKind, asked: str, taken: str, site: str | None = None, /) -> None:
        if self._is_recording:
            self._assumed[kind, self._source(), asked, taken, site] += 1

    def _used_by_stream(self, tensor: Tensor, stream: int) -> None:
        known = self.live.get(tensor.untyped_storage()._cdata)
        if known is not None:
            self.log.record_stream(known.birth, stream)

    def _emit_workspaces(self, func: Any, args: tuple[Any, ...]) -> None:
        if not self._is_recording or self._failure is not None:
            return
        first = next(_tensors(args), None)
        if first is None or first.device.type != self.device_type:
            return
        device = first.device.index or 0
        note = OpenNote(self._phase(), Category.WORKSPACE, operator=func._opname, device=device)
        try:
            self._workspaces.write(
                func._opname, args, note=note, stream=self._listener.stream, in_backward=self.engine.is_running
            )
        except torch.OutOfMemoryError as error:
            self._failure = error


def _is_large(tensor: Tensor) -> bool:
    return tensor.untyped_storage().nbytes() > REAL_LIMIT_BYTES


def _shape_of(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _parts(tensor: object) -> list[object]:
    """A tensor itself, or what a wrapper around others keeps: of a DTensor this rank's part."""
    if not is_traceable_wrapper_subclass(tensor):
        return [tensor]
    names, _ = tensor.__tensor_flatten__()
    return [part for name in names for part in _parts(getattr(tensor, name))]


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)


def _users_line() -> str | None:
    """`file.py:line` of the innermost frame of the user; else of a library other than torch; None where neither runs."""
    frame = sys._getframe(2)
    library: str | None = None
    while frame is not None and (filename := frame.f_code.co_filename) not in _CALLERS:
        origin = _origin(filename)
        if origin == "user":
            return f"{Path(filename).name}:{frame.f_lineno}"
        if origin == "library" and library is None:
            library = f"{Path(filename).name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return library


@cache
def _origin(filename: str) -> str | None:
    if is_users_file(filename):
        return "user"
    return "library" if is_library_file(filename) and not filename.startswith(_TORCH) else None


def num_operations(func: Any, args: Sequence[Any], named: Mapping[str, Any], out: Any) -> int:
    """Those of one call; 0 for operators without a formula, which move memory more than they compute."""
    formula = flop_registry.get(func._overloadpacket)
    if formula is None:
        return 0
    try:
        return int(formula(*args, **named, out_val=out))
    except (AssertionError, IndexError, NotImplementedError, TypeError, ValueError):
        return 0  # a form of the operator that the formula does not know
