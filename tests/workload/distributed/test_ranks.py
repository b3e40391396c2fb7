"""Who is who among ranks, who of them hangs, and how their memory compares."""

import time

import pytest
from torch._C._distributed_c10d import HashStore

from lrtool.errors import Interrupted, UsageError, WorkloadError
from lrtool.results import RankMemory, compare_ranks
from lrtool.workload.distributed.failures import Position, hang_of, is_broken_collective
from lrtool.workload.distributed.launch import Launch, launch_of, speaks
from lrtool.workload.distributed.watch import RankWatch

TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
WAITS, WORKS = Position(step=5, place=None, waits=True), Position(step=5, place="model.py:3 f()", waits=False)


def test_a_launch_is_read_from_the_environment() -> None:
    launch = launch_of({**TORCHRUN, "TORCHELASTIC_RESTART_COUNT": "2"})

    assert launch == Launch(rank=3, world_size=4, local_rank=1, address="node1", port=29500, attempt=2)
    assert not launch.is_first
    assert not speaks(TORCHRUN)
    assert speaks({**TORCHRUN, "RANK": "0"})


@pytest.mark.parametrize("missing", ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"])
def test_without_any_of_its_variables_there_is_none(missing: str) -> None:
    environment = {name: value for name, value in TORCHRUN.items() if name != missing}

    assert launch_of(environment) is None
    assert speaks(environment)


def test_a_rank_that_is_no_number_is_refused() -> None:
    with pytest.raises(UsageError, match="RANK='x' in the environment is not a number"):
        launch_of({**TORCHRUN, "RANK": "x"})


@pytest.mark.parametrize(
    ("known", "culprit"),
    [
        ({0: WAITS, 1: WORKS}, 1),
        ({0: WORKS, 1: WAITS}, 0),
        ({0: WAITS}, 1),
        ({0: WAITS, 1: Position(step=4, place=None, waits=True)}, 1),
    ],
)
def test_who_hangs_is_who_says_nothing_or_does_not_wait_for_others(known: dict[int, Position], culprit: int) -> None:
    failure = hang_of(known, world_size=2, timeout_s=30)

    assert (failure.rank, failure.kind, failure.step) == (culprit, "hung", 5)
    assert failure.as_error().message.startswith(f"rank {culprit} hangs at step 5: no progress for 30 s")


def test_only_an_error_about_another_rank_is_a_broken_collective() -> None:
    gloo = RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1")

    assert is_broken_collective(gloo)
    assert not is_broken_collective(RuntimeError("size mismatch"))
    assert not is_broken_collective(ValueError("gloo"))
    assert not is_broken_collective(WorkloadError("no", hint="none"))


def watch_of(rank: int, store: HashStore, *, timeout_s: float = 60) -> RankWatch:
    launch = Launch(rank=rank, world_size=2, local_rank=rank, address="", port=0)
    return RankWatch(launch, store, timeout_s=timeout_s, last_words=lambda: None)


def test_the_first_failure_is_that_of_all() -> None:
    store = HashStore()
    first, second = watch_of(0, store), watch_of(1, store)
    second.beat()
    told = second.tell(KeyError("label"))

    assert (told.rank, told.kind, told.step) == (1, "failed", 1)
    assert first.tell(ZeroDivisionError("later")) == told
    assert first.told() == told


def test_out_of_memory_and_ctrl_c_have_their_names() -> None:
    oom = watch_of(1, HashStore()).tell(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    stopped = watch_of(0, HashStore()).tell(KeyboardInterrupt())

    assert oom.as_error().message.startswith("rank 1 ran out of memory before the first step")
    assert isinstance(stopped.as_error(), Interrupted)


def test_a_rank_that_left_a_collective_without_a_word_is_gone() -> None:
    told = watch_of(0, HashStore()).tell(RuntimeError("gloo: Connection closed by peer"))

    assert (told.rank, told.kind) == (1, "gone")


def test_the_watch_of_the_first_rank_finds_who_does_not_answer() -> None:
    store = HashStore()
    with watch_of(0, store, timeout_s=0.2) as watch:
        deadline = time.monotonic() + 10
        while watch.told() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        found = watch.told()

    assert found is not None
    assert (found.rank, found.kind) == (1, "hung")


def memory(rank: int, *, reserved: int | None = None, resident: int | None = None) -> RankMemory:
    return RankMemory(
        rank=rank, device="cpu", peak_allocated_bytes=reserved, peak_reserved_bytes=reserved, peak_resident_bytes=resident
    )  # fmt: skip


def test_ranks_compare_by_reserved_memory_else_by_that_of_the_machine() -> None:
    on_gpus = compare_ranks(
        (memory(0, reserved=100), memory(1, reserved=80), memory(2)), backend="nccl", wrapping="ddp"
    )
    on_cpus = compare_ranks((memory(0, resident=50), memory(1, resident=50)), backend="gloo", wrapping="ddp")

    assert (on_gpus.figure, on_gpus.max_rank, on_gpus.min_rank) == ("peak_reserved_bytes", 0, 1)
    assert on_gpus.imbalance == pytest.approx(0.2)
    assert (on_cpus.figure, on_cpus.imbalance) == ("peak_resident_bytes", 0.0)


def test_ranks_that_said_nothing_have_no_imbalance() -> None:
    assert compare_ranks((memory(0), memory(1)), backend="gloo", wrapping="ddp").imbalance is None
