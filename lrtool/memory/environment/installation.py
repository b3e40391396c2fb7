"""What this machine offers: torch and what it was built for, the NVIDIA driver, GPUs, and the allocator's settings."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lrtool.memory.allocator.environment import allocator_variables, conf_asked_for, not_in_force, problems_of
from lrtool.memory.allocator.versions import torch_version
from lrtool.results import AllocatorCheck, Gpu, Installation

DRIVER_FILE = Path("/proc/driver/nvidia/version")
_TIMEOUT_S = 20


def look_at_installation() -> Installation:
    """Versions and devices. Never raises: what cannot be asked is None."""
    cudnn = torch.backends.cudnn.version() if torch.version.cuda else None
    return Installation(
        torch=torch.__version__,
        cuda=torch.version.cuda,
        cudnn=None if cudnn is None else str(cudnn),
        driver=nvidia_driver(),
        gpus=tuple(map(_gpu, range(torch.cuda.device_count()))) if torch.cuda.is_available() else (),
    )


def check_allocator(environment: Mapping[str, str] = os.environ) -> AllocatorCheck:
    """What the environment asks of the allocator, what torch made of it, and where these differ."""
    variables, version = allocator_variables(environment), torch_version()
    problems = list(problems_of(variables, version))
    recorded = _recorded_settings() if torch.cuda.is_available() else None
    if recorded is not None:
        problems += not_in_force(conf_asked_for(variables), recorded, version)
        conf = recorded.get("PYTORCH_CUDA_ALLOC_CONF")
        return AllocatorCheck(
            variables=variables,
            in_force=conf if isinstance(conf, str) else None,
            read_from="device",
            problems=tuple(problems),
        )
    parsed = _parsed_settings()
    return AllocatorCheck(
        variables=variables,
        in_force=parsed,
        read_from=None if parsed is None else "parser",
        problems=tuple(problems),
    )


def nvidia_driver() -> str | None:
    """The version of the NVIDIA driver, from the kernel module or nvidia-smi; None without a driver."""
    try:
        found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)\s", DRIVER_FILE.read_text())
    except OSError:
        found = None
    return found[1] if found else _driver_of_smi()


def _driver_of_smi() -> str | None:
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip().partition("\n")[0] or None


def _gpu(index: int) -> Gpu:
    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    return Gpu(
        name=properties.name,
        capability=f"{properties.major}.{properties.minor}",
        total_bytes=total,
        free_bytes=free,
    )


def _recorded_settings() -> Mapping[str, Any] | None:
    """The settings in force on the device, as a snapshot records them."""
    try:
        torch.cuda.init()
        known = torch.cuda.memory._snapshot()["allocator_settings"]
    except (RuntimeError, KeyError, AssertionError):
        return None
    return known if isinstance(known, dict) else None


def _parsed_settings() -> str | None:
    """The text that torch took from the environment; interfaces for it exist in newer releases only."""
    read = getattr(torch._C, "_accelerator_getAllocatorSettings", None)
    try:
        return None if read is None else str(read())
    except (RuntimeError, ValueError):
        return None
