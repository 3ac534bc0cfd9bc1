"""What is watched in a foreign loop: the numbers of our trainer, and noise of a known scale."""

import itertools
import statistics
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

import lbadvisor
from lbadvisor.errors import UsageError
from lbadvisor.training.loop import train
from lbadvisor.training.state import start_state

DIGITS = Path(__file__).parents[2] / "recipes" / "digits.toml"
CPU = torch.device("cpu")


def test_a_loop_with_a_watch_reads_what_our_trainer_measures(digits):
    """Rate, gradient norm before clipping, clipped share, distance and noise: the same at every measurement."""
    recipe = lbadvisor.load_recipe(
        DIGITS,
        [
            "schedule.updates=60", "schedule.milestones=[]", "optimizer.lr=0.4", "clipping.max_norm=0.5",
            "clipping.updates=25",
        ],
    )  # fmt: skip
    recipe = recipe.model_copy(update={"measurements": recipe.measurements.model_copy(update={"also": ("noise",)})})
    plan = lbadvisor.plan(recipe, to=256)
    ours, theirs = (start_state(plan.adapted, 0, digits.shape, digits.classes, CPU) for _ in range(2))
    measured = [one for one in train(ours, digits) if one is not None]
    model = theirs.model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.4, momentum=0.9, weight_decay=1e-4, fused=True)
    plan.apply(optimizer)
    schedule, clip = lbadvisor.schedule(optimizer, plan), lbadvisor.ClippingWarmup(model.parameters(), plan)
    watch, read = lbadvisor.Watch(model, optimizer, clip), {}
    due = {one.measurement.update: one for one in measured}
    for update in range(1, 61):
        images, labels = digits.training_batch(plan.adapted, 0, update - 1)
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()
        if update in due and due[update].readings:
            with watch.untracked():
                first_loss = cross_entropy(model(images[:128]), labels[:128])
            watch.read_noise(first_loss, 128, 256)
        clip.step()
        optimizer.step()
        if update in due:
            read[update] = watch.read()
        if update == 30:
            kept = watch.state_dict()
            watch = lbadvisor.Watch(model, optimizer, clip)
            watch.load_state_dict(kept)
        schedule.step()
    assert any(one.measurement.clipped_share > 0 for one in measured)
    assert sum(bool(one.readings) for one in measured) == 1
    for update, one in due.items():
        for key in ("lr", "gradient_norm", "clipped_share", "weight_distance"):
            assert read[update][key] == pytest.approx(getattr(one.measurement, key), rel=1e-6), (update, key)
        # Whose estimator knows that a batch is drawn without replacement from 1297: it changes |g|^2 by tr S / N.
        for reading in one.readings:
            if reading.quantity == "gradient_variance":
                variance = reading.value
                assert read[update]["gradient_variance"] == pytest.approx(variance, rel=1e-3)
    square = next(r.value for one in measured for r in one.readings if r.quantity == "gradient_square")
    with_replacement = next(numbers["gradient_square"] for numbers in read.values() if "gradient_square" in numbers)
    assert with_replacement == pytest.approx(square - variance / 1297, rel=1e-3)


def test_the_noise_scale_of_a_linear_model_is_tr_s_over_g_squared():
    """Loss w.x with x of mean (3, 4) and unit variances: |g|^2 = 25, tr S = 2, a noise scale of 0.08 examples."""
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    watch = lbadvisor.Watch(model, optimizer)
    for _ in range(2000):
        x = torch.randn(4, 2) + torch.tensor([3.0, 4.0])
        optimizer.zero_grad()
        model(x).mean().backward()
        watch.read_noise(model(x[:1]).mean(), 1, 4)
    scale = watch.noise_scale()
    assert scale.low < 0.08 < scale.high
    assert scale.examples == pytest.approx(0.08, rel=0.05)
    assert lbadvisor.plan(batch_size=4, to=64, noise_scale=scale).batch_ratio == 16


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("told", [True, False])
def test_the_noise_of_batches_without_replacement_is_exact_on_average(first, told):
    """Loss w.x with x of 1, 2, 4 and 9: g = 4, tr S = (9 + 4 + 0 + 25)/3, over all orders of all batches of three."""
    values = [1.0, 2.0, 4.0, 9.0]
    model = torch.nn.Linear(1, 1, bias=False)
    watch = lbadvisor.Watch(model, torch.optim.SGD(model.parameters(), lr=0.0))
    squares, variances = [], []
    for drawn in itertools.permutations(values, 3):
        x = torch.tensor(drawn)[:, None]
        model.zero_grad()
        model(x).mean().backward()
        watch.read_noise(model(x[:first]).mean(), first, 3, 4 if told else None)
        numbers = watch.read()
        squares.append(numbers["gradient_square"])
        variances.append(numbers["gradient_variance"])
    assert statistics.fmean(variances) == pytest.approx(38 / 3, rel=1e-5)
    assert statistics.fmean(squares) == pytest.approx(16 if told else 16 - 38 / 3 / 4, rel=1e-5)


def test_without_clipping_the_norm_is_that_of_the_gradient():
    model = torch.nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    watch = lbadvisor.Watch(model, optimizer)
    model(torch.tensor([3.0, 4.0])).backward()
    optimizer.step()
    numbers = watch.read()
    assert numbers == pytest.approx({"lr": 0.5, "gradient_norm": 5.0, "weight_distance": 2.5, "clipped_share": 0.0})


def test_noise_that_cannot_be_read_says_why():
    model = torch.nn.Linear(2, 1)
    watch = lbadvisor.Watch(model, torch.optim.SGD(model.parameters(), lr=0.1))
    loss = model(torch.ones(4, 2)).mean()
    with pytest.raises(UsageError, match="no gradients"):
        watch.read_noise(loss, 2, 4)
    with pytest.raises(UsageError, match="4 of 4 examples"):
        watch.read_noise(loss, 4, 4)
    with pytest.raises(UsageError, match="a batch of 4 is not drawn from 3 examples"):
        watch.read_noise(loss, 2, 4, 3)
    with pytest.raises(UsageError, match="not read yet"):
        watch.noise_scale()
