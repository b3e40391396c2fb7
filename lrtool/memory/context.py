"""What a process has on the card besides the memory that torch reserves: the CUDA context, libraries, NCCL. Pure.

nvidia-smi shows both together. None of it was measured by lrtool; each figure names who did.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

from lrtool.memory.gpus import Card, multiprocessors

Use = Literal["cublas", "cudnn"]
_MIB = 2**20
LAZY_SINCE = (11, 7)
"""The CUDA release since which kernels are loaded as they are used, which torch asks for: pytorch#86509."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextEstimate:
    """Bytes on the card: at least, likely and at most; `source` tells where they are from."""

    low_bytes: int
    likely_bytes: int
    high_bytes: int
    source: str

    def __post_init__(self) -> None:
        assert 0 <= self.low_bytes <= self.likely_bytes <= self.high_bytes, self


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One published measurement; `card` is its name in the table of cards, None where nobody said which it was."""

    card: str | None
    num_bytes: int
    is_lazy: bool
    uses: frozenset[Use]
    source: str


_NOTHING: frozenset[Use] = frozenset()
_ALL: frozenset[Use] = frozenset({"cublas", "cudnn"})
_PREFLIGHT = "torch-preflight 0.5.0, torch 2.11.0+cu128"
FIGURES = (
    Figure(card="t4", num_bytes=110_100_480, is_lazy=True, uses=_NOTHING, source=_PREFLIGHT),
    Figure(card="t4", num_bytes=137_363_456, is_lazy=True, uses=frozenset({"cublas"}), source=_PREFLIGHT),
    Figure(card="t4", num_bytes=141_426_688, is_lazy=True, uses=_ALL, source=_PREFLIGHT),
    Figure(card="rtx3090", num_bytes=256 * _MIB, is_lazy=True, uses=_NOTHING,
           source="invoke-ai/InvokeAI#9413, torch 2.7.1+cu128"),
    Figure(card="rtx6000ada", num_bytes=426 * _MIB, is_lazy=True, uses=_NOTHING,
           source="unslothai/unsloth-zoo#1053, torch 2.10.0+cu130"),
    Figure(card=None, num_bytes=287_047_680, is_lazy=True, uses=_NOTHING, source="pytorch#86509, torch 1.13"),
    Figure(card="a10g", num_bytes=649_592_832, is_lazy=True, uses=_ALL,
           source="optimum-benchmark/cuda 39f9a272: all that NVML calls used, the driver's own too"),
    Figure(card=None, num_bytes=666_632_192, is_lazy=False, uses=_NOTHING, source="pytorch#86509, torch 1.13"),
    Figure(card="rtx2080ti", num_bytes=879 * _MIB, is_lazy=False, uses=_NOTHING,
           source="pytorch#49877, torch 1.6.0+cu101: 1035 MiB with a tensor of 156 MiB"),
    Figure(card="rtx3090", num_bytes=1488 * _MIB, is_lazy=False, uses=_NOTHING,
           source="pytorch#49877, torch 1.7.1+cu110: 1644 MiB with a tensor of 156 MiB"),
    Figure(card=None, num_bytes=871 * _MIB, is_lazy=False, uses=_NOTHING, source="pytorch#49481, of 2020"),
    Figure(card=None, num_bytes=543 * _MIB, is_lazy=False, uses=_NOTHING, source="pytorch#81257, CUDA 11.5"),
)  # fmt: skip
"""What was seen of a process that has done nothing, or as little as loads a library."""

_BYTES_PER_MULTIPROCESSOR = 3 * _MIB
"""The T4 has 2.6 MiB for each of its 40, the RTX 3090 3.1 for each of 82, the RTX 6000 Ada 3.0 for each of 142."""
_LIBRARIES = {"cublas": 27_262_976, "cudnn": 4_063_232}
"""What loading each added on the T4: torch-preflight 0.5.0."""
_MOST_PER_LIBRARY = 160 * _MIB
"""Kernels are loaded one by one: the A10G held 650 MB after it had run a ResNet-50, the driver's own memory included."""
_LEAST, _MOST = 2 / 3, 2
"""How far a card may be from the others: by driver, kernels used, and stacks that kernels ask for."""


def context_bytes(
    card: Card | None,
    *,
    capability: tuple[int, int] | None = None,
    cuda_version: tuple[int, int] = (12, 8),
    uses: AbstractSet[Use] = _ALL,
) -> ContextEstimate:
    """What one process takes of a card besides what its allocator reserves, after it has used the libraries `uses`.

    Without a card, of a typical one of `capability` (8.0 where that is not known either).
    """
    if cuda_version < LAZY_SINCE:
        return _eager(card)
    bare, source = _bare_bytes(card, (card and card.capability) or capability or (8, 0))
    return ContextEstimate(
        low_bytes=int(bare * _LEAST),
        likely_bytes=bare + sum(_LIBRARIES[use] for use in uses),
        high_bytes=_MOST * bare + _MOST_PER_LIBRARY * len(uses),
        source=source,
    )


def _bare_bytes(card: Card | None, capability: tuple[int, int]) -> tuple[int, str]:
    """The context before any library is loaded: as measured on this card, else by its multiprocessors."""
    for figure in FIGURES:
        if card is not None and figure.card == card.name and figure.is_lazy and not figure.uses:
            return figure.num_bytes, figure.source
    count = multiprocessors(capability, card.num_multiprocessors if card else None).count
    return count * _BYTES_PER_MULTIPROCESSOR, f"{count} multiprocessors of 3 MiB, as on T4, RTX 3090 and RTX 6000 Ada"


def _eager(card: Card | None) -> ContextEstimate:
    """With every kernel loaded at once, the libraries' too."""
    known = sorted(figure.num_bytes for figure in FIGURES if not figure.is_lazy)
    same = [f for f in FIGURES if not f.is_lazy and card is not None and f.card == card.name]
    likely = same[0].num_bytes if same else known[len(known) // 2]
    source = same[0].source if same else "CUDA before 11.7, where every kernel is loaded: 543 to 1488 MiB were measured"
    return ContextEstimate(low_bytes=known[0], likely_bytes=likely, high_bytes=known[-1], source=source)


def communicator_bytes(num_gpus: int) -> ContextEstimate:
    """What one NCCL communicator over `num_gpus` takes of each: more with each channel and fast link (NVIDIA/nccl#986).

    544 MiB were seen between two of four A100 with NVLink, 688 MiB between more (#964); up to 1.6 GB with everything
    else of the process (#864). Two channels are the fewest NCCL uses, each with 4 MiB for each way and protocol (#285).
    """
    if num_gpus < 2:
        return ContextEstimate(low_bytes=0, likely_bytes=0, high_bytes=512 * _MIB, source="one rank: NVIDIA/nccl#2363")
    likely = (544 if num_gpus == 2 else 688) * _MIB
    return ContextEstimate(low_bytes=16 * _MIB, likely_bytes=likely, high_bytes=1600 * 10**6, source="NVIDIA/nccl#964")
