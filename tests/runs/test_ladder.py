"""A ladder: what it trains and what it does not train again, in which order, and how it goes on after a stop."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from lbadvisor.errors import RefusedError, UsageError
from lbadvisor.planning.arms import parse_arms
from lbadvisor.planning.planned_arms import LadderRequest, planned
from lbadvisor.planning.request import Request
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.schedule import scaled
from lbadvisor.records.run import RunStatus
from lbadvisor.runs.ladder import RunBegins, RunEnds, train_ladder
from lbadvisor.runs.ladder_runs import planned_runs
from lbadvisor.runs.runner import Progress, RunRequest, train_run
from lbadvisor.runs.workspace import Workspace
from lbadvisor.store import Store
from lbadvisor.training.machine import Machine

CPU = torch.device("cpu")
DIGITS = scaled(load_recipe(Path(__file__).parents[2] / "recipes" / "digits.toml", ()), 0.1)


class Asked(NamedTuple):
    """A workspace, and what is asked for in it."""

    workspace: Workspace
    request: LadderRequest

    @property
    def database(self):
        return self.workspace.store.address


def ladder(folder, arms="sb,lb,ra", seeds=2, baseline=DIGITS, target=256, name="tiny", micro=None):
    asked = Request(target, ())
    found = tuple(planned(arm, baseline, asked, number) for arm, number in parse_arms(arms, seeds))
    workspace = Workspace(Store.at(folder / "runs.db"), Machine(CPU, folder, micro))
    return Asked(workspace, LadderRequest(name, baseline, target, found))


def ends(events):
    return [event for event in events if isinstance(event, RunEnds)]


def titles(found):
    return [(end.planned.arm.arm.name, end.planned.seed) for end in found]


def stored(request):
    """Name, seed, status and every measurement but for its time, of the ladder's runs by arm and seed."""
    with Store.open(request.database, create=False) as store:
        arms = store.find_ladder(request.request.name).arms
        runs = [(arm, store.run(str(number))) for arm, number in arms]
        return {
            (arm, run.seed): (run.name, run.status, [replace(m, seconds=0.0) for m in store.measurements(run.number)])
            for arm, run in runs
        }


def test_all_arms_are_trained_with_one_seed_before_the_next_one_begins(tmp_path):
    request = ladder(tmp_path, "sb,lb,ra:1")
    found = ends(train_ladder(*request))
    assert titles(found) == [("sb", 0), ("lb", 0), ("ra", 0), ("sb", 1), ("lb", 1)]
    assert not any(end.was_there for end in found)
    assert {end.run.status for end in found} == {RunStatus.COMPLETE}
    # By hand: 41 updates of 32, and 41 * 32 / 256 = 5.07 where the epochs stay.
    assert [end.run.updates for end in found] == [41, 5, 41, 41, 5]
    assert [end.run.name for end in found[:3]] == ["tiny-sb-s0", "tiny-lb-s0", "tiny-ra-s0"]
    with Store.open(request.database, create=False) as store:
        kept = store.find_ladder("tiny")
        assert kept.arms == (("sb", 1), ("lb", 2), ("ra", 3), ("sb", 4), ("lb", 5))
        assert kept.target_batch_size == 256
        assert store.run("tiny-sb-s0").recipe == kept.baseline
        assert store.run("tiny-sb-s0").plan_number is None
        assert store.run("tiny-ra-s0").plan_number is not None


def test_a_ladder_that_is_done_trains_nothing_and_needs_no_data(tmp_path):
    request = ladder(tmp_path)
    list(train_ladder(*request))
    before = stored(request)
    nowhere = Machine(CPU, tmp_path / "nowhere")
    again = list(train_ladder(replace(request.workspace, machine=nowhere), request.request))
    assert titles(again) == [("sb", 0), ("lb", 0), ("ra", 0), ("sb", 1), ("lb", 1), ("ra", 1)]
    assert all(end.was_there for end in again)
    assert stored(request) == before


def test_more_seeds_and_arms_are_trained_on_top_of_what_is_there(tmp_path):
    list(train_ladder(*ladder(tmp_path, "sb,lb", 1)))
    found = ends(train_ladder(*ladder(tmp_path, "sb,lb,gbn", 2)))
    assert [title for title, end in zip(titles(found), found, strict=True) if end.was_there] == [("sb", 0), ("lb", 0)]
    assert titles(found) == [("sb", 0), ("lb", 0), ("gbn", 0), ("sb", 1), ("lb", 1), ("gbn", 1)]


def test_a_complete_run_of_the_very_same_training_is_taken_whatever_its_name(tmp_path):
    request = ladder(tmp_path, "sb,lb", 1)
    lb = request.request.arms[1]
    list(train_run(request.workspace, RunRequest(lb.recipe, lb.plan, "mine", 0)))
    found = ends(train_ladder(*request))
    assert [(end.run.name, end.was_there) for end in found] == [("tiny-sb-s0", False), ("mine", True)]
    other_seed = ends(train_ladder(*ladder(tmp_path, "lb", 2, name="other")))
    assert [(end.run.name, end.was_there) for end in other_seed] == [("mine", True), ("other-lb-s1", False)]


