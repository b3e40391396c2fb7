"""The programs behind public measurements that nothing but a script and a number is known of, each restated from its script.

They need torchvision and transformers, and for inference timm; nothing is downloaded, as weights do not change memory.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.public_rows import AmpRow, XmemRow
from benchmarks.torchvision_models import torchvision_models

Steps = Iterator[None]
"""Runs to the end of the set-up, then to the end of each step."""
XMEM_IMAGE = 86
XMEM_STEPS = 4
"""The loop breaks once its index, from 0 on, has reached 3."""


def xmem_training(row: XmemRow) -> Steps:
    """`conv_train_loop` of Stone-ResearchLife/xMem, exp/trainer/train_loop.py, in which gradients are dropped before a batch
    is moved: the results name no other `zero_grad_mode`. Images are CIFAR-10's, resized to 86 by 86; labels are 0 to 9.
    """
    model = _xmem_model(row.model)
    model.to("cuda")
    model.train()
    optimizer = getattr(torch.optim, row.optimizer)(model.parameters(), lr=0.001)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    criterion = nn.CrossEntropyLoss()
    yield
    for _ in range(XMEM_STEPS):
        optimizer.zero_grad()
        inputs, labels = torch.zeros(row.batch, 3, XMEM_IMAGE, XMEM_IMAGE), torch.zeros(row.batch, dtype=torch.int64)
        inputs, labels = inputs.to("cuda"), labels.to("cuda")
        outputs = model(inputs)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        _, _predictions = torch.max(outputs, 1)  # lives until the next step's, as in the script
        scheduler.step()
        yield


def _xmem_model(name: str) -> nn.Module:
    """As in its perf_estimator/models.py: of MobileNetV3 and MNASNet with 10 classes, of the others with 1,000."""
    models = torchvision_models()
    small, large = "MobileNetV3Small", "MobileNetV3Large"
    if name in (small, large):
        blocks, _ = models.mobilenetv3._mobilenet_v3_conf(f"mobilenet_v3_{'small' if name == small else 'large'}")
        # with its class's own normalization, whose momentum alone is another than that of the usual constructors
        return models.MobileNetV3(blocks, last_channel=1024 if name == small else 1280, num_classes=10)  # type: ignore[no-any-return]
    if name == "MnasNet":
        return models.MNASNet(alpha=1.0, num_classes=10)  # type: ignore[no-any-return]
    constructors: dict[str, Callable[..., nn.Module]] = {
        "VGG16": models.vgg16,
        "VGG19": models.vgg19,
        "ResNet50": models.resnet50,
        "MobileNetV2": models.mobilenet_v2,
        "ConvNeXtTiny": models.convnext_tiny,
        "RegNetX400MF": models.regnet_x_400mf,
        "RegNetY400MF": models.regnet_y_400mf,
    }
    return constructors[name](weights=None)


def amp_training(row: AmpRow) -> Steps:
    """`vision_case` and `real_model_case` of torch-preflight 0.5.0, tests/calibration/measure_cuda.py: no loss scaling, and
    the peak of the second step.

    Autocast is to bfloat16: the script takes it where `torch.cuda.is_bf16_supported()`, which says yes of a T4, too, that
    emulates it. Its attention is the one written out, as the memory-efficient kernel takes no bfloat16 before sm80.
    """
    is_vision = row.model == "resnet50"
    model, forward = _vision(row) if is_vision else _language(row)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4 if is_vision else 1e-5)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss, _output = forward(model)  # what the script's step keeps lives until its end
        loss.backward()
        optimizer.step()

    yield
    for _ in range(2):
        step()
        yield


Forward = Callable[[Any], tuple[Tensor, Any]]
"""From a model to its loss, and to the output where that is kept."""


def _vision(row: AmpRow) -> tuple[nn.Module, Forward]:
    model = torchvision_models().resnet50().cuda()
    x = torch.randn(row.batch, 3, row.size, row.size, device="cuda")
    target = torch.randint(0, 1000, (row.batch,), device="cuda")
    return model, lambda model: (F.cross_entropy(model(x), target), None)


def _language(row: AmpRow) -> tuple[nn.Module, Forward]:
    """An encoder without a head, on tokens alone, or a causal language model on its own tokens."""
    import transformers

    if row.model == "gpt2":
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config()).cuda()
        ids = torch.randint(0, 50_256, (row.batch, row.size), device="cuda")
        return model, lambda model: _with_loss(model(input_ids=ids, labels=ids))
    kind = {"distilbert-base-uncased": "DistilBert", "bert-base-uncased": "Bert"}[row.model]
    config = getattr(transformers, f"{kind}Config")()
    model = getattr(transformers, f"{kind}Model")(config).cuda()
    ids = torch.randint(0, config.vocab_size - 1, (row.batch, row.size), device="cuda")
    return model, lambda model: _with_mean_square(model(input_ids=ids))


def _with_loss(output: Any) -> tuple[Tensor, Any]:
    return output.loss, output


def _with_mean_square(output: Any) -> tuple[Tensor, Any]:
    return output.last_hidden_state.float().pow(2).mean(), output


def image_inference(batch: int, *, with_forward: bool) -> Steps:
    """timm's resnet50.a1_in1k loaded, and, `with_forward`, run on one batch of 224 by 224 images without gradients."""
    import timm

    model = timm.create_model("resnet50.a1_in1k", pretrained=False).to("cuda").eval()
    yield
    if with_forward:
        with torch.inference_mode():
            model(torch.zeros(batch, 3, 224, 224, device="cuda"))
    yield
