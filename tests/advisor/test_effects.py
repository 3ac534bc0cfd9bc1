"""Which of a request's fields change nothing: said, and true."""

from dataclasses import replace

import pytest

from lbadvisor.advisor.baseline import Baseline, baseline_of_numbers
from lbadvisor.advisor.effects import without_effect
from lbadvisor.advisor.parts import PARTS
from lbadvisor.advisor.plan import advise_numbers
from lbadvisor.advisor.request import Request
from lbadvisor.advisor.rules import LINEAR

SGD = baseline_of_numbers(128, 0.1, 200, 50_000, momentum=0.9)
DECAYING = replace(SGD, weight_decay=1e-4)
ADAM = baseline_of_numbers(128, 1e-3, 200, 50_000, "adam")
ADAMW = baseline_of_numbers(128, 1e-3, 200, 50_000, "adamw")
LAYER_NORM = replace(ADAMW, has_batch_norm=False)
LATER = replace(SGD, weight_decay=0.0, milestones=(100.0,), milestone_decays=(1e-4,))
OTHERS = {
    "lr_rule": LINEAR,
    "betas": "keep",
    "weight_decay": "horizon",
    "ghost_batch_size": 64,
    "stretch_share": 0.5,
}


@pytest.mark.parametrize(
    ("baseline", "parts", "idle"),
    [
        (SGD, PARTS, {"betas", "weight_decay"}),
        (DECAYING, PARTS, {"betas"}),
        (LATER, PARTS, {"betas"}),
        (ADAM, PARTS, {"weight_decay"}),
        (ADAMW, PARTS, set()),
        (LAYER_NORM, PARTS, {"ghost_batch_size"}),
        (ADAMW, ("lr",), {"ghost_batch_size", "stretch_share"}),
        (ADAMW, (), set(OTHERS)),
    ],
)
def test_a_field_without_effect_is_named_and_changes_nothing(baseline: Baseline, parts, idle):
    request = Request(1024, parts)
    assert set(without_effect(baseline, request)) == idle
    for field in idle - {"stretch_share"}:
        assert advise_numbers(baseline, replace(request, **{field: OTHERS[field]})) == advise_numbers(baseline, request)


def test_the_reason_is_said():
    assert without_effect(SGD, Request(1024, PARTS))["betas"] == "sgd has no betas"
    assert without_effect(LAYER_NORM, Request(1024, PARTS))["ghost_batch_size"] == "the network has no batch norm"
