"""`stretch` on the digits: which runs it trains, how it resumes, and what it reuses."""

from pathlib import Path

import pytest
import torch

from lbadvisor.comparison.stretch_search import Ending, Verdict, parse_margin
from lbadvisor.diagnostics.noise.noise_estimate import stored_noise_scale
from lbadvisor.planning.arms import parse_arms
from lbadvisor.planning.plan import advise
from lbadvisor.planning.planned_arms import LadderRequest, planned
from lbadvisor.planning.request import Request
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.identity import digest_of
from lbadvisor.recipe.parts import PARTS
from lbadvisor.recipe.schedule import scaled
from lbadvisor.runs.ladder import RunEnds, train_ladder
from lbadvisor.runs.runner import Progress
from lbadvisor.runs.stretching import answer_of, search_of, stretch_request, train_stretch
from lbadvisor.runs.workspace import Workspace
from lbadvisor.store import Store
from lbadvisor.training.machine import Machine

DIGITS = scaled(load_recipe(Path(__file__).parents[2] / "recipes" / "digits.toml", ()), 0.1)
ASKED = Request(256, ())
REQUEST = stretch_request("tiny", DIGITS, ASKED, parse_margin("20%"), 3)


@pytest.fixture
def workspace(tmp_path):
    with Store.at(tmp_path / "runs.db") as store:
        yield Workspace(store, Machine(torch.device("cpu"), tmp_path))


def members(store):
    """(arm, seed) of the ladder's runs, in the order in which they were trained."""
    return [(arm, store.run(str(number)).seed) for arm, number in store.find_ladder("tiny").arms]


def accuracies(store):
    """What the ladder's runs ended with, by arm and seed."""
    return {
        (arm, store.run(str(number)).seed): store.measurements(number)[-1].evaluation_accuracy_percent
        for arm, number in store.find_ladder("tiny").arms
    }


def updates_in(events):
    return sum(isinstance(event, Progress) for event in events)


def test_the_arms_are_the_shares_of_the_regime():
    """By hand: 41 updates of the baseline; an eighth, a quarter and a half of them."""
    assert REQUEST.question.shares == (1 / 8, 1 / 4, 1 / 2, 1)
    arms = [(arm.arm.name, arm.updates, arm.seeds) for arm in REQUEST.ladder.arms]
    assert arms == [
        ("sb", 41, 3), ("lb", 5, 3), ("gbn", 5, 3), ("ra-0.25", 10, 3), ("ra-half", 20, 3), ("ra", 41, 3),
    ]  # fmt: skip


@pytest.mark.parametrize("target", [96, 250, 256, 320])
def test_gbn_trains_what_the_share_that_keeps_the_epochs_would(target):
    gbn = stretch_request("any", DIGITS, Request(target, ()), parse_margin("20%"), 2).ladder.arms[2]
    share = advise(DIGITS, Request(target, PARTS, stretch_share=1 / (target / 32)))
    assert digest_of(gbn.recipe) == digest_of(share.adapted)


def test_it_trains_longer_and_longer_arms_until_one_closes_the_gap(workspace):
    """41 updates of the baseline reach about 95%, 5 of the naive batch 25%, and longer ones close most of that."""
    list(train_stretch(workspace, REQUEST))
    found = search_of(workspace.store, REQUEST)
    assert found.ending is Ending.FOUND
    tried = 1 + found.judged.index(found.smallest)
    arms = ["gbn", "ra-0.25", "ra-half", "ra"][:tried]
    assert members(workspace.store) == [
        *((arm, seed) for seed in range(3) for arm in ("sb", "lb")), *((arm, seed) for arm in arms for seed in range(3))
    ]  # fmt: skip
    assert {one.verdict for one in found.judged[tried:]} <= {Verdict.UNTRAINED}
    answer = answer_of(workspace.store, REQUEST)
    assert answer.found.cost.arm == arms[-1]
    assert answer.found.gap.value == pytest.approx(
        sum(accuracies(workspace.store)["sb", s] - accuracies(workspace.store)[arms[-1], s] for s in range(3)) / 3
    )
    assert answer.saved_seconds == pytest.approx(answer.full_seconds - answer.found.cost.mean_seconds)


