"""Rebuilds the training of PEFT's method comparison: Llama-3.2-3B, one method's adapter, and its script's step.

What is held in memory follows method_comparison/MetaMathQA/run.py and utils.py of huggingface/peft, with its
default_training_params.json: weights in bfloat16, adapters in float32, no autocast, no gradient checkpointing, AdamW,
gradients clipped, batches of 4 padded on the right. The names `outputs`, `loss` and `batch` live on into the next step
there, and so they do here. It needs transformers and peft.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peft_methods import Method

BATCH = 4
ADALORA_STEP = 1000
"""The step that AdaLora's schedule is told: between its warm-up of 200 and the last 500 of 5000, where it prunes."""

LLAMA = {
    "vocab_size": 128256, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28,
    "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5, "tie_word_embeddings": True, "bos_token_id": 128000, "eos_token_id": 128001,
    "dtype": "bfloat16",
}  # fmt: skip
"""Llama-3.2-3B's config.json; the rows' 3,212,749,824 parameters agree with it."""

ROPE = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip


def base_model() -> nn.Module:
    """The model on the GPU, as transformers loads it: first one block as large as all weights, freed at once.

    That block is `caching_allocator_warmup` in transformers' modeling_utils.py; the weights are then cut from it.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**LLAMA, rope_parameters=ROPE)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(torch.float32)
    num_weights = sum(parameter.numel() for parameter in model.parameters())
    torch.empty(num_weights, dtype=torch.float16, device="cuda")
    model.to_empty(device="cuda")
    model.tie_weights()
    return model  # type: ignore[no-any-return]


def adapted(model: nn.Module, method: Method) -> nn.Module:
    """The model with a method's adapter."""
    if method.peft_type is None:
        return model
    from peft import PeftConfig, get_peft_model

    config = PeftConfig.from_peft_type(peft_type=method.peft_type, **method.settings)
    return get_peft_model(model, config, autocast_adapter_dtype=method.casts_adapter)  # type: ignore[no-any-return]


def num_parameters(model: Any) -> tuple[int, int]:
    """(trainable, all), as the comparison's script counts them."""
    if hasattr(model, "get_nb_trainable_parameters"):
        return model.get_nb_trainable_parameters()  # type: ignore[no-any-return]
    return model.num_parameters(), model.num_parameters()


class Training:
    """The state of the script's training loop."""

    def __init__(self, model: Any, method: Method) -> None:
        self._model, self._method = model, method
        self._optimizer = _optimizer(model, method)
        self._batch: dict[str, Tensor] = {}
        self._outputs: Any = None
        self._loss: Tensor | None = None
        model.train()

    def step(self, lengths: Sequence[int]) -> None:
        """One step on sequences of these lengths in tokens, padded to the longest."""
        batch = self._batch = _padded(lengths)
        labels = batch["input_ids"].clone()
        for index, length in enumerate(lengths):
            labels[index, length + 1 :] = -100
        batch["labels"] = labels
        num_items = batch["attention_mask"].sum().item()
        self._optimizer.zero_grad()
        self._outputs = self._model(**batch, num_items_in_batch=num_items)
        self._loss = self._outputs.loss
        assert self._loss is not None
        self._loss.backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        if self._method.peft_type == "ADALORA":
            self._model.base_model.update_and_allocate(ADALORA_STEP)


def _optimizer(model: nn.Module, method: Method) -> torch.optim.Optimizer:
    if method.optimizer == "lora-fa":
        from peft.optimizers import create_lorafa_optimizer

        settings = method.settings
        return create_lorafa_optimizer(  # type: ignore[no-any-return]
            model, r=settings["r"], lora_alpha=settings["lora_alpha"], lr=1e-4, weight_decay=0.1
        )
    return torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1)


def _padded(lengths: Sequence[int]) -> dict[str, Tensor]:
    longest = max(lengths)
    mask = torch.tensor([[1] * length + [0] * (longest - length) for length in lengths])
    return {"input_ids": torch.ones(len(lengths), longest, dtype=torch.int64).cuda(), "attention_mask": mask.cuda()}


def batch_of(longest: int) -> list[int]:
    """Lengths of a batch as sorting by length leaves them: close to each other, and never all equal."""
    return [math.ceil(longest * (1 - 0.02 * index)) for index in range(BATCH)]
