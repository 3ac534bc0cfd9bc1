"""A plan in Lightning's Trainer."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import lbadvisor
from lbadvisor.errors import RefusedError, UsageError

lightning = pytest.importorskip("lightning.pytorch")

from lbadvisor.integrations.lightning_callback import LightningLargeBatch, UpdateLoader  # noqa: E402

pytestmark = [
    # Lightning advises a loader of 1297 small images to have workers, and calls what torch 2.14 is about to drop.
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


class Digits(lightning.LightningModule):
    """Written for the baseline: plain batch norm, the small batch's numbers."""

    def __init__(self, network, optimizer):
        super().__init__()
        self.network, self.optimizer = network, optimizer

    def training_step(self, batch, _):
        images, labels = batch
        return cross_entropy(self.network(images), labels)

    def configure_optimizers(self):
        return self.optimizer(self.network)


class Validated(Digits):
    """Logs two metrics, by names of its own."""

    def validation_step(self, batch, _):
        images, labels = batch
        logits = self.network(images)
        self.log("right", (logits.argmax(1) == labels).float().mean())
        self.log("nats", cross_entropy(logits, labels))


def trainer(callback, *more, updates=100, **settings):
    quiet = {
        "logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": bool(more),
        "accelerator": "cpu", "devices": 1,
    }  # fmt: skip
    return lightning.Trainer(max_steps=updates, callbacks=[callback, *more], **quiet | settings)


@pytest.fixture
def module(training):
    return Digits(training.network(), training.optimizer)


def test_the_weights_after_100_updates_are_our_trainers_bits(training, module):
    trainer(LightningLargeBatch(training.plan)).fit(module, training.loader())
    training.assert_ours(module.network)
