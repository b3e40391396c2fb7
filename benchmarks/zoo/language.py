"""transformers' language models: dense, of experts, recurrent, encoders, and encoders with decoders."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.zoo.entry import Entry, Setup, tokens, training

_SMALL = {
    "vocab_size": 256, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
}  # fmt: skip
_GROUPED = {**_SMALL, "num_key_value_heads": 2}
_PADDED = {"pad_token_id": 0}
_EXPERTS = {**_GROUPED, "num_experts_per_tok": 2, **_PADDED}
_CAUSAL: dict[str, dict[str, Any]] = {
    "GPT2": {"vocab_size": 256, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "Llama": {**_GROUPED, **_PADDED},
    "Qwen3": {**_GROUPED, "head_dim": 16},
    "Gemma2": {**_GROUPED, "head_dim": 16, "sliding_window": 16, **_PADDED},
    "Gemma3Text": {**_GROUPED, "head_dim": 16, "sliding_window": 16, **_PADDED},
    "Mistral": {**_GROUPED, "sliding_window": 16, **_PADDED},
    "Phi3": {**_GROUPED, **_PADDED},
    "GPTNeoX": {**_SMALL, **_PADDED},
    "OPT": {
        "vocab_size": 256, "hidden_size": 64, "ffn_dim": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "word_embed_proj_dim": 64, "max_position_embeddings": 64,
    },
    "Bloom": {"vocab_size": 256, "hidden_size": 64, "n_layer": 2, "n_head": 4},
    "Mixtral": {**_EXPERTS, "num_local_experts": 4},
    "Qwen3Moe": {**_EXPERTS, "head_dim": 16, "num_experts": 4, "moe_intermediate_size": 64},
    "GptOss": {**_EXPERTS, "head_dim": 16, "num_local_experts": 4, "sliding_window": 16},
    "Mamba": {"vocab_size": 256, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 8},
    "Mamba2": {
        "vocab_size": 256, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 8, "head_dim": 16, "num_heads": 8,
        "n_groups": 1, "chunk_size": 16,
    },
}  # fmt: skip
_MASKED: dict[str, dict[str, Any]] = {
    "Bert": _SMALL,
    "DistilBert": {"vocab_size": 256, "dim": 64, "hidden_dim": 128, "n_layers": 2, "n_heads": 4},
    "Roberta": {**_SMALL, "max_position_embeddings": 80},
    "Albert": {**_SMALL, "embedding_size": 32},
    "DebertaV2": {
        **_SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 32,
    },
    "ModernBert": {**_SMALL, **_PADDED, "local_attention": 16},
}  # fmt: skip
_T5 = {
    "vocab_size": 256, "d_model": 64, "d_ff": 128, "d_kv": 16, "num_layers": 2, "num_heads": 4,
    "decoder_start_token_id": 0,
}  # fmt: skip
_BART = {
    "vocab_size": 256, "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "max_position_embeddings": 64,
}  # fmt: skip


def entries() -> Iterator[Entry]:
    """With the model's own loss of 2 by 32 tokens."""
    entry = partial(Entry, packages=("transformers",))
    for kind, config in _CAUSAL.items():
        yield entry(name=f"transformers/{kind}", build=partial(_language, kind, config, _causal_head(kind)))
    for kind, config in _MASKED.items():
        yield entry(name=f"transformers/{kind}", build=partial(_language, kind, config, f"{kind}ForMaskedLM"))
    yield entry(name="transformers/T5", build=partial(_language, "T5", _T5, "T5ForConditionalGeneration"))
    yield entry(name="transformers/Bart", build=partial(_language, "Bart", _BART, "BartForConditionalGeneration"))


def _causal_head(kind: str) -> str:
    return {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}.get(kind, f"{kind}ForCausalLM")


def _language(kind: str, config: dict[str, Any], head: str) -> Setup:
    import transformers

    model = getattr(transformers, head)(getattr(transformers, f"{kind}Config")(**config))
    ids = tokens()
    mask = torch.ones_like(ids)
    mask[1, 24:] = 0
    return training(model, {"input_ids": ids, "attention_mask": mask, "labels": ids})
