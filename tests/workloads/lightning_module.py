"""Trainings written for Lightning, in the ways it allows."""

import lightning as L
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


def loader(samples=256):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(samples, 8, generator=generator)
    return DataLoader(TensorDataset(x, torch.sin(x).sum(1, keepdim=True)), 32, shuffle=True)


class WithoutData(L.LightningModule):
    def __init__(self, lr: float = 0.1, configured: str = "optimizer", returned: str = "loss"):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.mse_loss(self.net(x), y)
        self.log("train_loss", loss, prog_bar=True)
        self.log_dict({"twice": 2 * loss})
        forms = {"loss": loss, "dict": {"loss": loss, "logs": 1}, "None": None, "dict without loss": {"logs": 1}}
        return forms[self.hparams.returned]

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)
        config = {"scheduler": scheduler, "interval": "step"}
        forms = {
            "optimizer": optimizer,
            "list": [optimizer],
            "tuple": (optimizer,),
            "lists": ([optimizer], [scheduler]),
            "lists with config": ([optimizer], [config]),
            "dict": {"optimizer": optimizer, "lr_scheduler": scheduler},
            "dict with config": {"optimizer": optimizer, "lr_scheduler": config},
            "list of dicts": [{"optimizer": optimizer}],
            "two": [optimizer, torch.optim.SGD(self.parameters(), lr=1.0)],
            "two dicts": ({"optimizer": optimizer}, {"optimizer": torch.optim.SGD(self.parameters(), lr=1.0)}),
            "two lists": ([optimizer, torch.optim.SGD(self.parameters(), lr=1.0)], []),
            "None": None,
            "empty": [],
        }
        if self.hparams.configured == "by trainer":
            return torch.optim.SGD(self.parameters(), lr=1 / self.trainer.estimated_stepping_batches)
        return forms[self.hparams.configured]


class WithData(WithoutData):
    def train_dataloader(self):
        return loader()


class SetsItselfUp(WithoutData):
    """Its layers and its data come to be in the hooks that Lightning calls before training."""

    def prepare_data(self):
        self.calls = ["prepare_data"]

    def setup(self, stage):
        self.calls.append(f"setup {stage}")
        self.data = loader()

    def configure_model(self):
        self.calls.append("configure_model")
        self.net = nn.Linear(8, 1)

    def train_dataloader(self):
        return self.data


class OneArgument(WithData):
    def training_step(self, batch):
        return super().training_step(batch, 0)


class CountsBatches(WithData):
    def training_step(self, batch, batch_idx):
        self.seen = [*getattr(self, "seen", []), batch_idx]
        return super().training_step(batch, batch_idx)


class MovesBatches(WithData):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch[0] * 0, batch[1] * 0 + 3


class Manual(WithData):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False


class Gan(L.LightningModule):
    """Two optimizers and schedulers, toggled, clipped and stepped by hand; its training_step returns nothing."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8))
        self.discriminator = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))

    def training_step(self, batch):
        (real, _), (of_generator, of_discriminator) = batch, self.optimizers()
        made = self.generator(torch.randn(len(real), 4, device=real.device))
        self.toggle_optimizer(of_generator)
        loss = F.softplus(-self.discriminator(made)).mean()
        of_generator.zero_grad()
        self.manual_backward(loss)
        of_generator.step()
        self.untoggle_optimizer(of_generator)
        with self.toggled_optimizer(of_discriminator):
            loss = F.softplus(-self.discriminator(real)).mean() + F.softplus(self.discriminator(made.detach())).mean()
            of_discriminator.zero_grad()
            self.manual_backward(loss)
            self.clip_gradients(of_discriminator, gradient_clip_val=10.0, gradient_clip_algorithm="norm")
            of_discriminator.step()
        self.log_dict({"loss": loss})
        for scheduler in self.lr_schedulers():
            scheduler.step()

    def configure_optimizers(self):
        optimizers = [torch.optim.Adam(each.parameters(), 2e-3) for each in (self.generator, self.discriminator)]
        return optimizers, [torch.optim.lr_scheduler.StepLR(each, 1000) for each in optimizers]

    def train_dataloader(self):
        return loader()


class SeveralLoaders(WithoutData):
    def train_dataloader(self):
        return {"a": loader(), "b": loader()}


class Data(L.LightningDataModule):
    def prepare_data(self):
        self.calls = ["prepare_data"]

    def setup(self, stage):
        self.calls.append(f"setup {stage}")
        self.data = loader()

    def train_dataloader(self):
        return self.data


class DataThatAugments(Data):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch[0] * 0, batch[1] * 0 + 3


def build(configured: str = "optimizer", returned: str = "loss", lr: float = 0.1):
    return WithData(lr=lr, configured=configured, returned=returned)


def with_datamodule():
    return WithoutData(), Data()


def with_loader():
    return WithoutData(), loader()


def with_data_that_augments():
    return WithoutData(), DataThatAugments()


def as_dict():
    """The same training as `build()`, without Lightning."""
    module = WithoutData()
    return {
        "model": module,
        "optimizer": module.configure_optimizers(),
        "train_loader": loader(),
        "loss": lambda model, batch: F.mse_loss(model.net(batch[0]), batch[1]),
    }


class KeepsForAnEpoch(WithData):
    """Eight batches of inputs are kept until the epoch's end, and all of validation until its end."""

    def training_step(self, batch, batch_idx):
        self.seen = [*getattr(self, "seen", []), batch[0]]
        return super().training_step(batch, batch_idx)

    def on_train_epoch_end(self):
        self.seen.clear()

    def val_dataloader(self):
        return loader()

    def validation_step(self, batch, batch_idx):
        self.outputs = [*getattr(self, "outputs", []), self.net(batch[0])]

    def on_validation_epoch_end(self):
        self.outputs.clear()


def keeps_for_an_epoch():
    return KeepsForAnEpoch()
