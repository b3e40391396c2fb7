"""A Hugging Face Trainer over a tiny model made from its config: nothing is downloaded."""

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments


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
