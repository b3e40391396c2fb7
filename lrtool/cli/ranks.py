"""What a command does under torchrun whose trials are processes: the first rank runs it, the others take part in trials."""

from lrtool.workload.distributed.launch import launch_of


def took_part(*, timeout_s: float | None) -> bool:
    """Whether this is another rank than the first one: then its part of all trials is done."""
    launch = launch_of()
    if launch is None or launch.is_first:
        return False
    from lrtool.sweep.executors.rank_executor import follow
    from lrtool.workload.distributed.team import connect

    follow(launch, connect(launch), timeout_s=timeout_s)
    return True
