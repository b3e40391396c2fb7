"""Set-ups with one thing wrong each, as somebody wrote it once, and some with nothing wrong."""

import collections
import copy
import functools
import random

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

WIDTH, BATCH = 256, 64


def mlp(width=WIDTH, depth=2):
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def batches(batch=BATCH, width=WIDTH, count=2):
    return [(torch.randn(batch, width), torch.randint(0, 10, (batch,))) for _ in range(count)]


def cross_entropy(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def setup(model=None, loader=None, optimizer=None, **more):
    model = model or mlp()
    make = optimizer or (lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9))
    loader = loader or batches()
    return {
        "model": model,
        "optimizer": make(model.parameters()),
        "train_loader": loader,
        "loss": cross_entropy,
        **more,
    }


def train(model, batch, optimizer, **backward):
    optimizer.zero_grad()
    output = model(batch[0])
    loss = F.cross_entropy(output, batch[1])
    loss.backward(**backward)
    optimizer.step()
    return loss, output


# growth


def kept_losses():
    history = []

    def step(model, batch, optimizer):
        loss, _ = train(model, batch, optimizer)
        history.append(loss)
        return loss

    return setup(step=step)


def pool_of_outputs():
    return _pool(lambda output: output)


def healthy_pool():
    return _pool(lambda output: output.detach())


def _pool(kept, size=30):
    pool = []

    def step(model, batch, optimizer):
        loss, output = train(model, batch, optimizer, retain_graph=True)
        if len(pool) == size:
            pool.pop(random.randrange(size))
        pool.append(kept(output))
        return loss

    return setup(step=step)


@functools.cache
def bias_of(length, device):
    return torch.zeros(length, WIDTH, device=device)


def cached_by_length():
    lengths = [(length * 37) % 101 + 50 for length in range(101)]
    loader = [torch.ones(length, WIDTH) for length in lengths]
    return setup(loader=loader, loss=lambda model, x: model(x + bias_of(len(x), x.device)).sum())


def joined_outputs():
    kept = {"outputs": None}

    def step(model, batch, optimizer):
        loss, output = train(model, batch, optimizer)
        wide = output.detach().repeat(1, 400)
        kept["outputs"] = wide if kept["outputs"] is None else torch.cat((kept["outputs"], wide))
        return loss

    return setup(step=step)


def last_outputs():
    recent = collections.deque(maxlen=300)

    def step(model, batch, optimizer):
        loss, output = train(model, batch, optimizer, retain_graph=True)
        recent.append(output)
        return loss

    return setup(step=step)


def remembers(history_size=12):
    def step(model, batch, optimizer):
        def closure():
            optimizer.zero_grad()
            loss = model(batch[0]).square().mean()
            loss.backward()
            return loss

        return optimizer.step(closure)

    return setup(optimizer=lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=1, history_size=history_size), step=step)


def remembers_for_long():
    return remembers(100_000)


class Monitor:
    def __init__(self):
        self.seen = []

    def __call__(self, module, inputs, output):
        self.seen.append(output.detach())


def kept_by_a_hook():
    model = mlp()
    model[0].register_forward_hook(Monitor())
    return setup(model)


def averaged_state():
    state = {"mean": 0.0}

    def step(model, batch, optimizer):
        loss, _ = train(model, batch, optimizer)
        output = model(batch[0])
        state["mean"] = 0.9 * state["mean"] + 0.1 * output
        return loss

    return setup(step=step)


def gradients_with_graphs():
    model = mlp()

    def step(model, batch, optimizer):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward(create_graph=True)
        for parameter in model[4].parameters():
            parameter.grad = parameter.grad.detach()
        optimizer.step()
        return loss

    return {**setup(model, step=step), "optimizer": torch.optim.SGD(model[4].parameters(), lr=0.1)}


def kept_for_an_epoch():
    outputs = []

    def step(model, batch, optimizer):
        loss, output = train(model, batch, optimizer)
        outputs.append(output.detach().repeat(1, 40))
        if len(outputs) == 12:
            outputs.clear()
        return loss

    return setup(step=step)


def summed_losses():
    class Meter:
        total = 0

    def step(model, batch, optimizer):
        loss = F.cross_entropy(model(batch[0]), batch[1])
        optimizer.zero_grad()
        loss.backward(retain_graph=True)
        optimizer.step()
        Meter.total += loss
        return loss

    return setup(step=step)


def retained_graphs():
    kept = []

    def step(model, batch, optimizer):
        loss, _ = train(model, batch, optimizer, retain_graph=True)
        kept.append(loss)
        return loss

    return setup(step=step)


