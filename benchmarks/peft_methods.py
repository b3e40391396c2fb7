"""The adapter settings of PEFT's method comparison, as far as they differ from each method's defaults.

Source of each: huggingface/peft, method_comparison/MetaMathQA/experiments/METHOD/llama-3.2-3B-NAME/adapter_config.json and,
for what concerns the optimizer, training_params.json beside it; the row's name is METHOD--llama-3.2-3B-NAME.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How one row trains: without a `peft_type` all weights are trained."""

    peft_type: str | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    optimizer: str = "AdamW"
    casts_adapter: bool = True


def _method(peft_type: str, **settings: Any) -> Method:
    return Method(peft_type=peft_type, settings=settings)


_QV = ["q_proj", "v_proj"]
_MLP = ["gate_proj", "up_proj", "down_proj"]
_ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
_CAUSAL = "CAUSAL_LM"
_PROMPT = {"task_type": _CAUSAL, "num_attention_heads": 24, "num_layers": 28, "num_transformer_submodules": 1,
           "token_dim": 3072}  # fmt: skip
_PREFIX = {**_PROMPT, "encoder_hidden_size": 3072, "prefix_projection": False}
_OSF_RANKS = dict.fromkeys(("q_proj", "o_proj", *_MLP), 2944) | dict.fromkeys(("k_proj", "v_proj"), 896)
_BLOCKS = {"target_modules_bd_a": ["o_proj", "down_proj"], "nblocks": 2,
           "target_modules_bd_b": ["q_proj", "v_proj", "k_proj", "up_proj", "gate_proj"]}  # fmt: skip

