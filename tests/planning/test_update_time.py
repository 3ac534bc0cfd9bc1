"""How the time of an update follows from rates: by hand, and where the line's limits lie."""

import pytest

from lbadvisor.errors import PlanError
from lbadvisor.planning.update_time import Ranged, TimedUpdate, update_time


def exact(seconds):
    return Ranged(seconds, seconds, seconds)


def timed(*pairs):
    return [TimedUpdate(size, exact(seconds)) for size, seconds in pairs]


def test_two_rates_make_the_line_through_both():
    """By hand: 5,000 examples per second at 128 are 25.6 ms, 21,000 at 4,096 are 195.05 ms."""
    time = update_time(timed((4096, 4096 / 21_000), (128, 128 / 5_000)))
    slope = (4096 / 21_000 - 0.0256) / (4096 - 128)
    assert time.line.seconds_per_example == pytest.approx(slope)
    assert time.line.fixed_seconds == pytest.approx(0.0256 - 128 * slope)
    assert time.misfit == pytest.approx(0, abs=1e-12)
    assert time.at(1024).middle == pytest.approx(0.0256 + (1024 - 128) * slope)
    assert time.at(1024).ends == (None, None)
    assert [one.batch_size for one in time.timed] == [128, 4096]


def test_a_line_with_noise_is_fitted_to_relative_errors():
    """The line that made the points is found again, and the misfit is the largest error of a point."""
    true = {size: 0.010 + 2e-5 * size for size in (64, 512, 4096)}
    assert update_time(timed(*true.items())).line.fixed_seconds == pytest.approx(0.010)
    wrong = update_time(timed(*(true | {512: true[512] * 1.1}).items()))
    assert 0.02 < wrong.misfit < 0.1
    # A size that was timed takes as long as it did, and not as long as the line says.
    assert wrong.at(512).middle == true[512] * 1.1


def test_no_time_is_negative():
    """Superlinear times would put the line below 0 at small sizes, falling times at large ones."""
    through_zero = update_time(timed((100, 1.0), (200, 3.0))).line
    assert through_zero.fixed_seconds == 0
    # One minimizes (100 s/1 - 1)^2 + (200 s/3 - 1)^2 by hand: s = (100 + 200/3)/(100^2 + (200/3)^2).
    assert through_zero.seconds_per_example == pytest.approx((100 + 200 / 3) / (100**2 + (200 / 3) ** 2))
    flat = update_time(timed((100, 2.0), (200, 1.0))).line
    assert flat.seconds_per_example == 0
    assert flat.fixed_seconds == pytest.approx((1 / 2 + 1) / (1 / 4 + 1))


def test_the_intervals_of_the_rates_reach_every_size():
    time = update_time([TimedUpdate(100, Ranged(1.0, 0.9, 1.1)), TimedUpdate(300, Ranged(2.0, 1.9, 2.2))])
    between = time.at(200)
    assert (between.middle, between.low, between.high) == pytest.approx((1.5, 1.4, 1.65))
    assert time.at(300) == Ranged(2.0, 1.9, 2.2)


def test_too_few_rates_are_refused():
    with pytest.raises(PlanError, match="one rate does not tell"):
        update_time(timed((128, 1.0)))
    with pytest.raises(PlanError, match="two rates: give one"):
        update_time(timed((128, 1.0), (128, 2.0)))
