"""GPUs by name, in one table: memory, compute capability, multiprocessors, the CUDA context, and who says so. Pure."""

import re
from dataclasses import dataclass

from lrtool.errors import UsageError, did_you_mean
from lrtool.units import decimal_size, format_bytes, meant_by, parse_memory

_GIB, _MIB = 2**30, 2**20
CONTEXT_BYTES = 512 * _MIB
"""Taken off for the CUDA context, as a round figure: 274 to 636 MiB were measured, see pytorch/pytorch#86509."""
_MAX_THREADS = {
    (6, 0): 2048, (6, 1): 2048, (7, 0): 2048, (7, 5): 1024, (8, 0): 2048, (8, 6): 1536, (8, 9): 1536, (9, 0): 2048,
    (10, 0): 2048, (12, 0): 1536,
}  # fmt: skip
"""Threads that a multiprocessor holds, by compute capability: CUDA C++ Programming Guide, technical specifications."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Multiprocessors:
    """How many a GPU has, and how many threads each of them holds."""

    count: int
    max_threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A GPU model. Its `total_bytes` are what torch reports, or nvidia-smi where the `source` says so.

    `sizes` are the GB that its name may carry. Of AMD's cards only the memory is known: their kernels are not predicted.
    """

    name: str
    title: str
    total_bytes: int
    capability: tuple[int, int] | None
    num_multiprocessors: int | None
    sizes: tuple[int, ...]
    source: str
    context_bytes: int = CONTEXT_BYTES

    @property
    def usable_bytes(self) -> int:
        """What the allocator can get, in whole MiB."""
        return (self.total_bytes - self.context_bytes) // _MIB * _MIB

    @property
    def model(self) -> str:
        """Its name without the size: "a100" for a100-80."""
        return self.name.removesuffix(f"-{self.sizes[0]}")

    def __str__(self) -> str:
        return f"{self.title}: {format_bytes(self.usable_bytes)} usable of {format_bytes(self.total_bytes)}"


_MODAL = "nvidia-smi, modal-labs/modal-client#2797"
_MESSAGE = "torch's out-of-memory messages"


def _card(
    name: str,
    title: str,
    total: float,
    size: int,
    kernels: tuple[int, int, int] | None = None,
    source: str = _MESSAGE,
    *,
    also_called: tuple[int, ...] = (),
) -> Card:
    """A card of nominally `size` GB; `kernels` are its compute capability and its number of multiprocessors."""
    return Card(
        name=name,
        title=title,
        total_bytes=int(total),
        capability=kernels and kernels[:2],
        num_multiprocessors=kernels and kernels[2],
        sizes=(size, *also_called),
        source=source,
    )