def test_a_run_that_was_begun_elsewhere_is_gone_on_with(tmp_path):
    request = ladder(tmp_path, "sb", 1)
    own = train_run(request.workspace, RunRequest(request.request.arms[0].recipe, None, "mine", 0))
    while not (isinstance(event := next(own), Progress) and event.update == 10):
        pass
    own.close()
    events = list(train_ladder(*request))
    begun = next(event for event in events if isinstance(event, RunBegins))
    assert (begun.planned.name, begun.started.update) == ("mine", 10)
    assert len([event for event in events if isinstance(event, Progress)]) == 31


def test_a_ladder_that_is_closed_anywhere_ends_as_one_that_was_not(tmp_path):
    """Closed five times, in SB, twice in LB, in RA, in the second SB: every measurement the same, no run twice."""
    (tmp_path / "straight").mkdir()
    straight, broken = ladder(tmp_path / "straight"), ladder(tmp_path)
    list(train_ladder(*straight))
    for stop in (3, 40, 2, 5, 60):
        events = train_ladder(*broken)
        made = 0
        for event in events:
            made += isinstance(event, Progress)
            if made == stop:
                events.close()
                break
    assert {end.was_there for end in ends(train_ladder(*broken))} == {True, False}
    assert stored(broken) == stored(straight)
    with Store.open(broken.database, create=False) as store:
        assert len(store.runs()) == 6


def test_an_arm_that_diverges_is_a_result_and_the_ladder_goes_on(tmp_path):
    """A learning rate of 1e30 leaves no finite loss of any arm's second update."""
    wild = DIGITS.model_copy(update={"optimizer": DIGITS.optimizer.model_copy(update={"lr": 1e30})})
    request = ladder(tmp_path, "sb,lb", 2, baseline=wild)
    found = ends(train_ladder(*request))
    assert titles(found) == [("sb", 0), ("lb", 0), ("sb", 1), ("lb", 1)]
    assert {end.run.status for end in found} == {RunStatus.DIVERGED}
    again = list(train_ladder(*request))
    assert all(isinstance(end, RunEnds) and end.was_there for end in again)


def test_another_training_under_the_ladders_name_is_refused(tmp_path):
    list(train_ladder(*ladder(tmp_path, "sb,lb", 1)))
    longer = ladder(tmp_path, "sb,lb", 1, baseline=scaled(DIGITS, 2))
    for request, said in ((longer, "schedule.updates: 41 there, 81 here"), (ladder(tmp_path, "sb", 1, target=128),
                          "target batch size: 256 there, 128 here")):  # fmt: skip
        with pytest.raises(RefusedError, match=said):
            next(train_ladder(*request))
    list(train_ladder(longer.workspace, replace(longer.request, name="longer")))


def test_an_arm_planned_by_another_rule_is_refused_in_the_same_ladder(tmp_path):
    request = ladder(tmp_path, "gbn", 1)
    list(train_ladder(*request))
    other = planned(parse_arms("gbn", 1)[0][0], DIGITS, Request(256, (), ghost_batch_size=16), 1)
    with pytest.raises(RefusedError, match=r"batch_norm\.ghost_batch_size: 32 there, 16 here"):
        planned_runs(request.workspace.store, replace(request.request, arms=(other,)))


def test_a_run_of_another_training_under_the_name_of_the_ladders_is_refused(tmp_path):
    request = ladder(tmp_path, "sb,lb", 1)
    list(train_run(request.workspace, RunRequest(request.request.arms[1].recipe, None, "tiny-sb-s0", 0)))
    with pytest.raises(RefusedError, match="the run `tiny-sb-s0` belongs to another training"):
        next(train_ladder(*request))
    with Store.open(request.database, create=False) as store:
        assert store.find_ladder("tiny") is None


def test_planning_and_refusing_create_nothing(tmp_path):
    asked = ladder(tmp_path)
    runs = planned_runs(asked.workspace.store, asked.request)
    assert [(run.name, run.run) for run in runs[:2]] == [("tiny-sb-s0", None), ("tiny-lb-s0", None)]
    with pytest.raises(UsageError, match="plain batch norm"):
        next(train_ladder(*ladder(tmp_path, micro=64)))
    assert list(tmp_path.iterdir()) == []


def test_micro_batches_are_for_the_arms_whose_batch_is_larger(tmp_path):
    found = ends(train_ladder(*ladder(tmp_path, "sb,gbn", 1, micro=64)))
    assert [end.run.status for end in found] == [RunStatus.COMPLETE] * 2
