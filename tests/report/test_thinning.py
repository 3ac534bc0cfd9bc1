"""Claims about thinning: an extreme of any stretch is never lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbadvisor.report.thinning import LEAST, Extreme, kept


def bounds(values: list[float]) -> list[Extreme]:
    return [Extreme(np.array(values), False), Extreme(np.array(values), True)]


@st.composite
def curves(draw: st.DrawFn) -> tuple[list[float], list[float], int]:
    """Ascending updates, a value at each, and how many points may stay."""
    updates = draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=300, unique=True).map(sorted))
    values = draw(st.lists(st.integers(-3, 3).map(float), min_size=len(updates), max_size=len(updates)))
    return [float(u) for u in updates], values, draw(st.integers(LEAST, 80))


@settings(max_examples=200, deadline=None)
@given(curves())
def test_each_stretch_keeps_its_extremes_on_both_axes(curve):
    """Against a search of every stretch, written anew."""
    updates, values, at_most = curve
    places = kept(np.array(updates), bounds(values), at_most).tolist()
    assert places == sorted(set(places))
    assert len(places) <= at_most
    assert places[0] == 0
    assert places[-1] == len(updates) - 1
    if len(updates) <= at_most:
        assert len(places) == len(updates)
        return
    stretches = (at_most - 2) // 4
    for position in (np.array(updates), np.log(updates)):
        edges = (position - position[0]) / (position[-1] - position[0]) * stretches
        for stretch in range(stretches):
            inside = [i for i, edge in enumerate(edges) if min(int(edge), stretches - 1) == stretch]
            if inside:
                remaining = [values[i] for i in inside if i in places]
                assert min(remaining) == min(values[i] for i in inside)
                assert max(remaining) == max(values[i] for i in inside)


def test_one_spike_among_ten_thousand_points_stays_where_it_is():
    values = np.full(10_000, 0.5)
    values[7_654] = 9.0
    values[321] = -9.0
    places = kept(np.arange(1.0, 10_001.0), [Extreme(values, False), Extreme(values, True)], 100)
    assert {321, 7_654} <= set(places.tolist())
    assert len(places) <= 100


def test_a_logarithmic_axis_keeps_its_first_decades():
    """100 linear stretches of 10 000 updates would leave two of the first 100; half of the decades lie there."""
    updates = np.arange(1.0, 10_001.0)
    places = kept(updates, [Extreme(np.log(updates), False), Extreme(np.log(updates), True)], 402)
    assert np.count_nonzero(updates[places] <= 100) >= 50


def test_the_least_number_of_points_holds_for_a_band():
    """The mean's and the band's extremes, on both axes, and the ends."""
    values = np.sin(np.arange(1000.0))
    extremes = [Extreme(values, False), Extreme(values, True), Extreme(values - 1, False), Extreme(values + 1, True)]
    assert len(kept(np.arange(1.0, 1001.0), extremes, LEAST)) <= LEAST


@pytest.mark.parametrize("length", [0, 1, 2])
def test_a_curve_of_hardly_any_points_stays_whole(length):
    assert kept(np.arange(1.0, length + 1), bounds([1.0] * length), LEAST).tolist() == list(range(length))
