"""Multiplicative noise: the law of its covariance, on a linear regression; and that the loop trains with it."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import GradientNoise
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training.gradient_noise import noise_weights
from lbadvisor.training.loop import train
from lbadvisor.training.state import load_checkpoint, save_checkpoint, start_state

CPU = torch.device("cpu")
SMALL, RATIO, DRAWS = 16, 8, 20_000
LARGE = SMALL * RATIO


@pytest.fixture(scope="module")
def gradients_ND() -> Tensor:
    """Each example's gradient of a linear regression's squared error, away from its minimum: N = 2000, D = 6."""
    draws = torch.Generator().manual_seed(0)
    inputs_ND = torch.randn(2000, 6, generator=draws, dtype=torch.float64)
    targets_N = inputs_ND @ torch.arange(1.0, 7.0, dtype=torch.float64) / 4
    targets_N += torch.randn(2000, generator=draws, dtype=torch.float64)
    weights_D = torch.full((6,), 0.3, dtype=torch.float64)
    return 2 * (inputs_ND @ weights_D - targets_N)[:, None] * inputs_ND


def estimates(gradients_ND: Tensor, noise: GradientNoise) -> Tensor:
    """The weighted mean gradient of batches drawn with replacement, (DRAWS, D)."""
    draws = torch.Generator().manual_seed(1)
    rows = []
    for update in range(DRAWS):
        batch_B = torch.randint(len(gradients_ND), (LARGE,), generator=draws)
        z_B = noise_weights(noise, LARGE, 0, update).double()
        rows.append(z_B @ gradients_ND[batch_B] / LARGE)
    return torch.stack(rows)


def predicted(gradients_ND: Tensor, ratio: float) -> Tensor:
    """(r Q - g g^T)/M."""
    mean_D = gradients_ND.mean(0)
    second_DD = gradients_ND.T @ gradients_ND / len(gradients_ND)
    return (ratio * second_DD - torch.outer(mean_D, mean_D)) / LARGE


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli"])
def test_the_covariance_is_that_of_the_small_batch_but_for_the_mean_gradient(gradients_ND, kind):
    """Trace and matrix within 3%; a variance of r, and not r - 1, would be 12% off, and is told apart."""
    found_RD = estimates(gradients_ND, GradientNoise(kind=kind, ratio=RATIO))
    mean_D, cov_DD = gradients_ND.mean(0), found_RD.T.cov()
    expected_DD = predicted(gradients_ND, RATIO)
    standard_errors_D = (expected_DD.diagonal() / DRAWS).sqrt()
    assert ((found_RD.mean(0) - mean_D).abs() < 4 * standard_errors_D).all()
    assert (cov_DD.trace() / expected_DD.trace()).item() == pytest.approx(1, abs=0.03)
    assert (cov_DD - expected_DD).norm() < 0.03 * expected_DD.norm()

    sigma_DD = gradients_ND.T.cov(correction=0)
    excess_DD = torch.outer(mean_D, mean_D) * (1 / SMALL - 1 / LARGE)
    torch.testing.assert_close(expected_DD, sigma_DD / SMALL + excess_DD)
    assert (cov_DD.trace() / (sigma_DD / SMALL).trace()).item() > 1.05


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli"])
def test_a_variance_of_the_ratio_itself_misses_the_law(gradients_ND, kind):
    too_much = GradientNoise(kind=kind, ratio=RATIO + 1)  # a variance of r
    share = estimates(gradients_ND, too_much).T.cov().trace() / predicted(gradients_ND, RATIO).trace()
    assert share.item() > 1.08


@pytest.mark.parametrize("ratio", [1.5, 32.0])
@pytest.mark.parametrize("kind", ["gaussian", "bernoulli"])
def test_the_weights_have_mean_one_and_the_variance_of_the_ratio_less_one(kind, ratio):
    """Within five standard errors of a million draws; with a Bernoulli weight an example is taken r times or not."""
    z_B = noise_weights(GradientNoise(kind=kind, ratio=ratio), 1_000_000, 3, 5).double()
    assert z_B.mean().item() == pytest.approx(1, abs=5 * (ratio - 1) ** 0.5 / 1000)
    fourth = (z_B - 1).pow(4).mean().item()
    assert z_B.var().item() == pytest.approx(ratio - 1, abs=5 * (fourth - (ratio - 1) ** 2) ** 0.5 / 1000)
    if kind == "bernoulli":
        assert set(z_B.unique().tolist()) == {0.0, ratio}
    elif ratio == 32:
        # P(z < 0) = P(N(0, 1) < -1/sqrt(31)) = 0.4287
        assert (z_B < 0).double().mean().item() == pytest.approx(0.4287, abs=0.0025)


def test_the_weights_are_a_function_of_seed_and_update():
    noise = GradientNoise(kind="gaussian", ratio=4.0)
    torch.manual_seed(0)
    first = noise_weights(noise, 8, 1, 2)
    torch.manual_seed(1)
    assert torch.equal(noise_weights(noise, 8, 1, 2), first)
    assert not torch.equal(noise_weights(noise, 8, 2, 2), first)
    assert not torch.equal(noise_weights(noise, 8, 1, 3), first)


BODY = {
    "schema": 1,
    "name": "tiny",
    "data": {"name": "digits", "train_examples": 1297},
    "model": {"name": "digits_mlp"},
    "batch": {"size": 128},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "schedule": {"updates": 6},
    "measurements": {"every_updates": 1},
}


def started(**tables):
    return start_state(in_updates(Recipe.model_validate(BODY | tables)), 0, (1, 8, 8), 10, CPU)


def test_training_weighs_each_example_and_measures_the_plain_loss(digits):
    """SGD by hand: the gradient is that of sum(z_n l_n)/B, and the loss that is measured is the mean of l_n."""
    noise = {"kind": "bernoulli", "ratio": 4.0}
    state, by_hand = started(gradient_noise=noise), started()
    measured = [m.measurement for m in train(state, digits)]
    for update in range(6):
        images, labels = digits.training_batch(by_hand.recipe, 0, update)
        losses = cross_entropy(by_hand.model(images), labels, reduction="none")
        assert measured[update].loss == pytest.approx(losses.mean().item(), rel=1e-5)
        taken = noise_weights(GradientNoise(**noise), 128, 0, update) > 0
        assert 0 < taken.sum() < 128
        gradients = torch.autograd.grad(4 * losses[taken].sum() / 128, by_hand.parameters)
        with torch.no_grad():
            for parameter, gradient in zip(by_hand.parameters, gradients, strict=True):
                parameter -= 0.1 * gradient
    for found, expected in zip(state.parameters, by_hand.parameters, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli"])
def test_a_run_with_noise_that_is_interrupted_ends_bitwise_equal(digits, tmp_path, kind):
    noise = {"gradient_noise": {"kind": kind, "ratio": 4.0}}
    straight, first, second = started(**noise), started(**noise), started(**noise)
    list(train(straight, digits))
    updates = train(first, digits)
    for _ in range(3):
        next(updates)
    load_checkpoint(save_checkpoint(tmp_path, first), second)
    list(train(second, digits))
    assert all(torch.equal(a, b) for a, b in zip(second.parameters, straight.parameters, strict=True))
    without = started()
    list(train(without, digits))
    assert not all(torch.equal(a, b) for a, b in zip(without.parameters, straight.parameters, strict=True))
