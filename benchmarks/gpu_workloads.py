"""The workloads whose memory is recorded on a GPU: the families people train, each in a few precisions and set-ups.

Half of them (`split="fit"`) may be looked at when the hidden costs of kernels are worked out; the other half
(`split="table"`) only tells how good predictions are. The halves were fixed before anything was recorded.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import gpu_models as models

Split = Literal["fit", "table"]
Batch = tuple[Tensor, Tensor]
VARIED_LENGTHS = (512, 200, 384, 96, 456)


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuWorkload:
    """A training set-up as its parts; `compiler` is a backend of torch.compile, `more` are further keys of the set-up."""

    name: str
    split: Split
    model: Callable[[], nn.Module]
    batches: Callable[[], Iterator[Batch]]
    loss: Callable[[nn.Module, Batch], Tensor]
    optimizer: Callable[[Any], torch.optim.Optimizer]
    channels_last: bool = False
    compiler: str | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def build(self) -> dict[str, Any]:
        """What a user's `build()` returns."""
        model = self.model()
        if self.channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return {
            "model": model if self.compiler is None else torch.compile(model, backend=self.compiler),
            "optimizer": self.optimizer(model.parameters()),
            "train_loader": _Endless(self.batches, channels_last=self.channels_last),
            "loss": self.loss,
            **self.more,
        }


class _Endless:
    """A loader that makes each batch anew, as a real loader does."""

    def __init__(self, batches: Callable[[], Iterator[Batch]], *, channels_last: bool) -> None:
        self._batches, self._channels_last = batches, channels_last

    def __iter__(self) -> Iterator[Batch]:
        for x, y in self._batches():
            yield (x.contiguous(memory_format=torch.channels_last) if self._channels_last else x), y


def images(batch: int, size: int) -> Iterator[Batch]:
    while True:
        yield torch.randn(batch, 3, size, size), torch.randint(0, 1000, (batch,))


def segmented(batch: int, size: int) -> Iterator[Batch]:
    while True:
        yield torch.randn(batch, 3, size, size), torch.randint(0, 4, (batch, size, size))


def features(batch: int, width: int) -> Iterator[Batch]:
    while True:
        yield torch.randn(batch, width), torch.randint(0, 1000, (batch,))


def tokens(batch: int, *lengths: int, vocabulary: int = 32_000) -> Iterator[Batch]:
    while True:
        for length in lengths:
            x = torch.randint(1, vocabulary, (batch, length))
            yield x, x.roll(-1, 1)


def categories(batch: int) -> Iterator[Batch]:
    while True:
        yield torch.randint(0, 200_000, (batch, 4, 16)), torch.randint(0, 2, (batch,))


def classification(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]).flatten(0, -2), batch[1].flatten())


def reconstruction(model: nn.Module, batch: Batch) -> Tensor:
    return F.mse_loss(model(batch[0]), batch[0])


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(1024, 8192), nn.ReLU(), nn.Linear(8192, 8192), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8192, 1000)
    )


sgd = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
adamw = partial(torch.optim.AdamW, lr=3e-4, foreach=True)
fused = partial(torch.optim.AdamW, lr=3e-4, fused=True)
adafactor = partial(torch.optim.Adafactor, lr=1e-2)


def _of(model: Callable[[], nn.Module], batches: Callable[[], Iterator[Batch]], loss: Any = classification) -> Any:
    """The part that workloads of one family share."""
    return partial(GpuWorkload, model=model, batches=batches, loss=loss)


_gpt = partial(models.Transformer, width=768, layers=6, heads=12)
_bert = partial(models.Transformer, width=512, layers=6, heads=8, kind="bert", dropout=0.1)
_llama = partial(models.Transformer, width=1024, layers=6, heads=16, kind="llama")
_mlp = _of(mlp, partial(features, 2048, 1024))
_resnet18 = _of(partial(models.resnet, 18), partial(images, 64, 224))
_resnet50 = _of(partial(models.resnet, 50), partial(images, 32, 224))
_convnext = _of(models.convnext, partial(images, 32, 224))
_mobilenet = _of(models.mobilenet, partial(images, 64, 192))
_unet = _of(models.UNet, partial(segmented, 8, 256))
_vit = _of(models.VisionTransformer, partial(images, 64, 224))
_tokens = partial(tokens, 8, 512)
_varied = partial(tokens, 8, *VARIED_LENGTHS)
_words = partial(tokens, 64, 128, vocabulary=8000)
_dense_autoencoder = _of(partial(models.autoencoder, convolutional=False), partial(images, 256, 64), reconstruction)
_autoencoder = _of(partial(models.autoencoder, convolutional=True), partial(images, 128, 64), reconstruction)
_recommender = _of(models.Recommender, partial(categories, 4096))