def kept_evaluation_outputs():
    outputs = []

    def step(model, batch, optimizer):
        loss, _ = train(model, batch, optimizer)
        model.eval()
        outputs.append(model(batch[0]))
        model.train()
        return loss

    return setup(step=step)


def kept_predictions_without_graph():
    predictions = []

    def step(model, batch, optimizer):
        loss, _ = train(model, batch, optimizer)
        model.eval()
        with torch.no_grad():
            predictions.append(model(batch[0]))
        model.train()
        return loss

    return setup(step=step)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.Linear(WIDTH + 128, 128)
        self.head = nn.Linear(128, 10)
        self.hidden = None

    def forward(self, x):
        hidden = torch.zeros(len(x), 128, device=x.device) if self.hidden is None else self.hidden
        self.hidden = torch.tanh(self.cell(torch.cat([x, hidden], 1)))
        return self.head(self.hidden)


def hidden_state():
    def step(model, batch, optimizer):
        loss = cross_entropy(model, batch)
        optimizer.zero_grad()
        loss.backward(retain_graph=True)
        return loss

    return setup(Recurrent(), step=step)


def models_in_cycles():
    class Run:
        def __init__(self, device):
            self.model = mlp(512).to(device)
            self.step = self.go  # a bound method of itself: a cycle

        def go(self, batch):
            return self.model

    def step(model, batch, optimizer):
        Run(batch[0].device).step(batch)
        return train(model, batch, optimizer)[0]

    return setup(step=step)


# waste


def evaluation_with_graph():
    held_out = torch.randn(1024, WIDTH)

    def step(model, batch, optimizer):
        loss, _ = train(model, batch, optimizer)
        model.eval()
        model(held_out.to(batch[0].device)).argmax(1)
        model.train()
        return loss

    return setup(mlp(depth=6), step=step)


def joined_evaluation():
    return _evaluation(lambda outputs: torch.cat(outputs))


def kept_evaluation():
    return _evaluation(len)


def _evaluation(judge):
    held_out = torch.randn(1024, WIDTH)

    def step(model, batch, optimizer):
        loss, _ = train(model, batch, optimizer)
        model.eval()
        with torch.no_grad():
            outputs = [model(x.to(batch[0].device)).repeat(1, 200) for x in held_out.chunk(16)]
            judge(outputs)
        model.train()
        return loss

    return setup(mlp(depth=2), step=step)


def old_run_in_a_cycle():
    class Trainer:
        def __init__(self):
            self.model = mlp(1024).to("cuda")
            self.scale = self.triangular  # as CyclicLR did before torch 1.13

        def triangular(self):
            return self.model

    Trainer()
    return setup(mlp(1024), batches(width=1024))


def zeroed_gradients():
    def step(model, batch, optimizer):
        optimizer.zero_grad(set_to_none=False)
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        return loss

    return setup(mlp(1024), batches(width=1024), step=step)


def copies_its_state():
    best = {}

    def step(model, batch, optimizer):
        loss, _ = train(model, batch, optimizer)
        best["state"] = copy.deepcopy(model.state_dict())
        return loss

    return setup(mlp(1024), batches(width=1024), step=step)


def autocast_never_left():
    torch.autocast("cuda", dtype=torch.bfloat16).__enter__()
    return setup(mlp(1024), batches(width=1024))


def side_stream():
    stream = torch.cuda.Stream()

    def step(model, batch, optimizer):
        with torch.cuda.stream(stream):
            big = torch.empty(64 * 2**20, dtype=torch.uint8, device=batch[0].device)
        del big
        return train(model, batch, optimizer)[0]

    return setup(step=step)


# capacity


def _halves_after(is_within):
    def forward_backward(model, x, y):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss.detach()

    def halves(model, batch, optimizer):
        optimizer.zero_grad()
        for x, y in zip(batch[0].chunk(4), batch[1].chunk(4), strict=True):
            loss = forward_backward(model, x, y)
        return loss

    def step(model, batch, optimizer):
        optimizer.zero_grad()
        loss = None
        try:
            loss = forward_backward(model, *batch)
        except torch.cuda.OutOfMemoryError:
            if is_within:
                loss = halves(model, batch, optimizer)
        if loss is None:
            loss = halves(model, batch, optimizer)
        optimizer.step()
        return loss

    return setup(mlp(depth=20), batches(16384), step=step)


def retries_within_except():
    return _halves_after(is_within=True)


