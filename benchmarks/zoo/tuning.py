"""Fine-tuning with peft and trl, graph networks of PyG, and sentence-transformers."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.zoo.entry import Entry, Setup, tokens, training

_GRAPH_NODES, _GRAPH_EDGES, _FEATURES, _CLASSES = 64, 256, 16, 4


def entries() -> Iterator[Entry]:
    """Adapters of a small Llama; a Trainer of trl's; convolutions over a random graph; pairs of sentences."""
    for name, config in _ADAPTERS.items():
        yield Entry(
            name=f"peft/{name}", packages=("peft", "transformers", "accelerate"), build=partial(_adapted, name, config)
        )
    packages = ("trl", "transformers", "datasets", "accelerate")
    yield Entry(name="trl/SFTTrainer", packages=packages, build=_supervised)
    for kind in ("GCN", "GraphSAGE", "GAT", "GIN"):
        yield Entry(name=f"PyG/{kind}", packages=("torch_geometric",), build=partial(_graph, kind))
    yield Entry(
        name="sentence-transformers/pairs", packages=("sentence_transformers", "transformers"), build=_sentences
    )


_ADAPTERS: dict[str, dict[str, Any]] = {
    "Lora": {"r": 4},
    "DoRA": {"r": 4, "use_dora": True},
    "IA3": {},
    "Prefix": {"num_virtual_tokens": 4},
}


def _llama(**changes: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=256, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, **changes,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def _adapted(name: str, config: dict[str, Any]) -> Setup:
    import peft

    kind = {"Lora": "LoraConfig", "DoRA": "LoraConfig", "IA3": "IA3Config", "Prefix": "PrefixTuningConfig"}[name]
    model = peft.get_peft_model(_llama(), getattr(peft, kind)(task_type="CAUSAL_LM", **config))
    ids = tokens()
    return training(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids})


def _supervised() -> Any:
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(256)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w1", eos_token="w2", unk_token="w0")
    rows = [{"input_ids": tokens(1, length)[0].tolist()} for length in (32, 24) * 8]
    arguments = SFTConfig(
        output_dir="/tmp", per_device_train_batch_size=2, report_to="none", save_strategy="no", optim="sgd", bf16=False,
        gradient_checkpointing=False, use_cpu=not torch.cuda.is_available(),
    )  # fmt: skip
    return SFTTrainer(model=_llama(), args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)


def _graph(kind: str) -> Setup:
    from torch_geometric.nn import models

    network = getattr(models, kind)(in_channels=_FEATURES, hidden_channels=32, num_layers=2, out_channels=_CLASSES)
    features = torch.randn(_GRAPH_NODES, _FEATURES)
    edges = torch.randint(0, _GRAPH_NODES, (2, _GRAPH_EDGES))
    return training(network, (features, edges, torch.randint(0, _CLASSES, (_GRAPH_NODES,))), _graph_loss)


def _graph_loss(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0], batch[1]), batch[2])


class _Sentences(nn.Module):
    """An encoder and the mean of its tokens, as a SentenceTransformer's modules do it."""

    def __init__(self) -> None:
        super().__init__()
        from sentence_transformers.models import Normalize, Pooling
        from transformers import BertConfig, BertModel

        config = BertConfig(
            vocab_size=256, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
        )
        self.encoder = BertModel(config)
        self.after = nn.Sequential(Pooling(64, pooling_mode="mean"), Normalize())

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        embedded = self.encoder(**features).last_hidden_state
        return self.after(features | {"token_embeddings": embedded})  # type: ignore[no-any-return]


def _sentences() -> Setup:
    from sentence_transformers import losses

    model = _Sentences()
    pairs = [{"input_ids": tokens(), "attention_mask": torch.ones(2, 32, dtype=torch.int64)} for _ in range(2)]
    ranking = losses.MultipleNegativesRankingLoss(model)
    return training(model, pairs, _ranked(ranking))


def _ranked(ranking: Any) -> Callable[[nn.Module, Any], Tensor]:
    return lambda model, pairs: ranking(pairs, labels=None)
