"""What the tests of the libraries' loops share: the same small training in each of them."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import lbadvisor
from lbadvisor.training.data.pixels import normalized
from lbadvisor.training.loop import train
from lbadvisor.training.state import start_state

DIGITS = Path(__file__).parents[2] / "recipes" / "digits.toml"
CPU = torch.device("cpu")
SHORT = [
    "schedule.updates=100", "schedule.milestones=[{update=50, lr_factor=0.1, weight_decay=0.001}]",
    "clipping.max_norm=0.5", "clipping.updates=40",
]  # fmt: skip


class TheDigits:
    """100 updates on the digits at 256 in ghosts of 32, clipped in the first 40, dropped at 50."""

    def __init__(self, digits) -> None:
        self.dataset = digits
        self.recipe = lbadvisor.load_recipe(DIGITS, SHORT)
        self.plan = lbadvisor.plan(self.recipe, to=256)
        images, labels = digits.train.images_NCHW, digits.train.labels_N
        self.examples = TensorDataset(normalized(digits, images), labels)
        self._ours = None

    def network(self):
        """With the seed's first weights."""
        return self.started().model

    def started(self, recipe=None):
        # The baseline's: batch norm is still plain.
        return start_state(recipe or self.recipe, 0, self.dataset.shape, self.dataset.classes, CPU)

    def optimizer(self, network):
        return torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4, fused=True)

    def order(self, seed=0):
        return lbadvisor.UpdateBatchSampler(self.examples, self.plan, seed)

    def loader(self):
        return DataLoader(self.examples, batch_sampler=self.order())

    def ours(self):
        """The final weights and buffers of our trainer."""
        if self._ours is None:
            state = self.started(self.plan.adapted)
            self.measured = [one.measurement for one in train(state, self.dataset) if one is not None]
            self._ours = state.model.state_dict()
        return self._ours

    def assert_ours(self, network):
        ours, theirs = self.ours(), network.state_dict()
        assert ours.keys() == theirs.keys()
        assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.fixture(scope="session")
def training(digits) -> TheDigits:
    made = TheDigits(digits)
    assert (made.plan.updates, made.plan.ghost_batch_size, made.plan.clipping.updates) == (100, 32, 40)
    made.ours()
    return made


@pytest.fixture
def database(tmp_path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def stored(database) -> Callable[[str], SimpleNamespace]:
    """Reads a run and its measurements."""
    from lbadvisor.runs.databases import opened

    def of(name):
        with opened(database) as store:
            run = store.run(name)
            return SimpleNamespace(run=run, measurements=store.measurements(run.number))

    return of
