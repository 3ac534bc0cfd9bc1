"""The plan's schedule as a torch scheduler, its clipping warm-up, and the order of examples."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import lbadvisor
from lbadvisor.errors import PlanError, RefusedError, UsageError
from lbadvisor.recipe.schedule import rates_at
from lbadvisor.training.data.order import batch_indices

DIGITS = Path(__file__).parents[2] / "recipes" / "digits.toml"


def optimizer_of(*lrs, decay=1e-4):
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": lr} for lr in lrs]
    return torch.optim.SGD(groups, lr=lrs[0], momentum=0.9, weight_decay=decay)


def planned(*overrides, to=512):
    return lbadvisor.plan(lbadvisor.load_recipe(DIGITS, overrides), to=to)


def rates(optimizer):
    return [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]


def test_every_update_has_the_rates_of_the_adapted_recipe():
    """With a milestone of the weight decay; the second group at a tenth of the rate."""
    plan = planned("schedule.milestones[0].weight_decay=0.01")
    optimizer = optimizer_of(0.05, 0.005)
    plan.apply(optimizer)
    schedule = lbadvisor.schedule(optimizer, plan)
    assert isinstance(schedule, torch.optim.lr_scheduler.LRScheduler)
    for update in range(plan.updates):
        lr, decay = rates_at(plan.adapted, update).lr, rates_at(plan.adapted, update).weight_decay
        first, second = rates(optimizer)
        assert first == (lr, decay)
        assert second == pytest.approx((lr / 10, decay))
        assert schedule.get_last_lr() == [first[0], second[0]]
        optimizer.step()
        schedule.step()
    with pytest.raises(UsageError, match="405 updates are made"):
        schedule.step()


def test_a_resumed_schedule_continues_whatever_is_loaded_first():
    plan = planned()
    optimizer = optimizer_of(0.05, 0.005)
    plan.apply(optimizer)
    schedule = lbadvisor.schedule(optimizer, plan)
    for _ in range(210):
        optimizer.step()
        schedule.step()
    kept = optimizer.state_dict(), schedule.state_dict()
    for order in ((0, 1), (1, 0)):
        resumed = optimizer_of(0.05, 0.005)
        plan.apply(resumed)
        again = lbadvisor.schedule(resumed, plan)
        for which in order:
            (resumed, again)[which].load_state_dict(kept[which])
        assert (again.last_epoch, rates(resumed)) == (210, rates(optimizer))
    fresh = optimizer_of(0.05, 0.005)
    fresh.load_state_dict(kept[0])
    late = lbadvisor.schedule(fresh, plan)
    late.load_state_dict(kept[1])
    assert rates(fresh) == rates(optimizer)


def test_from_numbers_the_rate_is_constant_after_the_warmup():
    """Goyal: 5 epochs of 100 updates each are more than a tenth of 1000: 100 updates, from lr_S/lr_L = 1/16."""
    plan = lbadvisor.plan(batch_size=10, to=160, lr=0.1, examples=16_000, updates=16_000, arm="linear")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    plan.apply(optimizer)
    schedule = lbadvisor.schedule(optimizer, plan)
    found = []
    for _ in range(150):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert found[0] == pytest.approx(0.1 + 1.5 / 100)
    assert found[99:] == pytest.approx([1.6] * 51)


def test_a_scheduler_of_the_users_own_begins_at_the_adapted_rates():
    """Half a cosine is at half the rate in the middle of the plan's updates."""
    plan = lbadvisor.plan(batch_size=10, to=160, lr=0.1, updates=40)
    optimizer = optimizer_of(0.1, 0.01)
    plan.apply(optimizer)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, plan.updates)
    assert [lr for lr, _ in rates(optimizer)] == pytest.approx([0.4, 0.04])
    for _ in range(20):
        optimizer.step()
        cosine.step()
    assert [lr for lr, _ in rates(optimizer)] == pytest.approx([0.2, 0.02])


def test_without_a_known_rate_the_schedule_keeps_each_groups_own():
    plan = lbadvisor.plan(batch_size=10, to=160, updates=20)
    optimizer = optimizer_of(0.3, 0.03, decay=0.5)
    plan.apply(optimizer)
    schedule = lbadvisor.schedule(optimizer, plan)
    optimizer.step()
    schedule.step()
    assert rates(optimizer) == [pytest.approx((1.2, 0.5)), pytest.approx((0.12, 0.5))]


