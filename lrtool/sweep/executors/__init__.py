"""Where trials run. The executor that is asked for is the module of that name here, with a function `open_executor`."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from lrtool.workload.distributed.launch import launch_of

if TYPE_CHECKING:
    from lrtool.config import ExecutorSettings
    from lrtool.sweep.executors.executor import Demand, Executor
    from lrtool.sweep.executors.rank_executor import Together

HERE = "subprocess"
_GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Of the drivers of NVIDIA and AMD, and of Windows' below its Linux: who has one of them may measure."""


def begin_executor(settings: "ExecutorSettings", *, recorder: str) -> None:
    """To be called before torch is imported: trials that run here and measure nothing then share that with this process."""
    is_traced = recorder in ("predicted", "cpu") or (
        recorder == "auto" and not any(Path(file).exists() for file in _GPU_FILES)
    )
    if is_traced and settings.executor == HERE and launch_of() is None:
        import_module(f"{__name__}.{HERE}").begin_early()


def executor_of(settings: "ExecutorSettings", demand: "Demand", *, together: "Together | None" = None) -> "Executor":
    """The executor of a command's trials. Raises UnavailableError where it, or its cluster, is not there.

    Under a launcher, trials that run here are run by all ranks where `together` tells how to make one result of theirs.
    """
    launch = launch_of()
    if settings.executor == HERE and launch is not None and together is not None:
        from lrtool.sweep.executors.rank_executor import RankExecutor
        from lrtool.workload.distributed.team import connect

        return RankExecutor(launch, connect(launch), together=together, timeout_s=demand.timeout_s)
    executor: Executor = import_module(f"{__name__}.{settings.executor}").open_executor(settings, demand)
    return executor
