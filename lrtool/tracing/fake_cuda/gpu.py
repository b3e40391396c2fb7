"""A CUDA device that exists only as shapes: user code runs as on a GPU, nothing is computed, nothing is allocated."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lrtool.tracing.fake_cuda.data_parallel import parallel_calls
from lrtool.tracing.fake_cuda.device_guard import cuda_device
from lrtool.tracing.fake_cuda.graphs import graph_calls
from lrtool.tracing.fake_cuda.torch_cuda import cuda_api
from lrtool.tracing.fake_kernels.attention import Build
from lrtool.tracing.fake_kernels.kernels import cuda_kernels
from lrtool.tracing.fake_kernels.missing_shapes import known_shapes
from lrtool.tracing.fake_kernels.nested import nested_calls
from lrtool.tracing.fake_kernels.recurrent import recurrent_reserves
from lrtool.tracing.fake_values.answers import Answers
from lrtool.tracing.fake_values.data_dependent import answered
from lrtool.tracing.fake_values.listener import Listener
from lrtool.tracing.patching import replaced

_BUNDLED_CUDNN = {
    (2, 6): 90100, (2, 7): 90501, (2, 8): 91002, (2, 9): 91002, (2, 10): 91002, (2, 11): 91900, (2, 12): 92000,
}  # fmt: skip
"""By torch release: what its metadata on PyPI requires."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeGpu:
    """The GPU to pretend: compute capability, memory in bytes, multiprocessors, and how many there are.

    `torch_version` is the release whose kernels run, by default the one that is installed; `cudnn_version` (9.20.0 is
    92000) by default the one that this release comes with.
    """

    capability: tuple[int, int] = (9, 0)
    cudnn_version: int | None = None
    torch_version: tuple[int, int] | None = None
    total_bytes: int = 80 * 2**30
    num_multiprocessors: int = 132
    count: int = 1

    @property
    def build(self) -> Build:
        """What decides which kernels run."""
        major, minor = (int(part) for part in torch.__version__.split(".")[:2])
        version = self.torch_version or (major, minor)
        cudnn = self.cudnn_version or bundled_cudnn(version)
        return Build(capability=self.capability, torch_version=version, cudnn_version=cudnn)

    def properties(self) -> SimpleNamespace:
        """What torch.cuda.get_device_properties would say of it."""
        return SimpleNamespace(
            name="fake GPU", major=self.capability[0], minor=self.capability[1], total_memory=self.total_bytes,
            multi_processor_count=self.num_multiprocessors, warp_size=32, max_threads_per_multi_processor=2048,
            gcnArchName="",
        )  # fmt: skip


H100 = FakeGpu()


def bundled_cudnn(torch_version: tuple[int, int]) -> int:
    """The cuDNN that torch's wheels of a release on PyPI ask for; of the next lower one where it is not known."""
    return _BUNDLED_CUDNN[max((each for each in _BUNDLED_CUDNN if each <= torch_version), default=min(_BUNDLED_CUDNN))]


@contextmanager
def fake_cuda(
    gpu: FakeGpu = H100, *, listener: Listener | None = None, answers: Answers | None = None
) -> Iterator[FakeTensorMode]:
    """Run the body with `gpu` as the CUDA device; everything that was patched is put back afterwards.

    Tensors made in the body are fake and stay so: do not use them, or models that were moved, after it. Yields the mode
    under which tensors are fake. Raises UnavailableError where this torch or this platform lacks what is needed.
    """
    listener = listener or Listener()
    listener.num_devices = max(listener.num_devices, gpu.count)
    answers = answers or Answers(listener)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with ExitStack() as stack:
        stack.enter_context(cuda_device())
        stack.enter_context(cuda_kernels(gpu.build, listener))
        stack.enter_context(recurrent_reserves())
        stack.enter_context(cuda_api(mode, listener, answers, device=gpu.properties()))
        stack.enter_context(answered(answers, listener))
        stack.enter_context(replaced(*graph_calls(listener), *nested_calls(), *parallel_calls(listener)))
        stack.enter_context(known_shapes(answers))
        stack.enter_context(mode)
        yield mode
