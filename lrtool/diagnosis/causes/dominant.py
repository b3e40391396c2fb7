"""What makes the peak where a few lines do: copies of the logits, a dense gradient, a repeated tensor, kept outputs. Pure.

The lines that are live at the peak tell it by what made them, and by their shapes. Cures follow from that, and leave out what
is in force already.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lrtool.diagnosis.run_figures import RunFigures
from lrtool.memory.attribution.budget import PLURALS
from lrtool.memory.attribution.peak import num_elements, sizes_of
from lrtool.results import AFTER_UPDATE, Category, PeakLine
from lrtool.units import format_bytes

DOMINANT_SHARE = 0.2
"""So much of the peak makes what a few lines have in common worth naming."""
MIN_CLASSES = 1_000
MANY_OUTPUTS = 4
SHOWN_LINES = 5
_NOT_OF_A_LINE = (Category.PARAMETER, Category.OPTIMIZER_STATE, Category.BUFFER, Category.WORKSPACE)
_DENSE_GRADIENT = ("embedding_dense_backward", "_embedding_bag_dense_backward")
_JOINING = ("cat", "stack")
_REPEATING = ("repeat", "repeat_interleave", "tile")
_EVALUATING = ("evaluation", AFTER_UPDATE)

CPU_OUTPUTS = (
    "move each batch's outputs to the CPU, outputs.append(model(x).cpu()), or keep argmax(-1) alone; in a Trainer "
    "eval_accumulation_steps, or preprocess_logits_for_metrics"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dominant:
    """What a few lines of the peak have in common, largest line first."""

    what: str
    cure: str
    lines: tuple[PeakLine, ...]

    @property
    def num_bytes(self) -> int:
        return sum(line.num_bytes for line in self.lines)

    @property
    def source(self) -> str:
        return self.lines[0].text

    @property
    def evidence(self) -> tuple[str, ...]:
        """The lines, largest first."""
        return tuple(
            f"{format_bytes(line.num_bytes)} from {line.text}: {line.what}" for line in self.lines[:SHOWN_LINES]
        )


_Is = Callable[[PeakLine, RunFigures], bool]


def dominant(figures: RunFigures) -> Dominant | None:
    """What makes up the largest part of the peak, a fifth of it at least; None where no lines do, or none are known."""
    found = max(_kinds(figures), key=lambda each: each.num_bytes, default=None)
    return found if found is not None and _is_much(found, figures) else _largest_line(figures)


def kept_outputs(figures: RunFigures) -> Dominant | None:
    """What evaluation collects on the GPU, where it makes a fifth of the peak."""
    found = _of_kind(figures, "outputs that evaluation keeps dominate", CPU_OUTPUTS, _is_kept_output)
    return found if found is not None and _is_much(found, figures) else None


def cure_of(category: str, figures: RunFigures) -> str:
    """What makes a category smaller, without what is in force already."""
    is_half = figures.computes_in_half
    bf16 = [] if is_half else ["bf16 autocast"]
    again = [] if figures.has_checkpointing else ["activation checkpointing"]
    ways = {
        Category.ACTIVATION: [*again, *bf16, "a smaller batch with accumulation"],
        Category.TEMPORARY: ["a smaller batch", "chunked losses", *bf16],
        Category.PARAMETER: [*([] if is_half else ["bf16 weights"]), "sharding over GPUs (FSDP2)"],
        Category.GRADIENT: ["optimizer steps in backward", "sharding over GPUs (FSDP2)"],
        Category.OPTIMIZER_STATE: ["an 8-bit or stateless optimizer", "sharding over GPUs (FSDP2)"],
        Category.INPUT: ["smaller batches", "data types of fewer bytes"],
    }
    known = {str(name): each for name, each in ways.items()}
    return _in_words(known.get(category, ["a smaller batch", *bf16, *again]))


def _in_words(ways: Sequence[str]) -> str:
    *first, last = ways
    return f"{', '.join(first)}, or {last}" if first else last


def _kinds(figures: RunFigures) -> Iterator[Dominant]:
    bf16 = "" if figures.computes_in_half else ", and bf16"
    kinds: tuple[tuple[str, str, _Is], ...] = (
        (
            "copies of the logits dominate",
            "compute the loss in chunks of tokens (torch.utils.checkpoint), or fused with the head (Liger's "
            f"FusedLinearCrossEntropy); logits_to_keep where only the last tokens count; no .float() of all logits{bf16}",
            _is_of_logits,
        ),
        (
            "the dense gradient of an embedding dominates",
            "sparse=True in the embedding, with SGD, SparseAdam or Adagrad; its gradient then has the rows of the batch only",
            lambda line, _: line.operator in _DENSE_GRADIENT,
        ),
        (
            "a repeated tensor dominates",
            "expand in place of repeat: x.expand(...) repeats without memory, and broadcasting needs neither",
            lambda line, _: line.operator in _REPEATING,
        ),
        ("outputs that evaluation keeps dominate", CPU_OUTPUTS, _is_kept_output),
    )
    for what, cure, belongs in kinds:
        found = _of_kind(figures, what, cure, belongs)
        if found is not None:
            yield found


def _of_kind(figures: RunFigures, what: str, cure: str, belongs: _Is) -> Dominant | None:
    lines = tuple(line for line in figures.peak_lines if line.category not in _NOT_OF_A_LINE and belongs(line, figures))
    return Dominant(what=what, cure=cure, lines=lines) if lines else None


def _largest_line(figures: RunFigures) -> Dominant | None:
    line = next((line for line in figures.peak_lines if line.category not in _NOT_OF_A_LINE), None)
    if line is None:
        return None
    name = PLURALS.get(line.category or "", "tensors")
    found = Dominant(what=f"the {name} of one line dominate", cure=cure_of(line.category or "", figures), lines=(line,))
    return found if _is_much(found, figures) else None


def _is_much(found: Dominant, figures: RunFigures) -> bool:
    return found.num_bytes >= DOMINANT_SHARE * figures.own_peak_bytes


def _is_of_logits(line: PeakLine, figures: RunFigures) -> bool:
    """Of the size of what the loss takes the log-softmax of, or with as many classes in its last dimension."""
    if line.shape is None or figures.loss_shape is None:
        return False
    classes = sizes_of(figures.loss_shape)[-1:]
    if classes < (MIN_CLASSES,):
        return False
    return sizes_of(line.shape)[-1:] == classes or num_elements(line.shape) == num_elements(figures.loss_shape)


def _is_kept_output(line: PeakLine, _: RunFigures) -> bool:
    if line.phase not in _EVALUATING:
        return False
    is_many = line.num_alike >= MANY_OUTPUTS and (line.phase == "evaluation" or line.module is not None)
    return is_many or line.operator in _JOINING
