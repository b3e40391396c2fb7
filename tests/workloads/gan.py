"""A generator and a discriminator with an optimizer each, in the ways a workload may hold them."""

import torch
from torch import nn
from torch.nn import functional as F

OWN_LR = {"g": 2e-4, "d": 3e-4}


def parts():
    generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8))
    discriminator = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    model = nn.ModuleDict({"g": generator, "d": discriminator})
    optimizers = {
        name: torch.optim.Adam(part.parameters(), OWN_LR[name], betas=(0.5, 0.9)) for name, part in model.items()
    }
    x = torch.randn(96, 8, generator=torch.Generator().manual_seed(3))
    return model, optimizers, list(x.split(16))


def build(form: str = "dict", returned: str = "g", ramped: str = ""):
    """`ramped` alone is what the workload's optimizer is where a single one is asked for."""
    model, optimizers, batches = parts()
    generator, discriminator = model["g"], model["d"]

    def step(batch, optimizer):
        real = F.softplus(-discriminator(batch)).mean()
        optimizers["d"].zero_grad()
        real.backward()
        made = generator(torch.randn(len(batch), 4, device=batch.device))
        fake = F.softplus(discriminator(made.detach())).mean()
        fake.backward()
        optimizers["d"].step()
        of_generator = F.softplus(-discriminator(made)).mean()
        optimizers["g"].zero_grad()
        of_generator.backward()
        optimizers["g"].step()
        losses = {"g": of_generator.detach(), "d": (real + fake).detach()}
        return {**losses, "both": losses, "strange": {"x": real}}[returned]

    given = {"dict": optimizers, "list": [*optimizers.values()], "one": optimizers.get(ramped)}[form]
    return {"model": model, "optimizer": given, "train_loader": batches, "step": step}


def one_loss():
    """Matrices and biases under an optimizer each, and one loss for both, without a step of its own."""
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    matrices, others = ([p for p in model.parameters() if (p.ndim == 2) is is_matrix] for is_matrix in (True, False))
    x = torch.randn(96, 8, generator=torch.Generator().manual_seed(3))
    batches = list(zip(x.split(16), torch.sin(x).sum(1, keepdim=True).split(16), strict=True))
    return {
        "model": model,
        "optimizer": {"matrices": torch.optim.SGD(matrices, 0.01), "others": torch.optim.Adam(others, 0.01)},
        "train_loader": batches,
        "loss": lambda model, batch: F.mse_loss(model(batch[0]), batch[1]),
    }
