"""The share of updates above the clipping threshold, worked by hand."""

import math

import pytest

from lbadvisor.recipe.recipe import Recipe
from lbadvisor.records.run import Measurement
from lbadvisor.runs.clipped_share import ClippedShare, clipped_share


def recipe(clipping: dict[str, float] | None) -> Recipe:
    return Recipe.model_validate(
        {
            "schema": 1,
            "name": "small",
            "data": {"name": "digits", "train_examples": 1000},
            "model": {"name": "digits_mlp"},
            "batch": {"size": 50},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "schedule": {"updates": 100},
            "clipping": clipping,
        }
    )


def measured(*rows: tuple[int, float, float]) -> list[Measurement]:
    """From (update, gradient norm, clipped share)."""
    return [Measurement(update, 0.0, 0, 1.0, 0.1, norm, share, 0.0, None, None, 0.0) for update, norm, share in rows]


WHOLE = {"max_norm": 2.0}
WARM_UP = {"max_norm": 2.0, "updates": 20}


def test_a_run_that_clips_throughout_is_judged_without_its_first_tenth():
    """The updates 11 to 20 are all clipped, of 21 to 100 one quarter: (10 + 20) / 90."""
    found = clipped_share(recipe(WHOLE), 100, measured((5, 9, 1.0), (10, 9, 1.0), (20, 9, 1.0), (100, 9, 0.25)))
    assert found == ClippedShare(pytest.approx(1 / 3), 10, 2.0, clipped=True)


def test_an_interval_that_begins_in_the_first_tenth_does_not_count():
    found = clipped_share(recipe(WHOLE), 100, measured((9, 9, 1.0), (19, 9, 1.0), (100, 9, 0.6)))
    assert found == ClippedShare(pytest.approx(0.6), 19, 2.0, clipped=True)


def test_after_a_warm_up_the_norms_that_it_would_have_clipped_are_counted():
    """Of the updates 21, 40, 60 and 100 three are above 2; the threshold itself is let through."""
    rows = measured((10, 9, 1.0), (20, 9, 1.0), (21, 3, 0.0), (40, 2, 0.0), (60, 2.5, 0.0), (100, math.inf, 0.0))
    assert clipped_share(recipe(WARM_UP), 100, rows) == ClippedShare(0.75, 20, 2.0, clipped=False)


@pytest.mark.parametrize(
    ("clipping", "rows"),
    [
        (None, [(50, 9, 0.0), (100, 9, 0.0)]),
        (WHOLE, []),
        (WHOLE, [(5, 9, 1.0), (100, 9, 1.0)]),
        (WARM_UP, [(10, 9, 1.0), (20, 9, 1.0)]),
    ],
    ids=["no clipping", "no measurement", "no interval after the first tenth", "none after the warm-up"],
)
def test_where_nothing_tells_nothing_is_said(clipping, rows):
    assert clipped_share(recipe(clipping), 100, measured(*rows)) is None
