"""The loss as a function of the weights, its derivatives and its sharpness, against what is known of them."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lbadvisor.diagnostics.landscape.landscape import Landscape, landscape_of, statistics_slices
from lbadvisor.diagnostics.landscape.sharpness import largest_eigenvalue, largest_stable_lr, sharpness_percent
from lbadvisor.errors import UsageError
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.recipe_tables import Adam, Sgd
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training.machine import Machine

DIGITS = in_updates(load_recipe(Path(__file__).parents[2] / "recipes" / "digits.toml"))
HERE = Machine(torch.device("cpu"), Path())


def tiny(*, batch_norm=False, scale=1.0):
    """A network of 3-5-4 units in float64, and its landscape over two batches of ten examples."""
    draws = torch.Generator().manual_seed(0)
    layers = [nn.Linear(3, 5), *([nn.BatchNorm1d(5, eps=1e-12)] if batch_norm else []), nn.ReLU(), nn.Linear(5, 4)]
    model = nn.Sequential(*layers).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws, dtype=torch.float64))
        for parameter in layers[0].parameters():
            parameter.mul_(scale)
        if not batch_norm:
            layers[-1].weight.div_(scale)
    for layer in layers:
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_mean = layer.running_var = None
    batches = tuple(
        (torch.randn(10, 3, generator=draws, dtype=torch.float64), torch.randint(4, (10,), generator=draws))
        for _ in range(2)
    )
    return Landscape(model.eval(), batches, torch.cat([p.detach().reshape(-1) for p in model.parameters()]))


def hessian_of(landscape):
    """Every second derivative, by torch's own function."""
    shapes = [p.shape for p in landscape.model.parameters()]
    names = [name for name, _ in landscape.model.named_parameters()]

    def loss(weights):
        parts = [p.view(s) for p, s in zip(weights.split([s.numel() for s in shapes]), shapes, strict=True)]
        parameters = dict(zip(names, parts, strict=True))
        losses = [
            cross_entropy(torch.func.functional_call(landscape.model, parameters, (x,)), y)
            for x, y in landscape.batches
        ]
        return sum(losses) / len(losses)

    return torch.autograd.functional.hessian(loss, landscape.weights_P)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_product_with_the_hessian_is_that_of_the_whole_hessian(batch_norm):
    landscape = tiny(batch_norm=batch_norm)
    directions = torch.randn(4, len(landscape.weights_P), generator=torch.Generator().manual_seed(1)).double()
    hessian = hessian_of(landscape)
    for direction in directions:
        product = landscape.curvature(landscape.weights_P, direction)
        torch.testing.assert_close(product, hessian @ direction, rtol=1e-9, atol=1e-9)


class Attention(nn.Module):
    """Torch's attention, whose fused kernel can be differentiated only once."""

    def __init__(self):
        super().__init__()
        self.inputs, self.output = nn.Linear(4, 24), nn.Linear(8, 4)

    def forward(self, x):
        queries, keys, values = (part.unflatten(-1, (2, 4)).mT for part in self.inputs(x).chunk(3, -1))
        return self.output(nn.functional.scaled_dot_product_attention(queries, keys, values).mT.flatten(-2)).mean(1)