CARDS = {
    card.name: card
    for card in (
        _card("gtx1080ti", "GeForce GTX 1080 Ti", 10.92 * _GIB, 11, (6, 1, 28)),
        _card("rtx2080ti", "GeForce RTX 2080 Ti", 10.76 * _GIB, 11, (7, 5, 68), "ispc-lab/TMA#5"),
        _card(
            "rtx3060",
            "GeForce RTX 3060 12 GB",
            11.76 * _GIB,
            12,
            (8, 6, 28),
            "TencentARC/PhotoMaker#47",
        ),
        _card("rtx3070", "GeForce RTX 3070", 7.79 * _GIB, 8, (8, 6, 46), "ultralytics/yolov5#2510"),
        _card("rtx3080", "GeForce RTX 3080 10 GB", 9.78 * _GIB, 10, (8, 6, 68), "zai-org/CogVideo#34"),
        _card(
            "rtx3080-12",
            "GeForce RTX 3080 12 GB",
            11.76 * _GIB,
            12,
            (8, 6, 70),
            "MohamadZeina/Disco_Diffusion_Local#44",
        ),
        _card("rtx3090", "GeForce RTX 3090", 23.70 * _GIB, 24, (8, 6, 82), "GaoLii/DSP#10"),
        _card("rtx3090ti", "GeForce RTX 3090 Ti", 24114 * _MIB, 24, (8, 6, 84), "torch's device properties"),
        _card("rtx4060", "GeForce RTX 4060 8 GB", 7.75 * _GIB, 8, (8, 9, 24), "ESRSchao/EdgeRegNet#2"),
        _card("rtx4070", "GeForce RTX 4070", 11.70 * _GIB, 12, (8, 9, 46), "as the rtx4070ti, by nvidia-smi"),
        _card("rtx4070ti", "GeForce RTX 4070 Ti", 11.70 * _GIB, 12, (8, 9, 60), "Kwai-Kolors/Kolors#11"),
        _card("rtx4080", "GeForce RTX 4080", 16049 * _MIB, 16, (8, 9, 76), "torch's device properties"),
        _card("rtx4090", "GeForce RTX 4090", 23.64 * _GIB, 24, (8, 9, 128), "ali-vilab/VGen#104"),
        _card("rtx5080", "GeForce RTX 5080", 15.48 * _GIB, 16, (12, 0, 84), "vllm-project/vllm#14452"),
        _card(
            "rtx5090",
            "GeForce RTX 5090",
            33677180928,
            32,
            (12, 0, 170),
            "aikitoria/open-gpu-kernel-modules#1",
        ),
        _card("a5000", "RTX A5000", 24248 * _MIB, 24, (8, 6, 64), "torch's device properties"),
        _card("a6000", "RTX A6000", 47.53 * _GIB, 48, (8, 6, 84)),
        _card(
            "rtx6000ada",
            "RTX 6000 Ada",
            44.43 * _GIB,
            48,
            (8, 9, 142),
            "with ECC, DINGYANB/MTVCrafter#21",
        ),
        _card("p100", "Tesla P100 16 GB", 16280.875 * _MIB, 16, (6, 0, 56), "ultralytics/yolov5#318"),
        _card("v100-16", "Tesla V100 16 GB", 15.78 * _GIB, 16, (7, 0, 80), "kchengiva/Shift-GCN#34"),
        _card("v100-32", "Tesla V100 32 GB", 31.74 * _GIB, 32, (7, 0, 80), "haotian-liu/LLaVA#812"),
        _card("t4", "Tesla T4", 14.56 * _GIB, 16, (7, 5, 40), "Zheng-Chong/CatVTON#133"),
        _card("a10", "A10", 23028 * _MIB, 24, (8, 6, 72), _MODAL),
        _card("a10g", "A10G", 22.06 * _GIB, 24, (8, 6, 80)),
        _card("a30", "A30", 23.53 * _GIB, 24, (8, 0, 56), "google/RB-Modulation#5"),
        _card("l4", "L4", 23034 * _MIB, 24, (8, 9, 58), _MODAL),
        _card("l40s", "L40S", 46068 * _MIB, 48, (8, 9, 142), _MODAL),
        _card("a100-40", "A100 40 GB", 39.50 * _GIB, 40, (8, 0, 108), "TianheWu/CoSeR#10"),
        _card("a100-80", "A100 80 GB", 79.14 * _GIB, 80, (8, 0, 108), "lianqi1008/Control-GIC#6"),
        _card("h100", "H100 80 GB", 79.11 * _GIB, 80, (9, 0, 132), "vllm-project/vllm#27508"),
        _card("h100-nvl", "H100 NVL 94 GB", 93.00 * _GIB, 94, (9, 0, 132), "ali-vilab/VACE#56"),
        _card("gh200", "GH200 96 GB", 94.50 * _GIB, 96, (9, 0, 132), also_called=(480,)),
        _card("h200", "H200", 139.80 * _GIB, 141, (9, 0, 132)),
        _card("b200", "B200", 178.35 * _GIB, 180, (10, 0, 148)),
        _card("mi250x", "Instinct MI250X, one of its two devices", 63.98 * _GIB, 64),
        _card("mi300x", "Instinct MI300X", 191.69 * _GIB, 192),
    )
}
"""Compute capabilities: developer.nvidia.com/cuda-gpus. Multiprocessors: NVIDIA's architecture white papers."""
_USUAL = {"a100": "a100-80", "v100": "v100-32"}
"""Which size is meant where none is given."""
_TYPICAL = {
    CARDS[name].capability: CARDS[name]
    for name in ("p100", "gtx1080ti", "v100-32", "t4", "a100-80", "rtx3090", "rtx4090", "h100", "b200", "rtx5090")
}
"""By compute capability, for a GPU of which nothing else is known."""
_SAYS_NOTHING = re.compile(
    r"nvidia|geforce|tesla|amd|instinct|gpu|generation|gb|gib|sxm\d?|pcie|hbm\d?e?|oam|vf"
    # of AMD's MI250X torch prints both names of the board
    r"|mi250(?!x)"
)


