"""The ranks of one run as each of them sees it: they join, share work and losses, and leave together."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from lrtool.errors import UnavailableError
from lrtool.results import RankMemory
from lrtool.workload.devices import accelerator, is_accelerator, pick_device
from lrtool.workload.distributed.launch import Launch
from lrtool.workload.distributed.watch import RankWatch, release, wait_until
from lrtool.workload.distributed.wrapping import Distributed, distribute
from lrtool.workload.step import Step
from lrtool.workload.user_code import user_code
from lrtool.workload.workload import Workload

MEETING_S = 60.0
TRIAL_TIMEOUT_S = 600.0
LATER_S = 10.0  # what a collective waits longer than the watch, which can say who hangs
GATHER_S = 10.0
GATHER_AFTER_FAILURE_S = 2.0
DONE = "done"


@dataclass(kw_only=True, slots=True)
class Team:
    """This rank's place in the run; `distributed` is what became of the workload, once it is there."""

    launch: Launch
    device: torch.device
    backend: str
    watch: RankWatch
    store: Store
    distributed: Distributed | None = None

    def distribute(self, workload: Workload) -> Workload:
        """The workload wrapped for this rank; its model must be on its device."""
        with user_code("wrapping the model in DistributedDataParallel"):
            self.distributed = distribute(workload, rank=self.launch.rank, world_size=self.launch.world_size)
        return self.distributed.workload

    def watched(self, step: Step) -> Step:
        """`step`, of which the other ranks know that it has begun."""
        beat = self.watch.beat

        def watched() -> Tensor:
            beat()
            return step()

        return watched

    def say_memory(self) -> None:
        """Tell the first rank what this one took."""
        mine = rank_memory(self.launch.rank, self.device)
        self.store.set(_memory_key(self.launch.rank), json.dumps(asdict(mine)))

    def gather_memory(self) -> tuple[RankMemory, ...]:
        """What each rank took, as far as it says: of a failed run not all of them do."""
        self.say_memory()
        keys = {rank: _memory_key(rank) for rank in range(self.launch.world_size)}
        patience_s = GATHER_S if self.watch.told() is None else GATHER_AFTER_FAILURE_S
        wait_until(lambda: self.store.check(list(keys.values())), patience_s=patience_s)
        return tuple(
            RankMemory(**json.loads(self.store.get(key))) if self.store.check([key]) else _unknown(rank, self.device)
            for rank, key in keys.items()
        )

    def leave(self) -> None:
        """Wait until the first rank has written the result: a launcher ends all ranks as soon as one of them fails.

        After a failure others do not wait: their end frees ranks that still wait for them in a collective.
        """
        with suppress(RuntimeError):  # the store may be gone, with the first rank or the launcher that held it
            if not self.launch.is_first:
                if self.watch.told() is None:
                    wait_until(lambda: self.store.check([DONE]), patience_s=MEETING_S)
                self.store.set(f"left/{self.launch.rank}", "")
                return
            self.store.set(DONE, "")
            if holds_store(self.launch):
                others = [f"left/{rank}" for rank in range(1, self.launch.world_size)]
                wait_until(lambda: self.store.check(others), patience_s=GATHER_AFTER_FAILURE_S)


@contextmanager
def joined(launch: Launch, *, device: str, timeout_s: float) -> Iterator[Team]:
    """Join the other ranks, in a process group that ends with the context.

    `timeout_s` without a step of the body count as a hang. Raises UnavailableError where the ranks do not meet, or the
    device asked for is not there.
    """
    place, store = rank_device(device, launch), connect(launch)
    team = Team(
        launch=launch,
        device=place,
        backend=_backend(place),
        store=store,
        watch=RankWatch(launch, connect(launch), timeout_s=timeout_s, last_words=lambda: team.say_memory()),
    )
    _meet(launch, store)
    _open_group(launch, store, place, timeout_s=timeout_s)
    try:
        yield team
    finally:
        release()


@contextmanager
def trial_group(launch: Launch, name: str, *, device: str) -> Iterator[None]:
    """The process group `name` of a trial's processes, one started by each rank. Raises UnavailableError."""
    place = torch.device(device)
    store = PrefixStore(name, connect(launch, holds=False))
    _meet(launch, store)
    _open_group(launch, store, place, timeout_s=TRIAL_TIMEOUT_S)
    try:
        yield
    finally:
        release()


def rank_device(name: str, launch: Launch) -> torch.device:
    """The device of a rank: with "auto" and "cuda" the GPU of its local rank. Raises UsageError, UnavailableError."""
    picked = pick_device(name)
    if is_accelerator(picked) and picked.index is None:
        return pick_device(f"{picked.type}:{launch.local_rank}")
    return picked


def connect(launch: Launch, *, holds: bool | None = None) -> Store:
    """A connection to the launcher's store, which the first rank holds where the launcher has none."""
    try:
        store = TCPStore(
            launch.address,
            launch.port,
            is_master=holds_store(launch) if holds is None else holds,
            timeout=timedelta(seconds=MEETING_S),
            wait_for_workers=False,
            multi_tenant=True,
        )
    except (RuntimeError, ValueError) as error:
        raise UnavailableError(
            f"rank {launch.rank} cannot reach the others at {launch.address}:{launch.port}: {error}",
            hint="start it with torchrun, or check MASTER_ADDR and MASTER_PORT",
        ) from error
    return PrefixStore(f"lrtool/{launch.attempt}", store)


def holds_store(launch: Launch) -> bool:
    """Whether the store lives in this process, and not in the launcher."""
    return launch.is_first and not dist.is_torchelastic_launched()


def rank_memory(rank: int, device: torch.device) -> RankMemory:
    """The most this process held: of its device on CUDA, and of the machine's memory."""
    measured = accelerator() if is_accelerator(device) else None
    return RankMemory(
        rank=rank,
        device=str(device),
        peak_allocated_bytes=measured.max_memory_allocated(device) if measured else None,
        peak_reserved_bytes=measured.max_memory_reserved(device) if measured else None,
        peak_resident_bytes=peak_resident_bytes(),
    )


def peak_resident_bytes() -> int | None:
    """The most of the machine's memory this process held; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _meet(launch: Launch, store: Store) -> None:
    """Wait for all ranks. Raises UnavailableError where some do not come."""
    store.set(f"here/{launch.rank}", "")
    keys = {rank: f"here/{rank}" for rank in range(launch.world_size)}
    if not wait_until(lambda: store.check(list(keys.values())), patience_s=MEETING_S):
        missing = [str(rank) for rank, key in keys.items() if not store.check([key])]
        raise UnavailableError(
            f"of {launch.world_size} ranks these did not come within {MEETING_S:g} s: {', '.join(missing)}",
            hint="see the launcher's log for why they did not start",
        )


def _backend(device: torch.device) -> str:
    return "cpu:gloo,cuda:nccl" if is_accelerator(device) else "gloo"


def _open_group(launch: Launch, store: Store, device: torch.device, *, timeout_s: float) -> None:
    if is_accelerator(device):
        accelerator().set_device(device)
    dist.init_process_group(
        _backend(device),
        store=PrefixStore("group", store),
        rank=launch.rank,
        world_size=launch.world_size,
        timeout=timedelta(seconds=timeout_s + LATER_S),
    )


def _memory_key(rank: int) -> str:
    return f"memory/{rank}"


def _unknown(rank: int, device: torch.device) -> RankMemory:
    return RankMemory(
        rank=rank, device=device.type, peak_allocated_bytes=None, peak_reserved_bytes=None, peak_resident_bytes=None
    )
