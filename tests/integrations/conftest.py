"""What the tests of the libraries' loops share: the same small training in each of them."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, TensorDataset

import lbadvisor
from lbadvisor.training.data.pixels import normalized
from lbadvisor.training.loop import train
from lbadvisor.training.state import TrainState, start_state

DIGITS = Path(__file__).parents[2] / "recipes" / "digits.toml"
CPU = torch.device("cpu")
SHORT = [
    "schedule.updates=100", "schedule.milestones=[{update=50, lr_factor=0.1, weight_decay=0.001}]",
    "clipping.max_norm=0.5", "clipping.updates=40", "measurements.every_epochs=null", "measurements.every_updates=10",
    "measurements.evaluate_every_epochs=null", "measurements.evaluate_every_updates=100",
]  # fmt: skip


class ShortDigits:
    """100 updates on the digits at 256 in ghosts of 32, clipped in the first 40, dropped at 50.

    What our trainer makes of it is known. Weights are a function of the seed: each network begins as ours does.
    """

    def __init__(self, digits: Any) -> None:
        self._dataset = digits
        self.recipe = lbadvisor.load_recipe(DIGITS, SHORT)
        self.plan = lbadvisor.plan(self.recipe, to=256)
        train_set, test_set = (
            TensorDataset(normalized(digits, split.images_NCHW), split.labels_N)
            for split in (digits.train, digits.test)
        )
        self.examples, self.held_out = train_set, test_set
        state = self._started(self.plan.adapted)
        self.measured = [one.measurement for one in train(state, digits) if one is not None]
        self.weights = state.model.state_dict()

    def _started(self, recipe: lbadvisor.Recipe) -> TrainState:
        return start_state(recipe, 0, self._dataset.shape, self._dataset.classes, CPU)

    def network(self) -> torch.nn.Module:
        """The baseline's, with plain batch norm."""
        return self._started(self.recipe).model

    def optimizer(self, network: torch.nn.Module, **more: Any) -> torch.optim.Optimizer:
        """The baseline's."""
        settings = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4, "fused": True}
        return torch.optim.SGD(network.parameters(), **settings | more)

    def loader(self) -> DataLoader[Any]:
        """The batches of our trainer."""
        return DataLoader(self.examples, batch_sampler=lbadvisor.UpdateBatchSampler(self.examples, self.plan))

    def micro_loader(self) -> DataLoader[Any]:
        """The same examples, 64 at a time."""
        order = [i for batch in lbadvisor.UpdateBatchSampler(self.examples, self.plan) for i in batch]
        return DataLoader(self.examples, batch_sampler=BatchSampler(order, 64, drop_last=True))

    @cached_property
    def weights_by_micro_batches(self) -> dict[str, torch.Tensor]:
        """Our trainer's, 64 examples at a time: sums in another order."""
        state = self._started(self.plan.adapted)
        state.micro_size = 64
        list(train(state, self._dataset))
        return state.model.state_dict()


def _differing(ours: dict[str, torch.Tensor], network: torch.nn.Module) -> list[str]:
    """The tensors of which a bit differs."""
    theirs = network.state_dict()
    assert ours.keys() == theirs.keys()
    return [name for name in ours if not torch.equal(ours[name], theirs[name])]


@pytest.fixture(scope="session")
def training(digits: Any) -> ShortDigits:
    made = ShortDigits(digits)
    assert (made.plan.updates, made.plan.ghost_batch_size, made.plan.clipping.updates) == (100, 32, 40)
    assert 0 < sum(one.clipped_share for one in made.measured[:4]) < 4
    return made


@pytest.fixture
def differing() -> Callable[[dict[str, torch.Tensor], torch.nn.Module], list[str]]:
    return _differing


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def stored(database: Path) -> Callable[[str], SimpleNamespace]:
    """Reads a run and its measurements, by update."""
    from lbadvisor.runs.databases import opened

    def of(name: str) -> SimpleNamespace:
        with opened(database) as store:
            run = store.run(name)
            return SimpleNamespace(run=run, by_update={one.update: one for one in store.measurements(run.number)})

    return of


@pytest.fixture
def assert_measured(training: ShortDigits) -> Callable[..., None]:
    """That a run tells of its updates what our trainer measures."""

    def check(by_update: dict[int, Any], *keys: str) -> None:
        assert [*by_update] == [one.update for one in training.measured]
        for one in training.measured:
            for key in ("loss", "lr", "gradient_norm", "weight_distance", "clipped_share", *keys):
                found, expected = getattr(by_update[one.update], key), getattr(one, key)
                assert found == pytest.approx(expected, rel=1e-6), (one.update, key)

    return check
