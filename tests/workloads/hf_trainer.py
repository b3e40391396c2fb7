"""A Hugging Face Trainer over a tiny model made from its config: nothing is downloaded."""

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    Trainer,
    TrainingArguments,
)


def samples(count=64):
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(0, 50, (count, 8), generator=generator)
    return [{"input_ids": row, "labels": int(row[0] > 25)} for row in words]


def model():
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=8,
        num_labels=2,
    )
    return BertForSequenceClassification(config)


def build(data: bool = True, **options):
    options = {"per_device_train_batch_size": 8, "learning_rate": 1e-3, "report_to": "none"} | options
    arguments = TrainingArguments(output_dir="unused", use_cpu=not torch.cuda.is_available(), **options)
    return Trainer(model(), arguments, train_dataset=samples() if data else None)


def with_own_loss():
    def half(outputs, labels, num_items_in_batch=None):
        return outputs["logits"].sum() * 0 + 0.5

    trainer = build()
    trainer.compute_loss_func = half
    return trainer


def with_own_optimizer():
    network = model()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    arguments = TrainingArguments(output_dir="unused", use_cpu=True, report_to="none")
    return Trainer(network, arguments, train_dataset=samples(), optimizers=(optimizer, None))


def evaluates(steps: int = 0, reduces: bool = False):
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=8, num_labels=2000,
    )  # fmt: skip
    arguments = TrainingArguments(
        output_dir="unused", use_cpu=not torch.cuda.is_available(), per_device_train_batch_size=2,
        per_device_eval_batch_size=32, eval_accumulation_steps=steps or None, report_to="none",
    )  # fmt: skip
    words = [{**each, "labels": each["input_ids"]} for each in samples(512)]
    return Trainer(
        BertForTokenClassification(config), arguments, train_dataset=words, eval_dataset=words,
        compute_metrics=lambda _: {},
        preprocess_logits_for_metrics=(lambda logits, _: logits.argmax(-1)) if reduces else None,
    )  # fmt: skip
