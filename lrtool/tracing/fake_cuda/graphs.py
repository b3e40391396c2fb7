"""CUDA graphs on the fake GPU: what is captured runs at once, on a stream of its own, and a replay allocates nothing.

A graph keeps its memory to itself; so does a stream, in the allocator.
"""

from collections.abc import Callable
from typing import Any

import torch

from lrtool.tracing.fake_values.listener import Listener

_TAKEN = "the steps that it holds, run as they are written"


def graph_calls(listener: Listener) -> list[tuple[Any, str, Any]]:
    """What stands in for torch.cuda's graphs, as changes of attributes."""
    graph, capture = _graph_class(listener), _capture_class(listener)
    calls: list[tuple[Any, str, Any]] = []
    for module in (torch.cuda, torch.cuda.graphs):
        calls += [(module, "CUDAGraph", graph), (module, "graph", capture)]
        calls += [(module, "graph_pool_handle", _pool_handle), (module, "is_current_stream_capturing", _no)]
    return calls


def _graph_class(listener: Listener) -> type:
    class CUDAGraph:
        """A graph that has nothing to replay: what it would compute is not there anyway."""

        def __init__(self, keep_graph: bool = False) -> None:
            self._end: Callable[[], None] | None = None

        def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
            listener.on_assumption("capture", "a CUDA graph", _TAKEN)

        def capture_end(self) -> None:
            pass

        instantiate = replay = reset = enable_debug_mode = capture_end

        def pool(self) -> tuple[int, int]:
            return _pool_handle()

        def debug_dump(self, _path: str) -> None:
            pass

    return CUDAGraph


def _capture_class(listener: Listener) -> type:
    class graph:  # noqa: N801 - torch's name
        """`torch.cuda.graph`: before a capture torch gives back what it has cached."""

        def __init__(self, cuda_graph: Any, pool: Any = None, stream: Any = None, **options: Any) -> None:
            self.cuda_graph, self._pool, self._options = cuda_graph, () if pool is None else (pool,), options
            self.stream_ctx = torch.cuda.stream(torch.cuda.Stream() if stream is None else stream)

        def __enter__(self) -> None:
            listener.on_empty_cache()
            self.stream_ctx.__enter__()
            self.cuda_graph.capture_begin(*self._pool)

        def __exit__(self, *error: Any) -> None:
            self.cuda_graph.capture_end()
            self.stream_ctx.__exit__(*error)

    return graph


def _pool_handle() -> tuple[int, int]:
    return (0, 1)


def _no() -> bool:
    return False
