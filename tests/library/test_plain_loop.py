"""The README's loop of the library's pieces trains as our trainer does: the same bits."""

import re
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

import lbadvisor
from lbadvisor.training.data.pixels import normalized
from lbadvisor.training.data.preparation import load_dataset
from lbadvisor.training.loop import train
from lbadvisor.training.state import start_state

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
LOOP = next(
    block for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    if "plan.apply(optimizer)" in block
)  # fmt: skip


def trained_by_both(recipe, dataset, loop):
    """The final weights and buffers of our trainer, and of the loop from the same first weights."""
    ours, theirs = (start_state(recipe, 0, dataset.shape, dataset.classes, CPU) for _ in range(2))
    torch.manual_seed(0)
    names = {"model": theirs.model, "dataset": TensorDataset(normalized(dataset, dataset.train.images_NCHW),
                                                            dataset.train.labels_N)}  # fmt: skip
    list(train(ours, dataset))
    exec(loop, names)
    return ours.model.state_dict(), names["model"].state_dict()


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The recipes and nothing else; runs are recorded in a database of its own."""
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LBADVISOR_DB", str(tmp_path / "a.db"))


def test_the_readmes_loop_ends_with_our_trainers_bits(digits):
    """405 updates at 512 in ghosts of 32, clipped at the start, dropped twice."""
    plan = lbadvisor.plan("recipes/digits.toml", to=512)
    ours, theirs = trained_by_both(plan.adapted, digits, LOOP)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours | theirs)
    lbadvisor.train("recipes/digits.toml", to=512)
    comparison = lbadvisor.compare("digits-512-all-s0", "my-run")
    distance = next(metric for metric in comparison.metrics if metric.name == "weight_distance")
    # Its last logged update is 400, after which the rate is a hundredth.
    assert distance.values[1] == pytest.approx(distance.values[0], rel=1e-4)


def test_f1_on_mnist_after_100_updates_has_the_same_bits(real_data_dir, tmp_path):
    small = lbadvisor.load_recipe(
        ROOT / "recipes" / "mnist_f1.toml",
        ["schedule.updates=100", "schedule.milestones=[]"],
    )
    path = tmp_path / "f1.toml"
    path.write_text(lbadvisor.dump_recipe(small))
    optimizer = small.optimizer
    loop = LOOP.replace('"recipes/digits.toml", to=512', f"{str(path)!r}, to=256").replace(
        "(model, 32)", "(model, 128)"
    )
    numbers = f"lr={optimizer.lr}, momentum={optimizer.momentum}, weight_decay={optimizer.weight_decay}"
    loop = loop.replace("lr=0.05, momentum=0.9, weight_decay=1e-4", numbers)
    plan = lbadvisor.plan(path, to=256)
    assert (plan.updates, plan.ghost_batch_size, plan.clipping.updates) == (100, 128, 10)
    ours, theirs = trained_by_both(plan.adapted, load_dataset(plan.adapted, real_data_dir, CPU), loop)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours | theirs)
