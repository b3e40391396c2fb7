"""Training loops that keep too much, each as somebody wrote it once, and one that does not."""

import torch
from torch import nn
from torch.nn import functional as F

WIDTH, BATCH = 256, 64
losses = []


def build_with(step, model=None):
    model = model or nn.Sequential(nn.Linear(WIDTH, 512), nn.ReLU(), nn.Linear(512, 10))
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        "train_loader": [(torch.randn(BATCH, WIDTH), torch.randint(0, 10, (BATCH,))) for _ in range(2)],
        "step": step,
    }


def train(model, batch, optimizer, **backward):
    x, y = batch
    output = model(x)
    loss = F.cross_entropy(output, y)
    optimizer.zero_grad()
    loss.backward(**backward)
    optimizer.step()
    return loss, output


def healthy():
    history = []

    def step(model, batch, optimizer):
        loss, _ = train(model, batch, optimizer)
        history.append(loss.item())
        return loss

    return build_with(step)


def keeps_losses():
    def step(model, batch, optimizer):
        loss, _ = train(model, batch, optimizer)
        losses.append(loss)
        return loss

    return build_with(step)


def keeps_outputs():
    predictions = []

    def step(model, batch, optimizer):
        loss, output = train(model, batch, optimizer)
        predictions.append(output)
        return loss

    return build_with(step)


def keeps_validation_graph():
    metrics = {"val": []}

    def step(model, batch, optimizer):
        loss, _ = train(model, batch, optimizer)
        x, y = batch
        metrics["val"].append(F.cross_entropy(model(x), y))
        return loss

    return build_with(step)


def retains_graph():
    kept = []

    def step(model, batch, optimizer):
        loss, _ = train(model, batch, optimizer, retain_graph=True)
        kept.append(loss)
        return loss

    return build_with(step)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.Linear(WIDTH + 128, 128)
        self.hidden = None
        self.seen = []

    def forward(self, x):
        hidden = torch.zeros(len(x), 128, device=x.device) if self.hidden is None else self.hidden
        self.hidden = torch.tanh(self.cell(torch.cat([x, hidden], 1)))
        return self.hidden


def carries_hidden_state():
    def step(model, batch, optimizer):
        loss = model(batch[0]).pow(2).mean()
        optimizer.zero_grad()
        loss.backward(retain_graph=True)
        return loss

    return build_with(step, Recurrent())


class Caching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, 10)
        self.cache = []

    def forward(self, x):
        out = self.layer(x)
        self.cache.append(out.detach())
        return out


def fills_module_cache():
    def step(model, batch, optimizer):
        return train(model, batch, optimizer)[0]

    return build_with(step, Caching())


def keeps_deep_graph():
    history = []

    def step(model, batch, optimizer):
        loss, _ = train(model, batch, optimizer)
        x, y = batch
        history.append(F.cross_entropy(model(x), y))
        return loss

    return build_with(step, nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(12))))
