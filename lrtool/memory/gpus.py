"""GPUs by name: the memory that each offers a training process, its compute capability and its multiprocessors."""

import re
from dataclasses import dataclass

from lrtool.errors import UsageError, did_you_mean
from lrtool.units import format_bytes, parse_bytes

CONTEXT_BYTES = 512 * 2**20
"""Taken off for the CUDA context, as a round figure: 274 to 636 MiB were measured, see pytorch/pytorch#86509."""
_GIB = 2**30
_MIB = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Multiprocessors:
    """How many a GPU has, and how many threads each of them holds."""

    count: int
    max_threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A GPU model; `total_bytes` as the `source` reports it, read off torch or, where it says so, nvidia-smi."""

    name: str
    title: str
    total_bytes: int
    source: str

    @property
    def usable_bytes(self) -> int:
        """What the allocator can get, in whole MiB."""
        return (self.total_bytes - CONTEXT_BYTES) // _MIB * _MIB

    def __str__(self) -> str:
        return f"{self.title}: {format_bytes(self.usable_bytes)} usable of {format_bytes(self.total_bytes)}"


def _card(name: str, title: str, total: float, source: str) -> Card:
    return Card(name=name, title=title, total_bytes=int(total), source=source)


_MODAL = "nvidia-smi, github.com/modal-labs/modal-client/pull/2797"
CARDS = {
    card.name: card
    for card in (
        _card("rtx3080", "GeForce RTX 3080 10 GB", 9.78 * _GIB, "github.com/zai-org/CogVideo/issues/34"),
        _card("rtx3090", "GeForce RTX 3090", 23.70 * _GIB, "github.com/GaoLii/DSP/issues/10"),
        _card("rtx4060", "GeForce RTX 4060 8 GB", 7.75 * _GIB, "github.com/ESRSchao/EdgeRegNet/issues/2"),
        _card("rtx4090", "GeForce RTX 4090", 23.64 * _GIB, "github.com/ali-vilab/VGen/issues/104"),
        _card("rtx5090", "GeForce RTX 5090", 33677180928, "github.com/aikitoria/open-gpu-kernel-modules/issues/1"),
        _card("t4", "Tesla T4", 14.56 * _GIB, "github.com/Zheng-Chong/CatVTON/issues/133"),
        _card("v100-32", "Tesla V100 32 GB", 31.74 * _GIB, "github.com/haotian-liu/LLaVA/issues/812"),
        _card("a10", "A10", 23028 * _MIB, _MODAL),
        _card("a30", "A30", 23.53 * _GIB, "github.com/google/RB-Modulation/issues/5"),
        _card("l4", "L4", 23034 * _MIB, _MODAL),
        _card("l40s", "L40S", 46068 * _MIB, _MODAL),
        _card("a100-40", "A100 40 GB", 39.50 * _GIB, "github.com/TianheWu/CoSeR/issues/10"),
        _card("a100-80", "A100 80 GB", 79.14 * _GIB, "github.com/lianqi1008/Control-GIC/issues/6"),
        _card("h100", "H100 80 GB", 79.11 * _GIB, "github.com/vllm-project/vllm/issues/27508"),
        _card("h100-nvl", "H100 NVL 94 GB", 93.00 * _GIB, "github.com/ali-vilab/VACE/issues/56"),
    )
}
_ALIASES = {"a100": "a100-80", "v100": "v100-32"}


def find_card(text: str) -> Card | None:
    """The card called "rtx4090", "RTX 4090", "a100-40" ..., or None."""
    plain = re.sub(r"^(nvidia|geforce|tesla)+", "", re.sub(r"[\s_]", "", text.lower()))
    plain = re.sub(r"(gb|gib)$", "", plain)
    spelling = _ALIASES.get(plain, plain)
    dashless = {name.replace("-", ""): card for name, card in CARDS.items()}
    return CARDS.get(spelling) or dashless.get(spelling.replace("-", ""))


def known_card(text: str) -> Card:
    """The card of that name. Raises UsageError with the nearest one."""
    card = find_card(text)
    if card is None:
        raise UsageError(f"--gpu: unknown card {text!r}", hint=did_you_mean(text.lower(), CARDS))
    return card


def parse_capacity(text: str) -> tuple[int, Card | None]:
    """Bytes of "24GiB", or of a card by its name together with the card. Raises UsageError."""
    card = find_card(text)
    if card is not None:
        return card.usable_bytes, card
    if re.match(r"\s*\d", text):
        return parse_bytes(text), None
    raise UsageError(f"unknown card {text!r}", hint=f"{did_you_mean(text.lower(), CARDS)} or give a size like 24GiB")


MULTIPROCESSORS = {
    (7, 0): Multiprocessors(count=80, max_threads=2048),
    (7, 5): Multiprocessors(count=40, max_threads=1024),
    (8, 0): Multiprocessors(count=108, max_threads=2048),
    (8, 6): Multiprocessors(count=82, max_threads=1536),
    (8, 9): Multiprocessors(count=128, max_threads=1536),
    (9, 0): Multiprocessors(count=132, max_threads=2048),
    (10, 0): Multiprocessors(count=148, max_threads=2048),
    (12, 0): Multiprocessors(count=170, max_threads=1536),
}
"""By compute capability: V100, T4, A100, RTX 3090, RTX 4090, H100, B200, RTX 5090. Threads: CUDA C++ Programming Guide,
table of technical specifications; counts: NVIDIA's architecture white papers. Smaller cards of a capability have fewer."""
CAPABILITIES = {
    "rtx3080": (8, 6), "rtx3090": (8, 6), "rtx4060": (8, 9), "rtx4090": (8, 9), "rtx5090": (12, 0), "t4": (7, 5),
    "v100-32": (7, 0), "a10": (8, 6), "a30": (8, 0), "l4": (8, 9), "l40s": (8, 9), "a100-40": (8, 0), "a100-80": (8, 0),
    "h100": (9, 0), "h100-nvl": (9, 0),
}  # fmt: skip
"""CUDA compute capability by card, developer.nvidia.com/cuda-gpus: it decides which kernels torch takes."""
