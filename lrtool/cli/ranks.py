"""What a command does under torchrun whose trials are processes: the first rank runs it, the others take part in trials."""

from typing import TYPE_CHECKING

from lrtool.workload.distributed.launch import launch_of

if TYPE_CHECKING:
    from lrtool.sweep.executors.executor import Executor
    from lrtool.sweep.executors.rank_executor import Together


def took_part(*, timeout_s: float | None) -> bool:
    """Whether this is another rank than the first one: then its part of all trials is done."""
    launch = launch_of()
    if launch is None or launch.is_first:
        return False
    from lrtool.sweep.executors.rank_executor import follow
    from lrtool.workload.distributed.team import connect

    follow(launch, connect(launch), timeout_s=timeout_s)
    return True


def executor_on_ranks(together: "Together", *, timeout_s: float | None) -> "Executor | None":
    """An executor of trials that all ranks have a part in; None where nobody launched several."""
    launch = launch_of()
    if launch is None:
        return None
    from lrtool.sweep.executors.rank_executor import RankExecutor
    from lrtool.workload.distributed.team import connect

    return RankExecutor(launch, connect(launch), together=together, timeout_s=timeout_s)
