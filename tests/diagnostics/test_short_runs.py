"""Gradient moments against every example's own gradient; and a calibration of the digits."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lbadvisor.diagnostics.advance import Advance
from lbadvisor.diagnostics.calibration.short_runs import CalibrationRequest, calibrate
from lbadvisor.diagnostics.noise.gradient_moments import gradient_moments
from lbadvisor.errors import UsageError
from lbadvisor.planning.request import Request
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.machine import Machine

DIGITS = Path(__file__).parents[2] / "recipes" / "digits.toml"
HERE = Machine(torch.device("cpu"), Path())


@pytest.fixture
def digits() -> Recipe:
    return load_recipe(DIGITS)


def test_the_moments_are_unbiased_for_batches_out_of_a_small_set(digits):
    """200 examples of 5 features in 3 classes: over 600 draws of 8 chunks of 8, against all gradients themselves."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(200, 5, generator=draws)
    labels = torch.randint(0, 3, (200,), generator=draws)
    model = nn.Linear(5, 3)
    with torch.no_grad():
        model.weight.copy_(torch.randn(3, 5, generator=draws))
    each = []
    for image, label in zip(images, labels, strict=True):
        loss = cross_entropy(model(image[None]), label[None])
        each.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]))
    gradients = torch.stack(each).double()
    squared_mean = float(gradients.mean(0).square().sum())
    variance = float(gradients.var(0, correction=1).sum())
    found = []
    for _ in range(600):
        batch = torch.randperm(200, generator=draws)[:64]
        found.append(gradient_moments(model, digits, images[batch], labels[batch], 8, 200))
    means = torch.tensor(found).mean(0).tolist()
    assert means[0] == pytest.approx(squared_mean, rel=0.03)
    assert means[1] == pytest.approx(variance, rel=0.03)


def request(digits, **changed):
    asked = {
        "baseline": digits,
        "request": Request(1024, ("lr", "ghost", "regime")),
        "exponents": (-0.1, 0.25, 0.6),
        "updates": 80,
        "seeds": (0, 1),
    }
    return CalibrationRequest(**(asked | changed))


def test_the_digits_drift_first_and_the_exponent_grows_with_the_window(digits):
    events, behind = calibrate(HERE, request(digits)), 0
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            found = end.value
            break
        if isinstance(event, Advance):
            assert event.done > behind
            behind = event.done
    assert [window.updates for window in found.windows] == [5, 10, 20, 40, 80]
    exponents = [window.matched.value for window in found.windows]
    assert exponents[0] == pytest.approx(0.07, abs=0.08)
    assert 0.12 < exponents[-1] < 0.35
    assert all(0.1 < window.one_update.value < 0.5 for window in found.windows)
    for window in found.windows:
        assert window.drift_share == pytest.approx(1 / (1 + window.noise_scale.examples / 32))
    assert "The noise scale over these updates is" in found.conclusion
    # Two seeds of: 80 updates of the baseline and of three targets, and five times 32 baseline batches for the noise.
    assert found.examples == behind == request(digits).examples == 2 * (80 * (32 + 3 * 1024) + 5 * 32 * 32)
    assert found.share_percent == pytest.approx(100 * found.examples / (405 * 1024))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"updates": 406}, "the trainings have only 405 updates"),
        ({"exponents": (0.5,)}, "at least two"),
        ({"request": Request(1024, ("ghost",))}, "must include lr"),
        ({"request": Request(32, ("lr",))}, "not above the baseline's 32"),
    ],
)
def test_a_calibration_that_makes_no_sense_is_refused(digits, changed, said):
    with pytest.raises(UsageError, match=said):
        request(digits, **changed)


def ended(events):
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value


def test_micro_batches_change_a_calibration_by_rounding_only(digits):
    asked = {"updates": 10, "seeds": (0,), "request": Request(256, ("lr", "ghost", "regime"))}
    whole, cut = (
        ended(calibrate(HERE, request(digits, **asked))),
        ended(calibrate(replace(HERE, micro=64), request(digits, **asked))),
    )
    assert cut.curves[0] == whole.curves[0]
    for one, other in zip(whole.curves, cut.curves, strict=True):
        assert other.distances == pytest.approx(one.distances, rel=1e-4)


def test_micro_batches_that_would_cut_ghosts_are_refused(digits):
    with pytest.raises(UsageError, match="would cut ghost batches of 32"):
        ended(calibrate(replace(HERE, micro=40), request(digits)))


def test_tf32_on_a_cpu_is_refused_as_by_a_training(digits):
    tf32 = digits.model_copy(update={"compute": digits.compute.model_copy(update={"tf32": True})})
    with pytest.raises(UsageError, match=r"compute\.tf32"):
        ended(calibrate(HERE, request(tf32)))
