"""`ctc_loss` as CUDA computes it: its lengths go to the kernel as numbers, and the kernel keeps the alphas."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lrtool.tracing.fake_values.values import values_of

aten = torch.ops.aten
_NONE, _MEAN = 0, 1


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor | Sequence[int],
    target_lengths: Tensor | Sequence[int],
    blank: int = 0,
    reduction: int = _MEAN,
    zero_infinity: bool = False,
) -> Tensor:
    """`at::ctc_loss` of ATen/native/LossCTC.cpp, with the kernel that takes targets of any type.

    cuDNN's, for whole batches of full length whose targets are int32 on the CPU, is taken for the same.
    """
    is_batched = log_probs.dim() == 3
    probs = log_probs if is_batched else log_probs.unsqueeze(1)
    inputs = _numbers(input_lengths, most=probs.shape[0])
    lengths = _numbers(target_lengths, most=targets.shape[-1])
    loss: Tensor = aten._ctc_loss(probs, targets.to(probs.device, torch.long), inputs, lengths, blank, zero_infinity)[0]
    if zero_infinity:
        loss = torch.where(loss == float("inf"), loss.new_zeros(()), loss)
    if reduction == _MEAN:
        return (loss / torch.tensor(lengths, dtype=loss.dtype, device=loss.device).clamp_min(1)).mean()
    if reduction == _NONE:
        return loss if is_batched else loss.squeeze(0)
    return loss.sum()


def _numbers(lengths: Tensor | Sequence[int], *, most: int) -> list[int]:
    """Lengths as numbers: those of a tensor are copied to the CPU; where they are not known, all are as long as can be."""
    if not isinstance(lengths, Tensor):
        return [int(length) for length in lengths]
    on_cpu = lengths.to("cpu", torch.long).reshape(-1)
    known = values_of(on_cpu)
    return [most] * on_cpu.numel() if known is None else [int(length) for length in known.tolist()]
