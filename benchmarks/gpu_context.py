"""What the device has in use after each library was used for the first time: the CUDA context, and what each adds."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

Use = Callable[[torch.device], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Used:
    """After a library's first use: `driver_bytes` as CUDA tells it, `smi_bytes` as nvidia-smi does, for all processes.

    `reserved_bytes` are torch's allocator's; None on a CPU. `error` says why the library could not be used.
    """

    library: str
    driver_bytes: int | None = None
    smi_bytes: int | None = None
    reserved_bytes: int | None = None
    error: str | None = None


def used_after(library: str, use: Use, device: torch.device, smi_bytes: Callable[[], int | None]) -> Used:
    """Use a library, and look."""
    error = None
    try:
        use(device)
    except Exception as raised:  # a library that is not there must not hide the next one
        error = f"{type(raised).__name__}: {raised}".partition("\n")[0]
    if device.type != "cuda":
        return Used(library=library, error=error)
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    return Used(
        library=library,
        driver_bytes=total - free,
        smi_bytes=smi_bytes(),
        reserved_bytes=torch.cuda.memory_reserved(),
        error=error,
    )


def _begin(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.init()
        torch.cuda.mem_get_info()


def _product(device: torch.device, dtype: torch.dtype = torch.float32) -> object:
    return torch.ones(256, 256, device=device, dtype=dtype) @ torch.ones(256, 256, device=device, dtype=dtype)


def _with_bias(device: torch.device) -> object:
    return nn.Linear(256, 256, device=device)(torch.ones(256, 256, device=device))


def _convolved(device: torch.device) -> None:
    nn.Conv2d(8, 8, 3, device=device)(torch.ones(2, 8, 16, 16, device=device, requires_grad=True)).sum().backward()


def _recurrent(device: torch.device) -> None:
    nn.LSTM(16, 16, device=device)(torch.ones(4, 2, 16, device=device, requires_grad=True))[0].sum().backward()


def _attended(device: torch.device, backend: SDPBackend) -> None:
    x = torch.ones(1, 2, 64, 64, device=device, dtype=torch.bfloat16, requires_grad=True)
    with sdpa_kernel(backend):
        F.scaled_dot_product_attention(x, x, x).sum().backward()


def _compiled(device: torch.device) -> object:
    return torch.compile(lambda x: torch.sin(x) + 1)(torch.ones(1024, device=device))


def _reduced_over_ranks(device: torch.device) -> None:
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29561")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=0, world_size=1)
    dist.all_reduce(torch.ones(2**20, device=device))


LIBRARIES: dict[str, Use] = {
    "context": _begin,
    "a kernel": lambda device: torch.ones(1024, device=device) + 1,
    "cuBLAS": _product,
    "cuBLAS bf16": lambda device: _product(device, torch.bfloat16),
    "cuBLASLt": _with_bias,
    "cuDNN convolution": _convolved,
    "cuDNN recurrent": _recurrent,
    "flash attention": lambda device: _attended(device, SDPBackend.FLASH_ATTENTION),
    "cuDNN attention": lambda device: _attended(device, SDPBackend.CUDNN_ATTENTION),
    "NCCL": _reduced_over_ranks,
    "cuSOLVER": lambda device: torch.linalg.inv(torch.eye(64, device=device)),
    "cuFFT": lambda device: torch.fft.fft(torch.ones(1024, device=device)),
    "Triton": _compiled,
}
"""In the order in which they are used; the last needs a compiler, and takes the longest."""
