"""The GPU and the torch release that a workspace depends on."""

import os
import re
from dataclasses import dataclass

from lrtool.memory.gpus import Multiprocessors, multiprocessors

KIB, MIB = 2**10, 2**20
_LARGE_WORKSPACE_SINCE = {9: (0, 0), 10: (2, 12), 11: (2, 14), 12: (2, 12)}
"""Torch releases by major compute capability: pytorch#89027, #175344 and #189312."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What the costs depend on: the GPU's compute capability and number of multiprocessors, where that is known, the torch
    release, and $CUBLAS_WORKSPACE_CONFIG.
    """

    capability: tuple[int, int]
    torch_version: tuple[int, int]
    cublas_config: str | None = None
    num_multiprocessors: int | None = None

    @property
    def cublas_workspace_bytes(self) -> int:
        """One cuBLAS workspace: CUDABlas' `parseChosenWorkspaceSize` in ATen/cuda/CublasHandlePool.cpp.

        32 MiB on Hopper, and on Blackwell since torch 2.12; `:4096:2:16:8` (8,519,680 B) elsewhere: pytorch#83461, #95668. A
        public snapshot of torch 2.11 on an RTX PRO 6000 shows the small one. cuBLASLt shares it by default.
        """
        sizes = re.findall(r":(\d+):(\d+)", self.cublas_config or "")
        if sizes:
            return sum(int(kib) * KIB * int(count) for kib, count in sizes)
        since = _LARGE_WORKSPACE_SINCE.get(self.capability[0])
        return 32 * MIB if since and self.torch_version >= since else 8_519_680

    @property
    def multiprocessors(self) -> Multiprocessors:
        return multiprocessors(self.capability, self.num_multiprocessors)


def this_platform(capability: tuple[int, int], *, num_multiprocessors: int | None = None) -> Platform:
    """The torch that runs here, on a GPU of `capability`."""
    import torch

    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    config = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    return Platform(
        capability=capability,
        torch_version=(major, minor),
        cublas_config=config,
        num_multiprocessors=num_multiprocessors,
    )