def retries_after_except():
    return _halves_after(is_within=False)


class Words(nn.Module):
    def __init__(self, words=20_000):
        super().__init__()
        self.embedding = nn.Embedding(words, 64)
        self.head = nn.Linear(64, words, bias=False)

    def forward(self, ids):
        return self.head(self.embedding(ids))


def float_logits():
    def loss(model, batch):
        logits = model(batch).float()
        return F.cross_entropy(logits.view(-1, logits.size(-1)), batch.view(-1))

    return setup(Words().bfloat16(), [torch.randint(0, 20_000, (4, 512))], loss=loss)


def dense_embedding_gradient():
    model = nn.Sequential(nn.Embedding(400_000, 64), nn.Linear(64, 1))
    loader = [torch.randint(0, 400_000, (32,))]
    return setup(model, loader, lambda p: torch.optim.SGD(p, lr=0.1), loss=lambda model, ids: model(ids).sum())


def repeated_mask():
    def loss(model, batch):
        mask = torch.ones(1, WIDTH, 512, device=batch[0].device).repeat(len(batch[0]), 1, 1)
        return (model(batch[0]) * mask.sum()).sum()

    return setup(loader=batches(512), loss=loss)


def activations():
    return setup(mlp(depth=20), batches(16384))


def weights():
    return setup(mlp(4096, depth=3), batches(4, 4096), lambda p: torch.optim.SGD(p, lr=0.1))


def adam_state():
    return setup(mlp(2048), batches(512, 2048), lambda p: torch.optim.Adam(p, lr=1e-3, fused=True))


def foreach_adamw():
    return setup(mlp(2048, depth=4), batches(4, 2048), lambda p: torch.optim.AdamW(p, lr=1e-3, foreach=True))


def small():
    return setup()


def bf16_copies():
    return setup(mlp(4096, depth=8), batches(8192, 4096), lambda p: torch.optim.SGD(p, lr=0.1), precision="bf16")


def lengths(sizes):
    return setup(mlp(depth=8), [batches(size, count=1)[0] for size in sizes])


def one_long_batch():
    return lengths([1024, 1024, 1024, 16384])


def even_lengths():
    return lengths([1024, 2048, 1536, 2048])


# fragmentation


class Halves(nn.Module):
    """Keeps one large array beside each small one, so that what is freed lies between what stays."""

    def __init__(self, megabytes):
        super().__init__()
        self.layer = nn.Linear(WIDTH, 10)
        self.megabytes = megabytes

    def forward(self, x):
        mega = 2**20
        held = []
        for size in self.megabytes:
            gap = torch.empty(size * mega, dtype=torch.uint8, device=x.device)
            held.append(torch.empty(2 * mega, dtype=torch.uint8, device=x.device))
            del gap
        whole = torch.empty(sum(self.megabytes) * mega, dtype=torch.uint8, device=x.device)
        del whole, held
        return self.layer(x)


def split_blocks():
    return setup(Halves([40, 44, 48, 52]))


class Padded(nn.Module):
    """Pads to the length of each batch, several times over."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, 10)

    def forward(self, x):
        arrays = [torch.empty(len(x) * (30 + 11 * i), 1024, dtype=torch.uint8, device=x.device) for i in range(6)]
        del arrays
        return self.layer(x)


def many_lengths():
    return setup(Padded(), [batches(size, count=1)[0] for size in (64, 240, 90, 310, 130, 500, 70, 410)])


# nothing wrong


def healthy_adam():
    return setup(optimizer=lambda p: torch.optim.Adam(p, lr=1e-3))


def healthy_cnn():
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
    )
    return setup(model, [(torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,))) for _ in range(3)])


def healthy_evaluation():
    history = []

    def step(model, batch, optimizer):
        loss, _ = train(model, batch, optimizer)
        model.eval()
        with torch.no_grad():
            history.append(F.cross_entropy(model(batch[0]), batch[1]).item())
        model.train()
        return loss

    return setup(step=step)


def healthy_hidden_state():
    def step(model, batch, optimizer):
        loss = cross_entropy(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.hidden = model.hidden.detach()
        return loss

    return setup(Recurrent(), step=step)


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()) for _ in range(3))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x):
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False)
        return self.head(x)


def healthy_bf16_accumulated():
    return setup(Checkpointed(), batches(count=4), precision="bf16", accumulate=2, clip_norm=1.0)


def healthy_uneven_epochs():
    return setup(loader=[*batches(64, count=3), *batches(17, count=1)])
