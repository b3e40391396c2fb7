"""torchvision's and timm's models."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.torchvision_models import has_operators, torchvision_models
from benchmarks.zoo.entry import Entry, Setup, classification, training

_CLASSIFIERS = (
    "resnet18", "mobilenet_v3_small", "efficientnet_b0", "regnet_y_400mf", "shufflenet_v2_x0_5", "squeezenet1_1",
    "densenet121", "googlenet", "mnasnet0_5", "convnext_tiny", "swin_t",
)  # fmt: skip
_DETECTORS = ("fasterrcnn_mobilenet_v3_large_320_fpn", "retinanet_resnet50_fpn")
_TIMM = (
    "test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_nfnet", "test_mambaout", "edgenext_xx_small",
    "mobilevit_xxs",
)  # fmt: skip


def entries() -> Iterator[Entry]:
    """Classifiers, a vision transformer, segmentation, detection, optical flow and video; then timm's."""
    torchvision = partial(Entry, packages=("torchvision",))
    for name in _CLASSIFIERS:
        yield torchvision(name=f"torchvision/{name}", build=partial(_classifier, name))
    yield torchvision(name="torchvision/vit", build=_vit)
    yield torchvision(name="torchvision/deeplabv3_mobilenet_v3_large", build=_segmentation)
    for name in _DETECTORS:
        yield torchvision(name=f"torchvision/{name}", build=partial(_detector, name))
    yield torchvision(name="torchvision/raft_small", build=_optical_flow)
    yield torchvision(name="torchvision/r3d_18", build=_video)
    for name in _TIMM:
        yield Entry(name=f"timm/{name}", packages=("timm",), build=partial(_timm, name))


def _classifier(name: str) -> Setup:
    options: dict[str, Any] = {"init_weights": False} if name == "googlenet" else {}
    return classification(getattr(torchvision_models(), name)(weights=None, num_classes=10, **options))


def _vit() -> Setup:
    model = torchvision_models().VisionTransformer(
        image_size=64, patch_size=16, num_layers=3, num_heads=4, hidden_dim=64, mlp_dim=128, dropout=0.1, num_classes=10
    )
    return classification(model)


def _segmentation() -> Setup:
    model = torchvision_models().segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=5
    )
    images, labels = torch.randn(2, 3, 64, 64), torch.randint(0, 5, (2, 64, 64))
    return training(model, (images, labels), _segmentation_loss)


def _segmentation_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0])["out"], batch[1])


class OperatorsMissing(Exception):
    """What a model needs was not compiled for this torch."""


def _detector(name: str) -> Setup:
    if not has_operators():
        raise OperatorsMissing("torchvision's compiled operators do not load beside this torch")
    model = getattr(torchvision_models().detection, name)(
        weights=None, weights_backbone=None, num_classes=5, min_size=96
    )
    images = [torch.rand(3, 96, 96) for _ in range(2)]
    boxes = torch.tensor([[5.0, 5.0, 40.0, 40.0], [20.0, 30.0, 70.0, 80.0]])
    targets = [{"boxes": boxes, "labels": torch.tensor([1, 2])} for _ in range(2)]
    return training(model, (images, targets), _detection_loss)


def _detection_loss(model: nn.Module, batch: tuple[Any, Any]) -> Tensor:
    return torch.stack(list(model(*batch).values())).sum()


def _optical_flow() -> Setup:
    model = torchvision_models().optical_flow.raft_small(weights=None)
    frames = torch.randn(1, 3, 128, 128), torch.randn(1, 3, 128, 128)
    return training(model, frames, _flow_loss)


def _flow_loss(model: nn.Module, frames: tuple[Tensor, Tensor]) -> Tensor:
    return torch.stack([flow.abs().mean() for flow in model(*frames, num_flow_updates=3)]).sum()


def _video() -> Setup:
    model = torchvision_models().video.r3d_18(weights=None, num_classes=10)
    return classification(model, image=(3, 4, 32, 32))


def _timm(name: str) -> Setup:
    import timm

    size = 160 if name.startswith("test_") else 64
    return classification(timm.create_model(name, num_classes=10), image=(3, size, size))
