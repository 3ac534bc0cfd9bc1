"""`plan.apply`: every parameter group keeps its ratio, and what cannot be applied is refused unchanged."""

import copy

import pytest
import torch

import lbadvisor
from lbadvisor.errors import PlanError, RefusedError


def parameter():
    return torch.nn.Parameter(torch.zeros(2))


def planned(**keywords):
    return lbadvisor.plan(**{"batch_size": 128, "to": 2048, "lr": 0.1, "updates": 1000, "examples": 50_000} | keywords)


def test_every_group_keeps_its_own_ratio():
    """R = 16, so learning rates times 4; the weight decay of SGD is kept, and none stays none."""
    groups = [{"params": [parameter()]}, {"params": [parameter()], "lr": 0.01, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=1e-4)
    planned(momentum=0.9, weight_decay_value=1e-4).apply(optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.4, 0.04])
    assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-4, 0.0]
    assert optimizer.param_groups[0]["momentum"] == 0.9


def test_adamw_gets_betas_epsilon_and_weight_decay():
    """Malladi: 1 - 16 (1 - beta), epsilon / 4. The decay's horizon in updates is kept: decay / 4."""
    plan = planned(optimizer="adamw", lr=1e-3, beta1=0.95, weight_decay_value=0.1)
    groups = [{"params": [parameter()]}, {"params": [parameter()], "weight_decay": 0.05}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.95, 0.999), weight_decay=0.1)
    plan.apply(optimizer)
    for group in optimizer.param_groups:
        assert group["lr"] == pytest.approx(4e-3)
        assert group["betas"] == pytest.approx((0.2, 0.984))
        assert group["eps"] == pytest.approx(2.5e-9)
    assert [group["weight_decay"] for group in optimizer.param_groups] == pytest.approx([0.025, 0.0125])


def test_rmsprop_and_adagrad_get_theirs():
    rmsprop = torch.optim.RMSprop([parameter()], lr=0.1)
    planned(optimizer="rmsprop").apply(rmsprop)
    assert rmsprop.param_groups[0]["alpha"] == pytest.approx(0.84)
    adagrad = torch.optim.Adagrad([parameter()], lr=0.1)
    planned(optimizer="adagrad").apply(adagrad)
    assert adagrad.param_groups[0]["lr"] == pytest.approx(0.4)


def test_a_decoupled_adam_is_adamw():
    decoupled = torch.optim.Adam([parameter()], lr=1e-3, weight_decay=0.01, decoupled_weight_decay=True)
    planned(optimizer="adamw", lr=1e-3, betas="keep").apply(decoupled)
    assert decoupled.param_groups[0]["lr"] == pytest.approx(4e-3)


def test_a_rate_that_is_a_tensor_stays_the_same_tensor():
    optimizer = torch.optim.SGD([parameter()], lr=torch.tensor(0.1, dtype=torch.float64))
    rate = optimizer.param_groups[0]["lr"]
    planned().apply(optimizer)
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(0.4)


def test_without_a_known_rate_every_group_is_multiplied():
    optimizer = torch.optim.SGD([{"params": [parameter()]}, {"params": [parameter()], "lr": 0.01}], lr=0.3)
    lbadvisor.plan(batch_size=128, to=2048).apply(optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1.2, 0.04])


def test_a_weight_decay_that_the_plan_does_not_know_is_left_to_sgd_and_refused_for_adamw():
    sgd = torch.optim.SGD([parameter()], lr=0.1, weight_decay=5e-4)
    planned().apply(sgd)
    assert sgd.param_groups[0]["weight_decay"] == 5e-4
    with pytest.raises(PlanError, match="weight_decay_value="):
        planned(optimizer="adamw", weight_decay_value=0.0).apply(torch.optim.AdamW([parameter()], lr=0.1))


def test_applying_twice_is_refused_even_after_loading_the_state():
    optimizer = torch.optim.SGD([parameter()], lr=0.1)
    planned().apply(optimizer)
    with pytest.raises(RefusedError, match="already applied"):
        planned().apply(optimizer)
    resumed = torch.optim.SGD([parameter()], lr=0.1)
    resumed.load_state_dict(optimizer.state_dict())
    with pytest.raises(RefusedError, match="already applied"):
        planned().apply(resumed)


@pytest.mark.parametrize(
    ("build", "keywords", "message"),
    [
        (lambda p: torch.optim.Adam(p, lr=0.1), {}, "the plan is for sgd, and the optimizer is Adam: plan with"),
        (lambda p: torch.optim.NAdam(p, lr=0.1), {"optimizer": "adam"}, "NAdam: plans are for SGD"),
        (lambda p: torch.optim.AdamW(p, lr=0.1), {"optimizer": "adam"}, 'optimizer="adamw"'),
        (lambda p: torch.optim.SGD(p, lr=0.2), {}, "no parameter group has the baseline's learning rate 0.1: the "
         "optimizer has 0.2"),
        (lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.9, 0.95)), {"optimizer": "adamw"}, "plan with beta2=0.95"),
        (lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1), {"optimizer": "adamw"}, "weight decay 0.01"),
    ],
)  # fmt: skip
def test_another_optimizer_or_other_numbers_are_refused_and_nothing_is_changed(build, keywords, message):
    optimizer = build([parameter()])
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(PlanError, match=message):
        planned(**keywords).apply(optimizer)
    assert optimizer.state_dict() == before


def test_a_schedule_that_would_bring_the_old_rate_back_is_refused():
    optimizer = torch.optim.SGD([parameter()], lr=0.1)
    torch.optim.lr_scheduler.StepLR(optimizer, 10)
    with pytest.raises(RefusedError, match="before making the schedule"):
        planned().apply(optimizer)