def test_the_product_with_the_hessian_is_known_of_a_network_with_attention():
    """Against the difference of the gradient on both sides of the weights, to which attention is nothing special."""
    draws = torch.Generator().manual_seed(0)
    model = Attention().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws, dtype=torch.float64))
    batch = torch.randn(6, 3, 4, generator=draws, dtype=torch.float64), torch.randint(4, (6,), generator=draws)
    landscape = Landscape(model, (batch,), torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
    direction = torch.randn(len(landscape.weights_P), generator=draws, dtype=torch.float64)
    product = landscape.curvature(landscape.weights_P, direction)
    above, below = (landscape.gradient(landscape.weights_P + step * direction)[1] for step in (1e-5, -1e-5))
    assert product.abs().max() > 0.1
    torch.testing.assert_close(product, (above - below) / 2e-5, rtol=1e-5, atol=1e-7)


def test_the_gradient_is_the_slope_of_the_loss_and_the_weights_are_put_back_by_no_one():
    landscape = tiny()
    start, step = landscape.weights_P, 1e-6 * torch.ones_like(landscape.weights_P)
    loss, gradient = landscape.gradient(start)
    assert loss == pytest.approx(landscape.loss(start), rel=1e-14)
    slope = (landscape.loss(start + step) - landscape.loss(start - step)) / 2e-6
    assert slope == pytest.approx(float(gradient.sum()), rel=1e-7)
    assert landscape.loss(start) == pytest.approx(loss, rel=1e-14)


@pytest.mark.parametrize("ghost", [None, 16, 5])
def test_batch_norm_computes_as_in_training_and_learns_nothing(digits, ghost):
    """Against the network in training on the same examples, as one batch whose ghosts are the landscape's slices."""
    batch_norm = DIGITS.batch_norm.model_copy(update={"ghost_batch_size": ghost})
    recipe = DIGITS.model_copy(update={"batch_norm": batch_norm})
    state = HERE.start(recipe, 0, digits)
    kept = {name: value.clone() for name, value in state.model.state_dict().items()}
    landscape = landscape_of(state, digits, 96)
    assert landscape.normalized_over == (ghost or 32)
    found = landscape.loss(landscape.weights_P)
    assert all(torch.equal(value, kept[name]) for name, value in state.model.state_dict().items())
    images = torch.cat([x for x, _ in landscape.batches])
    labels = torch.cat([y for _, y in landscape.batches])
    state.model.train()
    losses = [
        cross_entropy(state.model(x).double(), y, reduction="sum")
        for x, y in ([(images, labels)] if ghost else landscape.batches)
    ]
    assert found == pytest.approx(sum(losses).item() / 96, rel=1e-6)


def test_runs_of_any_batch_size_and_seed_are_looked_at_on_the_same_examples(digits):
    other = DIGITS.model_copy(update={"batch": DIGITS.batch.model_copy(update={"size": 64})})
    pixels = [
        torch.cat([x for x, _ in landscape_of(HERE.start(recipe, seed, digits), digits, 100).batches])
        for recipe, seed in ((DIGITS, 0), (other, 5))
    ]
    assert torch.equal(*pixels)


def test_an_example_alone_in_its_ghost_is_refused():
    ghosts = DIGITS.batch_norm.model_copy(update={"ghost_batch_size": 2})
    with pytest.raises(UsageError, match="the last example would be alone"):
        statistics_slices(DIGITS.model_copy(update={"batch_norm": ghosts}), 1297, 9)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_largest_eigenvalue_is_that_of_the_whole_hessian(batch_norm):
    landscape = tiny(batch_norm=batch_norm)
    largest = float(torch.linalg.eigvalsh(hessian_of(landscape))[-1])
    assert largest_eigenvalue(landscape) == pytest.approx(largest, rel=1e-3)


@dataclass
class Quadratic:
    """f = base + slope.w + sum of h_i (w_i - c_i)^2 / 2, as a landscape."""

    base: float
    slope: torch.Tensor
    h: torch.Tensor
    centre: torch.Tensor
    weights_P: torch.Tensor  # noqa: N815

    def loss(self, weights):
        away = weights - self.centre
        return float(self.base + self.slope @ weights + (self.h * away**2).sum() / 2)

    def gradient(self, weights):
        return self.loss(weights), self.slope + self.h * (weights - self.centre)


def vector(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def test_keskars_measure_of_a_quadratic_at_its_minimum_is_that_of_the_corners_of_the_box():
    """At w = (1, -3), h = (2, 4), f = 1: sides .1 * 2 and .1 * 4, (2 * .04 + 4 * .16)/2 = .36, 100 * .36/2 = 18%."""
    w = vector(1.0, -3.0)
    assert sharpness_percent(Quadratic(1.0, vector(0.0, 0.0), vector(2.0, 4.0), w, w), 0.1) == pytest.approx(18)


def test_keskars_measure_of_a_plane_is_the_sum_of_its_slopes_times_the_sides():
    """The plane f = 3 + w_1 - 2 w_2 at (0, 1) is 1: .01 * (1 * 1 + 2 * 2) = .05, 100 * .05/2 = 2.5%. A constant: 0."""
    zero, w = vector(0.0, 0.0), vector(0.0, 1.0)
    assert sharpness_percent(Quadratic(3.0, vector(1.0, -2.0), zero, zero, w), 0.01) == pytest.approx(2.5)
    assert sharpness_percent(Quadratic(3.0, zero, zero, zero, w), 0.01) == 0


def test_keskars_measure_at_a_maximum_is_0_as_the_box_holds_the_weights_themselves():
    w = vector(1.0, 2.0)
    assert sharpness_percent(Quadratic(1.0, vector(0.0, 0.0), vector(-2.0, -1.0), w, w), 0.1) == pytest.approx(
        0, abs=1e-9
    )


def test_of_a_network_the_maximum_is_no_lower_than_the_best_of_many_random_corners():
    landscape, draws = tiny(), torch.Generator().manual_seed(0)
    start = landscape.weights_P
    half = 1e-2 * (start.abs() + 1)
    signs = 2.0 * torch.randint(2, (500, len(start)), generator=draws) - 1
    best = max(landscape.loss(start + sign * half) for sign in signs)
    center = landscape.loss(start)
    assert sharpness_percent(landscape, 1e-2) > 100 * (best - center) / (1 + center) > 0


def test_one_function_of_relu_units_is_as_sharp_as_one_likes():
    """Dinh et al. 2017: weights times 10 before the units, divided by 10 behind them."""
    plain, scaled = tiny(), tiny(scale=10.0)
    assert scaled.loss(scaled.weights_P) == pytest.approx(plain.loss(plain.weights_P), rel=1e-12)
    assert largest_eigenvalue(scaled) > 10 * largest_eigenvalue(plain)
    assert sharpness_percent(scaled) != pytest.approx(sharpness_percent(plain), rel=0.1)


def test_scaling_the_weights_before_a_batch_norm_divides_their_curvature_by_the_square():
    plain, scaled = tiny(batch_norm=True), tiny(batch_norm=True, scale=10.0)
    assert scaled.loss(scaled.weights_P) == pytest.approx(plain.loss(plain.weights_P), rel=1e-9)
    weights = slice(0, 15)  # of the first layer
    before, after = (hessian_of(one)[weights, weights] for one in (plain, scaled))
    torch.testing.assert_close(after, before / 100, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "optimizer",
    [
        Sgd(name="sgd", lr=1.0),
        Sgd(name="sgd", lr=1.0, momentum=0.9),
        Sgd(name="sgd", lr=1.0, momentum=0.9, nesterov=True),
        Sgd(name="sgd", lr=1.0, momentum=0.5, nesterov=True),
    ],
    ids=["plain", "heavy ball", "nesterov", "nesterov, 0.5"],
)
def test_at_the_largest_stable_rate_torchs_own_optimizer_turns_from_falling_to_growing(optimizer):
    """On w^2 * 3/2, curvature 3."""
    limit = largest_stable_lr(optimizer, 3.0)
    ends = []
    for lr in (0.98 * limit, 1.02 * limit):
        w = torch.ones(1, dtype=torch.float64, requires_grad=True)
        descent = torch.optim.SGD([w], lr=lr, momentum=optimizer.momentum, nesterov=optimizer.nesterov)
        for _ in range(1000):
            descent.zero_grad()
            (1.5 * w**2).sum().backward()
            descent.step()
        ends.append(abs(w.item()))
    assert ends[0] < 1e-3
    assert ends[1] > 1e3


def test_no_rate_is_called_stable_for_adam_or_without_upward_curvature():
    assert largest_stable_lr(Adam(name="adam", lr=0.1), 3.0) is None
    assert largest_stable_lr(Sgd(name="sgd", lr=0.1), -1.0) is None
