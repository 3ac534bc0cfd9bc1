"""What a user's own script gets wrong is said in words: which value, where, and what to do."""

import numpy as np
import pytest
import torch

import lbadvisor
from lbadvisor.errors import PlanError, UsageError

PLAN = lbadvisor.plan(batch_size=8, to=32, lr=0.1, updates=100, examples=1000)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"lr": "0.1"}, "lr='0.1': give a number"),
        ({"lr": torch.tensor(0.5)}, r"lr=tensor\(0.5000\): give a number"),
        ({"epochs": "3", "examples": 1000}, "epochs='3': give a number"),
        ({"stretch_share": "0.5"}, "stretch_share='0.5': give a number"),
        ({"ghost_batch_size": "32"}, "ghost_batch_size='32': give a whole number"),
        ({"devices": 2.5}, "devices=2.5: give a whole number"),
        ({"noise_scale": -3}, "noise_scale=-3.0: give a number of examples, which is not negative"),
        ({"noise_scale": float("nan")}, "noise_scale=nan: give a number of examples"),
        ({"noise_scale": "300"}, "noise_scale='300': give a number"),
    ],
)
def test_a_plan_takes_numbers(keywords, message):
    with pytest.raises(PlanError, match=f"^{message}"):
        lbadvisor.plan(batch_size=128, to=256, **keywords)


def test_numbers_of_numpy_are_numbers():
    plan = lbadvisor.plan(batch_size=np.int64(128), to=512, lr=np.float32(0.5), ghost_batch_size=np.int32(64))
    assert (plan.lr, plan.ghost_batch_size) == (1.0, 64)
    assert all(type(line.after) in (int, float, type(None)) for line in plan.adjustments)


def test_the_pieces_say_what_they_need():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
    no_ghosts = lbadvisor.plan(batch_size=8, to=32, adapt="lr").ghost_batch_size
    with pytest.raises(UsageError, match="as in a plan without ghost batches: leave this out"):
        lbadvisor.convert_ghost_batchnorm(model, no_ghosts)
    with pytest.raises(ValueError, match=r"ghost_batch_size is 2\.5: it must be a whole number"):
        lbadvisor.convert_ghost_batchnorm(model, 2.5)
    for wrong in ([], model):
        with pytest.raises(TypeError, match=r"give those of the model, model\.parameters\(\)"):
            lbadvisor.ClippingWarmup(wrong, PLAN)


def test_a_gradient_norm_after_zero_grad_is_no_zero():
    """A loop that clears its gradients before it reads would store a norm of 0."""
    model = torch.nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = lbadvisor.Watch(model, optimizer)
    model(torch.tensor([3.0, 4.0])).backward()
    assert watch.read()["gradient_norm"] == 5
    optimizer.zero_grad()
    with pytest.raises(UsageError, match=r"between backward\(\) and zero_grad\(\)"):
        watch.read()


def test_record_says_what_it_takes(tmp_path):
    place = tmp_path / "a.db"
    with pytest.raises(UsageError, match=r"such as plan\.settings"), lbadvisor.record("a", PLAN, database=place):
        pass
    number = "'12' cannot name a run: a plain number is a run's number"
    with pytest.raises(UsageError, match=number), lbadvisor.record("12", PLAN.settings, database=place):
        pass
    assert not place.exists()


def test_a_loss_is_logged_as_it_comes_out_of_the_loop(tmp_path):
    """Warnings are errors here: torch has one for the plain `float` of a tensor that requires a gradient."""
    with lbadvisor.record("a", PLAN.settings, database=tmp_path / "a.db") as run:
        run.log(1, loss=torch.tensor(2.0, requires_grad=True), gradient_norm=np.float32(0.5))
        with pytest.raises(UsageError, match=r"loss is .*: it must be a number"):
            run.log(2, loss=torch.ones(2))
