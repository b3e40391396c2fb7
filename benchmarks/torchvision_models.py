"""torchvision's models, also where its compiled operators do not load: its wheels on PyPI are built for torch with CUDA."""

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch


@cache
def torchvision_models() -> ModuleType:
    """`torchvision.models`; what detects boxes cannot be run where `has_operators` says no."""
    make_importable()
    from torchvision import models

    return models  # type: ignore[no-any-return]


def has_operators() -> bool:
    """Whether torchvision's own operators were loaded."""
    torchvision_models()
    from torchvision.extension import _has_ops

    return bool(_has_ops())


_declared: list[Any] = []


def make_importable() -> None:
    """Declare what torchvision describes to fake tensors as it is imported: it fails where nobody did.

    transformers, timm and others import torchvision where it is installed.
    """
    if _loads() or _declared:
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)  # an operator lives as long as its library


def _loads() -> bool:
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return True
    return any(map(_load, Path(found.origin).parent.glob("_C*.so")))


def _load(path: Path) -> bool:
    try:
        torch.ops.load_library(path)
    except OSError:
        return False
    return True
