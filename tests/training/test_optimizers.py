"""A recipe's optimizer is torch's."""

import pytest
import torch

from lbadvisor.recipe import recipe_tables as tables
from lbadvisor.training.optimizers import build_optimizer


@pytest.mark.parametrize(
    ("recipe", "torchs"),
    [
        (
            tables.Sgd(name="sgd", lr=0.1, momentum=0.9, weight_decay=1e-2),
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2, fused=True),
        ),
        (tables.Adam(name="adam", lr=0.1), lambda p: torch.optim.Adam(p, lr=0.1, fused=True)),
        (
            tables.AdamW(name="adamw", lr=0.1, weight_decay=1e-2),
            lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=1e-2, fused=True),
        ),
        (
            tables.RmsProp(name="rmsprop", lr=0.1, beta2=0.9, epsilon=1e-8, momentum=0.5),
            lambda p: torch.optim.RMSprop(p, lr=0.1, alpha=0.9, momentum=0.5),
        ),
        (tables.Adagrad(name="adagrad", lr=0.1, epsilon=1e-10), lambda p: torch.optim.Adagrad(p, lr=0.1)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_without_the_compilers_wrappers_every_bit_and_the_saved_state_are_torchs(recipe, torchs):
    ours, theirs = (torch.linspace(-1, 1, 7).requires_grad_() for _ in range(2))
    plain, usual = build_optimizer(recipe, [ours]), torchs([theirs])
    assert isinstance(plain, type(usual))
    for update in range(5):
        for weight, optimizer in ((ours, plain), (theirs, usual)):
            optimizer.zero_grad()
            (weight.sin() * (update + 1)).sum().backward()
            optimizer.step()
        assert torch.equal(ours, theirs)
    saved, expected = plain.state_dict(), usual.state_dict()
    assert saved["param_groups"] == expected["param_groups"]
    assert saved["state"][0].keys() == expected["state"][0].keys()
    again = build_optimizer(recipe, [ours])
    again.load_state_dict(expected)
    assert again.state_dict()["param_groups"] == expected["param_groups"]


def test_a_step_skips_the_hooks_that_torch_wraps_around_it():
    weight, called = torch.ones(3, requires_grad=True), []
    optimizer = build_optimizer(tables.Sgd(name="sgd", lr=0.5, momentum=0.0, weight_decay=0.0), [weight])
    optimizer.register_step_post_hook(lambda *_: called.append("hook"))
    weight.sum().backward()
    optimizer.step()
    assert weight.tolist() == [0.5] * 3
    assert not called
