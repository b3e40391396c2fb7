"""What `lrtool doctor` found: what is installed, whether each recorder works here, and what is known to go wrong."""

from dataclasses import dataclass
from typing import Literal

from lrtool.results.mem_sweep import Recorder

SelfTestStatus = Literal["ok", "differs", "unavailable", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """A CUDA device as torch reports it; bytes. Free memory is that of the whole device."""

    name: str
    capability: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """What runs here. `cuda` is what torch was built for, `driver` the NVIDIA driver found; None where there is none."""

    torch: str
    cuda: str | None
    cudnn: str | None
    driver: str | None
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AllocatorCheck:
    """The allocator's settings: the variables of the environment, what torch read, and what is wrong with them.

    `in_force` was read back from a "device", or from torch's "parser" where there is no device; None where neither tells.
    """

    variables: dict[str, str]
    in_force: str | None
    read_from: Literal["device", "parser"] | None
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownIssue:
    """Something that goes wrong with this torch release, what to do about it, and who says so."""

    title: str
    advice: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfTest:
    """Five steps of a training whose memory is known, under one recorder, in a process of its own; bytes.

    It "differs" where the steps ran and the memory at the end is not what was worked out, "unavailable" where this machine
    lacks what the recorder needs, and has "failed" where it should work and does not.
    """

    recorder: Recorder
    status: SelfTestStatus
    num_steps: int
    allocated_bytes: int | None
    expected_bytes: int | None
    message: str | None
    duration_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Doctor:
    """The findings of `lrtool doctor`; `is_usable` is False where something that should work here does not."""

    is_usable: bool
    installation: Installation
    allocator: AllocatorCheck
    self_tests: tuple[SelfTest, ...]
    traps: tuple[KnownIssue, ...]
    duration_s: float
