"""What memory is allocated for."""

from enum import StrEnum
from typing import Self

AFTER_UPDATE = "after the update"
"""The phase of what a step does once the optimizer has moved on: metrics, averaged weights, evaluation, checkpoints."""


def in_phase(phase: str) -> str:
    """ "in backward", "after the update"."""
    return phase if phase == AFTER_UPDATE else f"in {phase}"


class Category(StrEnum):
    """What an allocation is for, in the order of a budget's lines; a trace from a file may name others, which stay text.

    `plural` is the name of a budget's line, `finding_name` what a finding calls it; without one, it uses the text.
    """

    plural: str
    finding_name: str | None

    PARAMETER = "parameter", "parameters", "weights"
    GRADIENT = "gradient", "gradients", "gradients"
    OPTIMIZER_STATE = "optimizer state", "optimizer state", "optimizer state"
    BUFFER = "buffer", "buffers", "buffers"
    ACTIVATION = "activation", "activations", "activations"
    INPUT = "input", "inputs", "inputs"
    TEMPORARY = "temporary", "temporaries", "temporaries"
    WORKSPACE = "workspace", "workspaces", "workspaces"
    GRADIENT_BUCKET = "gradient bucket", "gradient buckets", None
    COMMUNICATION_BUFFER = "communication buffer", "communication buffers", None
    UNSHARDED_PARAMETER = "unsharded parameter", "unsharded parameters", None

    def __new__(cls, text: str, plural: str, finding_name: str | None) -> Self:
        member = str.__new__(cls, text)
        member._value_, member.plural, member.finding_name = text, plural, finding_name
        return member
