"""The README's examples of other libraries' loops, run as they stand."""

import re
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import lbadvisor
from lbadvisor.runs.databases import opened
from lbadvisor.training.data.pixels import normalized
from lbadvisor.training.loop import train
from lbadvisor.training.state import start_state

ROOT = Path(__file__).parents[2]
SHORT = lbadvisor.load_recipe(ROOT / "recipes" / "digits.toml", ["schedule.updates=60", "schedule.milestones=[]"])
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)


class Script:
    """What a reader has: 60 updates of the digits at 512, and the names that the examples use."""

    def __init__(self, digits):
        self.plan = lbadvisor.plan(SHORT, to=512)
        self.dataset = TensorDataset(normalized(digits, digits.train.images_NCHW), digits.train.labels_N)
        recipe = self.plan.baseline
        self.model = start_state(recipe, 0, digits.shape, digits.classes, torch.device("cpu")).model
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4, fused=True)
        order = lbadvisor.UpdateBatchSampler(self.dataset, self.plan)
        self.loader = DataLoader(self.dataset, batch_sampler=order)

    def run(self, word, **more):
        names = {"torch": torch, "lbadvisor": lbadvisor, **vars(self), **more}
        exec(next(block for block in BLOCKS if word in block), names)
        return names


@pytest.fixture
def script(digits, tmp_path, monkeypatch):
    """In a folder that holds the recipe and nothing else."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "digits.toml").write_text(lbadvisor.dump_recipe(SHORT))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LBADVISOR_DB", raising=False)
    return Script(digits)


@pytest.fixture(scope="module")
def ours(digits):
    state = start_state(lbadvisor.plan(SHORT, to=512).adapted, 0, digits.shape, digits.classes, torch.device("cpu"))
    list(train(state, digits))
    return state.model.state_dict()


# What Lightning says of its surroundings: no logger package, few workers, and what torch 2.14 is about to drop.
@pytest.mark.filterwarnings("ignore:.*(many workers|LeafSpec|Starting from v1.9.0|is not empty).*")
def test_the_example_of_lightning(script, ours, differing):
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = script.model

        def training_step(self, batch, _):
            return cross_entropy(self.network(batch[0]), batch[1])

        def configure_optimizers(self):
            return script.optimizer

    script.run("LightningLargeBatch", module=Module())
    assert differing(ours, script.model) == []
    with opened(None) as store:
        assert store.run("digits-lightning").ended_because == "all 60 updates made"


def test_the_example_of_accelerate(script, ours, differing):
    accelerate = pytest.importorskip("accelerate")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    script.run("AccelerateLargeBatch")
    assert differing(ours, script.model) == []


# The Trainer pins memory for a GPU by default.
@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true but no accelerator is found")
def test_the_example_of_transformers(script, monkeypatch):
    """In an order of its own: that it learns is what can be said."""
    pytest.importorskip("transformers")

    class Digits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = script.model

        def forward(self, images, labels):
            logits = self.network(images)
            return {"loss": cross_entropy(logits, labels), "logits": logits}

    examples = [{"images": x, "labels": y} for x, y in script.dataset]
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    trainer = script.run("TransformersLargeBatch", model=Digits(), dataset=examples)["trainer"]
    assert trainer.state.global_step == 60
    assert trainer.state.log_history[-1]["train_loss"] < 1