def test_a_schedule_needs_an_applied_plan_of_known_length():
    plan = planned()
    with pytest.raises(RefusedError, match=r"plan.apply\(optimizer\) first"):
        lbadvisor.schedule(optimizer_of(0.05), plan)
    unknown, optimizer = lbadvisor.plan(batch_size=10, to=160, lr=0.1), optimizer_of(0.1)
    unknown.apply(optimizer)
    with pytest.raises(PlanError, match="give updates="):
        lbadvisor.schedule(optimizer, unknown)
    by_distance, optimizer = planned("schedule.milestones[0].distance=5.0"), optimizer_of(0.05)
    by_distance.apply(optimizer)
    with pytest.raises(PlanError, match=r"lbadvisor.train"):
        lbadvisor.schedule(optimizer, by_distance)


def test_the_clipping_warmup_ends_counts_and_resumes():
    """Gradients of norm 5 are clipped to 5/4 for a tenth of 40 updates; a small one is not, and not counted."""
    plan = lbadvisor.plan(batch_size=10, to=160, lr=0.1, examples=16_000, updates=40)
    weights = [torch.nn.Parameter(torch.zeros(2))]
    clip = lbadvisor.ClippingWarmup(weights, plan)
    norms = []
    for update in range(6):
        if update == 2:
            kept = clip.state_dict()
            clip = lbadvisor.ClippingWarmup(weights, plan)
            clip.load_state_dict(kept)
        weights[0].grad = torch.tensor([3.0, 4.0]) if update != 1 else torch.tensor([0.3, 0.4])
        before = clip.step()
        norms.append((None if before is None else round(float(before), 5), round(float(weights[0].grad.norm()), 5)))
    assert norms == [(5.0, 1.25), (0.5, 0.5), (5.0, 1.25), (5.0, 1.25), (None, 5.0), (None, 5.0)]
    assert float(clip.clipped) == 3


def test_the_batch_sampler_gives_the_trainers_order_and_resumes():
    plan = planned()
    dataset = TensorDataset(torch.arange(1297))
    sampler = lbadvisor.UpdateBatchSampler(dataset, plan, seed=3)
    batches = [batch for (batch,) in DataLoader(dataset, batch_sampler=sampler)]
    assert len(sampler) == len(batches) == 405
    assert all(torch.equal(batch, batch_indices(3, update, 512, 1297)) for update, batch in enumerate(batches))
    resumed = lbadvisor.UpdateBatchSampler(1297, plan, seed=3)
    resumed.set_update(400)
    kept = resumed.state_dict()
    again = lbadvisor.UpdateBatchSampler(1297, plan, seed=3)
    again.load_state_dict(kept)
    assert list(again) == [batch.tolist() for batch in batches[400:]]
    with pytest.raises(RefusedError, match="seed 3, not 4"):
        lbadvisor.UpdateBatchSampler(1297, plan, seed=4).load_state_dict(kept)
    with pytest.raises(UsageError, match="above the 100 examples"):
        lbadvisor.UpdateBatchSampler(100, plan)


def test_a_model_without_batch_norm_gets_no_ghosts():
    with pytest.raises(UsageError, match="Linear has no batch norm"):
        lbadvisor.convert_ghost_batchnorm(torch.nn.Linear(2, 2), 128)
    model = lbadvisor.convert_ghost_batchnorm(torch.nn.Sequential(torch.nn.SyncBatchNorm(2)), 16)
    assert isinstance(model[0], lbadvisor.GhostBatchNorm)


def test_what_only_our_trainer_does_of_a_recipe_is_left_to_the_loop_aloud():
    plan = planned("weight_ema.decay=0.9", "compute.precision=bf16")
    optimizer = optimizer_of(0.05)
    plan.apply(optimizer)
    with pytest.warns(
        UserWarning, match=r"the recipe has weight_ema, compute\.precision: your loop must do that itself"
    ):
        lbadvisor.schedule(optimizer, plan)