METHODS: Mapping[str, Method] = {
    "adalora--rank32": _method("ADALORA", init_r=64, target_r=32, tinit=200, tfinal=500, deltaT=1, total_step=5000),
    "adamss--rank32": _method("ADAMSS", task_type=_CAUSAL, r=100, num_subspaces=32, subspace_rank=1,
                              init_weights="orthogonal", use_asa=False),
    "adaptionprompt--lr_0.0005": _method("ADAPTION_PROMPT", task_type=_CAUSAL, adapter_layers=28, adapter_len=100),
    "adaptionprompt--lr_5e-3": _method("ADAPTION_PROMPT", adapter_layers=28, adapter_len=100),
    "beft--target-v_proj": _method("BEFT", target_modules=["v_proj"]),
    "boft--default": _method("BOFT", boft_block_size=4, boft_block_num=0),
    "c3a--default": _method("C3A", block_size=64, target_modules=_QV),
    "deft--rank32-para": _method("DEFT", task_type=_CAUSAL, r=32, decomposition_method="qr", para=True),
    "deft--rank32": _method("DEFT", task_type=_CAUSAL, r=32, decomposition_method="relu", para=False, alpha=128,
                            init_scale=1.0),
    "delora--rank32": _method("DELORA", task_type=_CAUSAL, r=32, delora_lambda=15),
    "fourierft--default": _method("FOURIERFT", n_frequency=1000, scaling=300, target_modules=_QV),
    "fourierft--n_frequency-5000": _method("FOURIERFT", n_frequency=5000, scaling=300, target_modules=_QV),
    "frod--default": _method("FROD", task_type=_CAUSAL, sparse_rate=0.01, runtime_offload_base_weight=True,
                             regularization_alpha=0.001),
    "frod--sparse0.02-lr_0.001": _method("FROD", task_type=_CAUSAL, sparse_rate=0.02, runtime_offload_base_weight=True,
                                         regularization_alpha=0.001),
    "full-finetuning--lr_0.00001": Method(peft_type=None),
    "glora--default": _method("GLORA", task_type=_CAUSAL, r=8, config_A_B="lora", config_C="lora", config_D_E="constant",
                              target_modules=_QV),
    "glora--vector-paths": _method("GLORA", task_type=_CAUSAL, r=8, config_A_B="vector", config_C="vector",
                                   config_D_E="constant", target_modules=_QV),
    "gralora--rank32": _method("GRALORA", r=32, gralora_alpha=64, gralora_k=2, hybrid_r=0),
    "hira--rank32-lr4.5e-3": _method("HIRA", task_type=_CAUSAL, r=32, target_modules=_QV),
    "ia3--all-attn-5k-lr0.005": _method("IA3", target_modules=[*_ATTENTION, *_MLP], feedforward_modules=_MLP),
    "ia3--default": _method("IA3"),
    "ia3--lr_0.001": _method("IA3"),
    "lily--rank140-mlp-a2-b2-s8.0": _method("LILY", r=140, num_B=2, stride_A=14, scaling=8.0, target_modules=_MLP),
    "lily--rank896-a2-b2-s2.0": _method("LILY", r=896, num_B=2, stride_A=14, scaling=2.0, target_modules=_QV),
    "ln_tuning--default": _method("LN_TUNING"),
    "loha--rank32": _method("LOHA", r=32, alpha=64, target_modules=_QV),
    "lokr--rank32-factor4-lr0.003": _method("LOKR", r=32, alpha=64, decompose_factor=4, target_modules=_QV),
    "lora--rank10-target-mlp": _method("LORA", task_type=_CAUSAL, r=10, lora_alpha=20, target_modules=_MLP),
    "lora--rank14-target-mlp-bdlora": _method("LORA", task_type=_CAUSAL, r=14, lora_alpha=28, target_modules=_MLP,
                                              use_bdlora=_BLOCKS),
    "lora--rank32-dora": _method("LORA", task_type=_CAUSAL, r=32, lora_alpha=64, use_dora=True),
    "lora--rank32-lorafa": Method(peft_type="LORA", settings={"task_type": _CAUSAL, "r": 32, "lora_alpha": 64},
                                  optimizer="lora-fa"),
    "lora--rank32-mica": _method("LORA", task_type=_CAUSAL, r=32, lora_alpha=64, init_lora_weights="mica"),
    "lora--rank32": _method("LORA", task_type=_CAUSAL, r=32, lora_alpha=64),
    "lora--rank64-rslora": _method("LORA", task_type=_CAUSAL, r=64, lora_alpha=64, use_rslora=True),
    "lora--rank64": _method("LORA", task_type=_CAUSAL, r=64, lora_alpha=128),
    "miss--bat": _method("MISS", r=64, mini_r=1, init_weights="bat"),
    "miss--default": _method("MISS", r=64, mini_r=1),
    "miss--mini": _method("MISS", r=64, mini_r=64, init_weights="mini"),
    "oft--rank32": _method("OFT", r=32, oft_block_size=0, target_modules=_QV),
    "osf--rank128": Method(peft_type="OSF", casts_adapter=False,
                           settings={"target_modules": [*_ATTENTION, *_MLP], "rank_pattern": _OSF_RANKS}),
    "peanut--rank1-relu-depth0-s32.0": _method("PEANUT", r=1, act_fn="relu", depth=0, scaling=32.0, target_modules=_QV),
    "peanut--rank32-relu-depth0-s2.0": _method("PEANUT", r=32, act_fn="relu", depth=0, scaling=2.0, target_modules=_QV),
    "prefixtuning--lr_0.001": _method("PREFIX_TUNING", num_virtual_tokens=200, **_PREFIX),
    "prefixtuning--lr_0.005_zero_init": _method("PREFIX_TUNING", num_virtual_tokens=200, init_weights="zero", **_PREFIX),
    "prefixtuning--tokens50-init_prefix-lr_0.005": _method("PREFIX_TUNING", num_virtual_tokens=50, init_weights="zero",
                                                           **_PREFIX),
    "prompt_tuning--default": _method("PROMPT_TUNING", num_virtual_tokens=200, **_PROMPT),
    "prompt_tuning--lr_0.001": _method("PROMPT_TUNING", num_virtual_tokens=200, **_PROMPT),
    "prompt_tuning--sample_vocab-lr_0.001": _method("PROMPT_TUNING", num_virtual_tokens=200,
                                                    prompt_tuning_init="SAMPLE_VOCAB", **_PROMPT),
    "psoft--default": _method("PSOFT", r=256, psoft_alpha=256, psoft_svd="full", use_cayley_neumann=False),
    "psoft--fast": _method("PSOFT", r=256, psoft_alpha=256, psoft_svd="lowrank", psoft_svd_lowrank_niter=10,
                           use_cayley_neumann=True),
    "ptuning--default": _method("P_TUNING", num_virtual_tokens=20, encoder_hidden_size=3072, **_PROMPT),
    "pvera--default": _method("PVERA", r=256),
    "pvera--rank64": _method("PVERA", r=64),
    "randlora--default": _method("RANDLORA", r=32, randlora_alpha=640),
    "road--lr_0.001": _method("ROAD", group_size=64, variant="road_2"),
    "shira--lr_0.0003-random_seed_42": _method("SHIRA", r=32, random_seed=42),
    "tinylora--default": _method("TINYLORA", r=2, u=64, weight_tying=0.0, projection_seed=42),
    "tinylora--weight-tying": _method("TINYLORA", r=2, u=64, weight_tying=1.0, projection_seed=42),
    "trainable_tokens--sos+eos": _method("TRAINABLE_TOKENS", task_type=_CAUSAL, token_indices=[128000, 128001]),
    "unilora--default": _method("UNILORA", task_type=_CAUSAL, r=32, theta_d_length=256, proj_seed=42, target_modules=_QV),
    "vblora--default": _method("VBLORA", r=4, num_vectors=256, vector_length=256, topk=2, target_modules=_QV),
    "vera--default": _method("VERA", r=256),
    "waveft--n_frequency-5000": _method("WAVEFT", task_type=_CAUSAL, n_frequency=5000, scaling=25.0, target_modules=_QV),
}  # fmt: skip