def find_card(text: str) -> Card | None:
    """The card called "rtx4090", "3090 Ti", "a100-40", "NVIDIA A100-SXM4-80GB" ..., or None.

    A size that is named is the card's own: there is none for "rtx 3080 20gb".
    """
    words = [word for word in re.split(r"[\s_/-]+", text.lower()) if word and not _SAYS_NOTHING.fullmatch(word)]
    sizes = [word for word in words if re.fullmatch(r"\d{1,3}(gb|gib)?", word)]
    model = "".join(word for word in words if word not in sizes)
    if re.fullmatch(r"\d{4}ti", model):
        model = ("gtx" if model.startswith("1") else "rtx") + model
    fitting = [card for card in CARDS.values() if _is_called(card, model, sizes)]
    usual = CARDS.get(_USUAL.get(model, model))
    return usual if usual in fitting else fitting[0] if len(fitting) == 1 else None


def _is_called(card: Card, model: str, sizes: list[str]) -> bool:
    names = {card.model, card.model.replace("-", ""), card.name.replace("-", "")}
    if not names & {model, model.removeprefix("rtx")}:
        return False
    return all(int(re.sub(r"\D", "", size)) in card.sizes for size in sizes)


def multiprocessors(capability: tuple[int, int], count: int | None = None) -> Multiprocessors:
    """Those of a GPU with `count` of them; without a count, of a typical one of that capability, or of the next lower one."""
    known = max((each for each in _MAX_THREADS if each <= capability), default=min(_MAX_THREADS))
    typical = _TYPICAL[known].num_multiprocessors
    assert typical is not None
    return Multiprocessors(count=count or typical, max_threads=_MAX_THREADS[known])


def known_card(text: str) -> Card:
    """The card of that name, for a prediction. Raises UsageError with the nearest one."""
    card = find_card(text)
    if card is None:
        raise UsageError(f"--gpu: unknown card {text!r}", hint=_nearest(text))
    if card.capability is None:
        hint = f"limit the memory with --capacity {card.name}, and name an NVIDIA card for the kernels"
        raise UsageError(f"--gpu: of {card.title} only the memory is known, not what its kernels use", hint=hint)
    return card


_LOOKS_LIKE_A_SIZE = re.compile(r"\s*([+-]|\d|\.\d|(nan|inf)\w*\s*$)", re.IGNORECASE)
_SIZE_HINT = "give a size like 24GiB, or a card like rtx4090"


def parse_capacity(text: str) -> tuple[int, Card | None]:
    """Bytes of "24GiB", or of a card by its name together with the card. Raises UsageError."""
    card = find_card(text)
    if card is not None:
        return card.usable_bytes, card
    if not _LOOKS_LIKE_A_SIZE.match(text):
        raise UsageError(f"unknown card {text!r}", hint=f"{_nearest(text)} or give a size like 24GiB")
    try:
        num_bytes = parse_memory(text)
    except UsageError as error:
        sizes = meant_by(text) if len(text.strip()) < 4 else ()
        hint = _nearest(text, *sizes) if _cards_with(text) else error.hint
        raise UsageError(f"capacity: {error.message}", hint=hint) from None
    if num_bytes == 0:
        raise UsageError(f"capacity: {text!r} is no memory at all", hint=_SIZE_HINT)
    return num_bytes, None


def capacity_note(text: str) -> str | None:
    """What to say of a capacity in powers of ten, which is less than the card of that name has; else None."""
    told = None if find_card(text) is not None else decimal_size(text)
    if told is None:
        return None
    number, unit = told.split()[:2]
    fitting = [card.name for card in CARDS.values() if unit == "GB" and float(number) == card.sizes[0]]
    binary = f"{number}{unit[0]}iB"
    if not fitting:
        return f"{told}; for powers of two say {binary}"
    name = next((name for name in reversed(fitting) if name.startswith("rtx")), fitting[-1])
    article = "an" if number.startswith("8") or number in ("11", "18") else "a"
    return f"{told}; for {article} {number} GB card say {name} or {binary}"


def _nearest(text: str, *sizes: str) -> str:
    """The hint for what is no card, though it may be the number of one, and for the sizes that a number may be, too."""
    meant = [*(card.name for card in _cards_with(text)), *sizes]
    return f"did you mean {' or '.join(map(repr, meant))}?" if meant else did_you_mean(text.lower(), CARDS)


def _cards_with(text: str) -> list[Card]:
    """The cards in whose name stands the number of three or four digits that `text` begins with."""
    number = re.match(r"\s*(\d{3,4})(?![\d.,])", text)
    return [card for card in CARDS.values() if number is not None and number[1] in re.findall(r"\d+", card.name)]