def test_a_search_that_is_done_trains_nothing_and_tells_of_each_run_once(workspace):
    list(train_stretch(workspace, REQUEST))
    before = members(workspace.store)
    again = list(train_stretch(workspace, REQUEST))
    assert {type(event) for event in again} == {RunEnds}
    assert sorted((end.planned.arm.arm.name, end.planned.seed) for end in again) == sorted(before)
    assert members(workspace.store) == before


def test_a_search_that_is_closed_anywhere_ends_as_one_that_was_not(workspace, tmp_path):
    (tmp_path / "straight").mkdir()
    with Store.at(tmp_path / "straight" / "runs.db") as store:
        list(train_stretch(Workspace(store, workspace.machine), REQUEST))
        straight, judged = accuracies(store), search_of(store, REQUEST)
    for stop in (3, 45, 50, 60, 4, 7):
        made = 0
        events = train_stretch(workspace, REQUEST)
        for event in events:
            made += isinstance(event, Progress)
            if made == stop:
                events.close()
                break
    list(train_stretch(workspace, REQUEST))
    assert accuracies(workspace.store) == straight
    assert search_of(workspace.store, REQUEST) == judged


def test_the_runs_of_a_ladder_are_reused_and_join(workspace):
    """SB, LB, +GBN and +RA are there with three seeds, of any name: only what lies between is trained."""
    arms = tuple(planned(arm, DIGITS, ASKED, seeds) for arm, seeds in parse_arms("sb,lb,gbn,ra", 3))
    list(train_ladder(workspace, LadderRequest("paper", DIGITS, 256, arms)))
    events = list(train_stretch(workspace, REQUEST))
    ends = [event for event in events if isinstance(event, RunEnds)]
    assert sum(end.was_there for end in ends) == 12
    assert {end.planned.arm.arm.name for end in ends if not end.was_there} <= {"ra-0.25", "ra-half"}
    kept = members(workspace.store)
    assert {(arm, seed) for arm in ("sb", "lb", "gbn", "ra") for seed in range(3)} <= set(kept)
    answer = answer_of(workspace.store, REQUEST)
    assert answer.full_is_measured
    assert answer.rows[-1].verdict is not Verdict.UNTRAINED


def test_the_baseline_reads_its_noise_and_the_prediction_stands_in_the_answer(workspace):
    """Its weights are those of a run that does not; of runs without readings nothing is predicted."""
    list(train_stretch(workspace, REQUEST))
    answer = answer_of(workspace.store, REQUEST)
    read = [workspace.store.run(f"tiny-sb-s{seed}") for seed in range(3)]
    scale = stored_noise_scale(workspace.store, read)
    assert answer.predicted.noise_scale == scale
    assert answer.predicted.stretch == pytest.approx((scale.examples + 256) / (scale.examples + 32))
    with Store.at(workspace.machine.data_dir / "other.db") as store:
        other = Workspace(store, workspace.machine)
        arms = tuple(planned(arm, DIGITS, ASKED, seeds) for arm, seeds in parse_arms("sb,lb", 3))
        list(train_ladder(other, LadderRequest("paper", DIGITS, 256, arms)))
        list(train_stretch(other, REQUEST))
        assert answer_of(store, REQUEST).predicted is None
        assert accuracies(store) == accuracies(workspace.store)


def test_more_seeds_are_trained_on_top_of_what_is_there(workspace):
    """A margin in points that the naive gap is within ends the search with two arms; another asks for more."""
    wide = stretch_request("tiny", DIGITS, ASKED, parse_margin("99"), 3)
    list(train_stretch(workspace, wide))
    assert search_of(workspace.store, wide).ending is Ending.NO_GAP
    assert len(members(workspace.store)) == 6
    assert updates_in(train_stretch(workspace, wide)) == 0
    assert updates_in(train_stretch(workspace, REQUEST)) > 0