WORKLOADS: tuple[GpuWorkload, ...] = (
    _mlp(name="mlp_sgd", split="fit", optimizer=sgd),
    _mlp(name="mlp_adamw", split="table", optimizer=adamw),
    _mlp(name="mlp_adamw_fused_clip", split="fit", optimizer=fused, more={"clip_norm": 1.0}),
    _mlp(name="mlp_fp16", split="table", optimizer=adamw, more={"precision": "fp16"}),
    _resnet18(name="resnet18_sgd", split="fit", optimizer=sgd),
    _resnet18(
        name="resnet18_bf16_channels_last", split="table", optimizer=sgd, channels_last=True, more={"precision": "bf16"}
    ),
    _resnet50(name="resnet50_sgd", split="table", optimizer=sgd),
    _resnet50(name="resnet50_channels_last", split="fit", optimizer=sgd, channels_last=True),
    _resnet50(name="resnet50_bf16", split="fit", optimizer=fused, more={"precision": "bf16"}),
    _resnet50(
        name="resnet50_fp16_accumulate", split="table", optimizer=sgd, more={"precision": "fp16", "accumulate": 2}
    ),
    _convnext(name="convnext_adamw", split="fit", optimizer=adamw),
    _convnext(name="convnext_bf16_clip", split="table", optimizer=adamw, more={"precision": "bf16", "clip_norm": 1.0}),
    _mobilenet(name="mobilenet_sgd", split="fit", optimizer=sgd),
    _mobilenet(
        name="mobilenet_bf16_channels_last",
        split="table",
        optimizer=sgd,
        channels_last=True,
        more={"precision": "bf16"},
    ),
    _unet(name="unet_adamw", split="fit", optimizer=adamw),
    _unet(name="unet_bf16", split="table", optimizer=adamw, more={"precision": "bf16"}),
    _vit(name="vit_adamw", split="fit", optimizer=adamw),
    _vit(name="vit_bf16_clip", split="table", optimizer=fused, more={"precision": "bf16", "clip_norm": 1.0}),
    _of(_gpt, _tokens)(name="gpt2_adamw", split="fit", optimizer=adamw),
    _of(_gpt, _tokens)(name="gpt2_bf16", split="table", optimizer=adamw, more={"precision": "bf16"}),
    _of(partial(_gpt, checkpoints=True), _tokens)(
        name="gpt2_bf16_checkpointed", split="fit", optimizer=fused, more={"precision": "bf16"}
    ),
    _of(_gpt, _tokens)(
        name="gpt2_fp16_clip", split="table", optimizer=adamw, more={"precision": "fp16", "clip_norm": 1.0}
    ),
    _of(partial(_gpt, dropout=0.1), _tokens)(
        name="gpt2_bf16_dropout", split="table", optimizer=adamw, more={"precision": "bf16"}
    ),
    _of(_gpt, _varied)(name="gpt2_bf16_lengths", split="fit", optimizer=adamw, more={"precision": "bf16"}),
    _of(_bert, _tokens)(name="bert_adamw", split="fit", optimizer=adamw),
    _of(_bert, _tokens)(name="bert_bf16", split="table", optimizer=adamw, more={"precision": "bf16"}),
    _of(_bert, _varied)(name="bert_lengths", split="fit", optimizer=adamw),
    _of(_llama, _tokens)(name="llama_bf16", split="fit", optimizer=fused, more={"precision": "bf16"}),
    _of(_llama, _tokens)(name="llama_adafactor", split="table", optimizer=adafactor, more={"precision": "bf16"}),
    _of(partial(_llama, checkpoints=True), _tokens)(
        name="llama_checkpointed_accumulate",
        split="table",
        optimizer=adamw,
        more={"precision": "bf16", "accumulate": 2},
    ),
    _of(partial(models.Recurrent, nn.LSTM), _words)(name="lstm_adamw", split="fit", optimizer=adamw),
    _of(partial(models.Recurrent, nn.LSTM, bidirectional=True, dropout=0.2), _words)(
        name="lstm_bidirectional_dropout", split="table", optimizer=adamw
    ),
    _of(partial(models.Recurrent, nn.GRU), _words)(name="gru_sgd", split="fit", optimizer=sgd),
    _of(partial(models.Recurrent, nn.GRU), _words)(
        name="gru_bf16", split="table", optimizer=adamw, more={"precision": "bf16"}
    ),
    _dense_autoencoder(name="autoencoder_adamw", split="fit", optimizer=adamw),
    _autoencoder(name="autoencoder_conv_bf16", split="table", optimizer=adamw, more={"precision": "bf16"}),
    _recommender(name="embedding_bag_sgd", split="fit", optimizer=sgd),
    _recommender(name="embedding_bag_adamw", split="table", optimizer=adamw),
    _of(_gpt, _tokens)(
        name="gpt2_bf16_compiled", split="fit", optimizer=adamw, compiler="inductor", more={"precision": "bf16"}
    ),
    _resnet18(name="resnet18_compiled", split="table", optimizer=sgd, compiler="inductor"),
)

_small_batches = partial(features, 32, 64)
REHEARSAL: tuple[GpuWorkload, ...] = (
    _of(lambda: nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 1000)), _small_batches)(
        name="tiny_mlp", split="fit", optimizer=adamw
    ),
    _of(
        partial(models.Transformer, width=64, layers=2, heads=4, vocabulary=500),
        partial(tokens, 4, 32, vocabulary=500),
    )(name="tiny_gpt", split="table", optimizer=adamw),
    _of(partial(models.resnet, 18), partial(images, 2, 32))(name="tiny_resnet", split="table", optimizer=sgd),
    _of(lambda: nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 1000)), _small_batches)(
        name="tiny_compiled", split="table", optimizer=adamw, compiler="eager"
    ),
)
"""What is recorded on a CPU, to see that recording and comparing work."""


def find_workload(name: str) -> GpuWorkload:
    """The workload of that name. Raises KeyError."""
    return {each.name: each for each in (*WORKLOADS, *REHEARSAL)}[name]
