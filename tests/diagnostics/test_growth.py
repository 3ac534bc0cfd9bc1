"""Which law a distance grows by: known laws with correlated noise, and the oracles of log-time diffusion."""

import math

import numpy as np
import pytest

from lbadvisor.diagnostics.diffusion.growth import Law, evenly_in_ln_t, growth_of

CADENCES = ((50, 5000), (100, 30_000), (1, 2500))
"""Updates between measurements, and how many there are: from update 50 on they cover 1.7 to 2.5 decades."""
LAWS = {
    Law.LOGARITHM: (lambda t: -4 + 2 * np.log(t), lambda t: 1 + 0.8 * np.log(t)),
    Law.SQUARE_ROOT: (lambda t: 0.12 * np.sqrt(t), lambda t: 2 + 0.1 * np.sqrt(t)),
    Law.POWER: (lambda t: 1.2 * t**0.25, lambda t: 0.03 * t**0.7),
}


def measured(law, number):
    """Run `number` of a law, with noise that is correlated over a factor of e in the updates.

    Its deviation is 1.5% of the distance's growth: that of the digits' runs is 1.2 to 1.9%.
    """
    rng = np.random.default_rng(number)
    every, until = CADENCES[number % len(CADENCES)]
    t = np.arange(every, until + 1, every, dtype=float)
    t = t[t >= 50]
    d = law(t)
    noise, kept = np.empty_like(t), np.exp(-np.diff(np.log(t)))
    noise[0] = rng.normal()
    for place, share in enumerate(kept, start=1):
        noise[place] = share * noise[place - 1] + math.sqrt(1 - share**2) * rng.normal()
    return t, d + 0.015 * (d[-1] - d[0]) * noise


@pytest.mark.parametrize("law", Law)
def test_the_law_is_chosen_rightly_on_19_of_20_runs(law):
    found = [growth_of(*measured(LAWS[law][number % 2], number)).law for number in range(20)]
    assert found.count(law) >= 19, found
    assert set(found) <= {law, None}, found


@pytest.mark.parametrize("law", Law)
def test_over_a_decade_no_law_is_chosen(law):
    for number in range(20):
        t, d = measured(LAWS[law][number % 2], number)
        growth = growth_of(t[t <= 1000], d[t <= 1000])
        assert growth.law is None
        assert (
            growth.undetermined
            == f"updates {growth.updates[0]} to 1,000 cover {growth.decades:.1f} decades, and 1.5 are needed"
        )


def test_a_logarithm_has_its_slope_back():
    """The distance is -10 + 2 ln t, from update 200 on: the b of the paper's Figure 2."""
    t = np.arange(200, 62_501, 50, dtype=float)
    growth = growth_of(t, -10 + 2 * np.log(t) + np.random.default_rng(3).normal(0, 0.1, len(t)))
    fit = growth.fit(Law.LOGARITHM)
    assert growth.law is Law.LOGARITHM
    assert (fit.slope, fit.offset) == (pytest.approx(2, abs=0.05), pytest.approx(-10, abs=0.4))
    # By hand: -10 + 2 ln 1000 = 3.8155.
    assert fit.at(1000) == pytest.approx(3.8155, abs=0.1)
    assert growth.decades == pytest.approx(math.log10(62_500 / 200), abs=1e-3)


@pytest.fixture(scope="module")
def logistic():
    """Gradient descent on log(1 + exp(-w)) from 0, rate 0.1: its weight after each of 100,000 updates."""
    w, weights = 0.0, []
    for _ in range(100_000):
        w += 0.1 / (1 + math.exp(w))
        weights.append(w)
    return np.arange(1, 100_001, dtype=float), np.array(weights)


def test_gradient_descent_on_separable_data_diffuses_as_the_logarithm(logistic):
    """w_t + exp(w_t) = rate t + 1 up to the rate times a logarithm (Soudry et al. 2017, arXiv:1710.10345)."""
    t, w = logistic
    assert w[-1] + math.exp(w[-1]) == pytest.approx(10_001.43, abs=0.01)
    late = (w[-1] - w[9_999]) / math.log(10)
    assert late == pytest.approx(1.002, abs=5e-4)
    growth = growth_of(t[4:], w[4:])
    assert growth.law is Law.LOGARITHM
    last = growth_of(t[t >= 10_000], w[t >= 10_000])
    assert last.law is None
    assert last.fit(Law.LOGARITHM).slope == pytest.approx(1.002, abs=1e-3)
    assert growth_of(t[4:45], w[4:45]).law is None


def test_on_a_flat_landscape_momentum_diffuses_as_the_square_root():
    """E|dw|^2 = eta^2/M d sum_k ((1 - mu^k) / (1 - mu))^2, by 40 walks in 500 dimensions."""
    eta, mu, batch, dimensions, updates, walks = 0.1, 0.9, 32, 500, 2000, 40
    rng = np.random.default_rng(0)
    velocity, weights = np.zeros((2, walks, dimensions))
    squares = np.empty((updates, walks))
    for update in range(updates):
        velocity = mu * velocity + rng.standard_normal((walks, dimensions)) / math.sqrt(batch)
        weights -= eta * velocity
        squares[update] = np.square(weights).sum(axis=1)
    k = np.arange(1, updates + 1, dtype=float)
    expected = eta**2 / batch * dimensions * np.square((1 - mu**k) / (1 - mu)).cumsum()
    assert squares[-1].mean() == pytest.approx(expected[-1], rel=0.03)
    # Momentum has its full speed from update 50 on.
    assert growth_of(k[49:], np.sqrt(squares.mean(axis=1))[49:]).law is Law.SQUARE_ROOT
    laws = [growth_of(k[49:], np.sqrt(walk[49:])).law for walk in squares.T]
    assert laws.count(Law.SQUARE_ROOT) >= 0.9 * walks, laws
    assert Law.LOGARITHM not in laws
    assert all(growth_of(k[49:450], np.sqrt(walk[49:450])).law is None for walk in squares.T)


def test_what_does_not_grow_has_no_law():
    t = np.arange(50, 5000, 10, dtype=float)
    for d in (12 - 0.4 * np.log(t), np.full_like(t, 3.0)):
        assert growth_of(t, d).law is None
    assert growth_of(t, 12 - 0.4 * np.log(t)).undetermined == "the distance does not grow"


def test_few_measurements_are_no_law():
    t = np.geomspace(50, 50_000, 11)
    growth = growth_of(t, 2 * np.log(t))
    assert growth.fit(Law.LOGARITHM).slope == pytest.approx(2)
    assert growth_of(t[:5], 2 * np.log(t[:5])).fits == ()
    assert growth.undetermined == "11 measurements apart in ln t are too few, 12 are needed"
    assert "fewer than two measurements" in str(growth_of(np.array([]), np.array([])).undetermined)
    assert "fewer than two measurements" in str(growth_of(np.array([94.0]), np.array([2.0])).undetermined)


def test_how_often_a_run_is_measured_hardly_counts():
    """A point for each tenth of a decade, the ends among them, whether there are 500 measurements or 50,000."""
    points = []
    for every in (1, 100):
        t = np.arange(100, 50_001, every, dtype=float)
        growth = growth_of(t, np.sqrt(t))
        points.append(len(growth.updates))
        assert (growth.updates[0], growth.updates[-1]) == (100, 50_000)
    assert points[0] == 28  # log10(500) = 2.7 decades
    assert points[1] >= 25
    t, d = evenly_in_ln_t(np.array([7.0]), np.array([0.5]))
    assert (t.tolist(), d.tolist()) == ([7.0], [0.5])
