"""Timed updates: which are timed, and what a median of them is worth."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lbadvisor.diagnostics.advance import Advance
from lbadvisor.diagnostics.update_timing import TIMED, UNTIMED, median_of, time_updates, timed_recipes
from lbadvisor.planning.plan import advise
from lbadvisor.planning.request import Request
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.parts import PARTS
from lbadvisor.training.machine import Machine

DIGITS = load_recipe(Path(__file__).parents[2] / "recipes" / "digits.toml")


def ended(generator):
    events = []
    while True:
        try:
            events.append(next(generator))
        except StopIteration as end:
            return events, end.value


def test_the_updates_of_both_trainings_and_one_between_are_timed():
    """By hand at 32 -> 1024: the geometric mean is 181; 25 updates of each."""
    plan = advise(DIGITS, Request(1024, ("lr",)))
    assert plan.adapted.schedule.updates < UNTIMED + TIMED
    recipes = timed_recipes(plan)
    assert [recipe.batch.size for recipe in recipes] == [32, 181, 1024]
    assert recipes[1].model_copy(update={"batch": plan.adapted.batch}) == plan.adapted
    events, timing = ended(time_updates(Machine(torch.device("cpu"), Path()), plan))
    progress = [event for event in events if isinstance(event, Advance)]
    assert len(progress) == 3 * (UNTIMED + TIMED)
    assert progress[-1].done == progress[-1].total == 25 * (32 + 181 + 1024)
    assert [one.batch_size for one in timing.time.timed] == [32, 181, 1024]
    assert timing.time.at(1024).middle > timing.time.at(32).middle
    assert timing.parameters == 13_514


def test_neighbouring_sizes_have_none_between():
    assert [recipe.batch.size for recipe in timed_recipes(advise(DIGITS, Request(33, PARTS)))] == [32, 33]


def test_the_interval_holds_the_true_median_in_19_of_20_cases():
    """For 20 draws from any law the sixth and the fifteenth hold it in 95.9% of the cases."""
    assert median_of([float(k) for k in range(20, 0, -1)]).ends == (6, 15)
    draws = np.random.default_rng(0).exponential(1.0, (400, TIMED))
    spans = [median_of(list(map(float, row))) for row in draws]
    held = sum(span.low <= np.log(2) <= span.high for span in spans)
    assert held / 400 == pytest.approx(0.959, abs=0.03)
