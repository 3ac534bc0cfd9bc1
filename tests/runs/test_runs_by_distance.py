"""Runs and ladders by distance: the stored length is true at any time, and a ladder's arm is one training."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lbadvisor.comparison.compare import compare_runs
from lbadvisor.errors import RefusedError, UsageError
from lbadvisor.planning.arms import parse_arms
from lbadvisor.planning.distances import distances_of
from lbadvisor.planning.planned_arms import LadderRequest, planned_arms
from lbadvisor.planning.request import Request
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates, scaled
from lbadvisor.records.run import RunStatus
from lbadvisor.runs import resume_proof
from lbadvisor.runs.ladder import RunBegins, RunEnds, train_ladder
from lbadvisor.runs.ladder_runs import planned_runs
from lbadvisor.runs.resume_proof import prove
from lbadvisor.runs.reuse import name_of_ladder
from lbadvisor.runs.runner import Progress, RunRequest, Started, train_run
from lbadvisor.runs.selection import compare_selection, select
from lbadvisor.runs.workspace import Workspace
from lbadvisor.store import Store
from lbadvisor.training.machine import Machine

CPU = torch.device("cpu")
DIGITS = scaled(load_recipe(Path(__file__).parents[2] / "recipes" / "digits.toml", ()), 0.2)
"""81 updates, with milestones at 41 and 61."""


def recipe(distance=0.5, **tables):
    schedule = {
        "updates": 40,
        "distance_every_updates": 4,
        "milestones": [{"update": 20, "lr_factor": 0.1, "distance": distance}, {"update": 30, "lr_factor": 0.01}],
    }
    return Recipe.model_validate(DIGITS.model_dump() | {"schedule": schedule} | tables)


@pytest.fixture
def workspace(tmp_path):
    return Workspace(Store.at(tmp_path / "runs.db"), Machine(CPU, tmp_path))


def until(events, update):
    for event in events:
        if isinstance(event, Progress) and event.update == update:
            return event
    raise AssertionError(f"the run ended before update {update}")


def measured(workspace, name):
    run = workspace.store.run(name)
    return [replace(m, seconds=0.0) for m in workspace.store.measurements(run.number)]


def test_a_runs_length_is_at_most_the_planned_one_until_its_drop_has_come(workspace):
    """A distance of 0.5 is passed by the first check, after 4 updates, 16 early: 24 of 40 updates are made."""
    store, events = workspace.store, train_run(workspace, RunRequest(recipe(), None, "a", 0))
    assert until(events, 3).updates == 40
    run = store.run("a")
    assert (f"{run.at_most}{run.updates}", run.status) == ("at most 40", RunStatus.RUNNING)
    dropped = until(events, 4)
    assert dropped.updates == 24
    assert dropped.note == (
        "the weight distance brought a milestone of a forward by 16 updates, to 4: the run ends at update 24"
    )
    assert store.run("a").updates == 24
    list(events)
    run = store.run("a")
    assert (run.status, run.update, run.updates, run.at_most) == (RunStatus.COMPLETE, 24, 24, "")
    assert run.ended_because == "all 24 updates made"


def test_a_run_set_back_before_its_drop_is_as_long_as_planned_again_and_ends_the_same(workspace):
    straight, broken = (RunRequest(recipe(), None, name, 0) for name in ("straight", "broken"))
    list(train_run(workspace, straight))
    events = train_run(workspace, broken)
    until(events, 3)
    events.close()
    # The process that passes the drop dies with no more than the checkpoint of update 3.
    events = train_run(workspace, broken)
    until(events, 10)
    folder = workspace.store.checkpoint_folder(workspace.store.run("broken"))
    kept = {path: path.read_bytes() for path in folder.glob("*.ckpt")}
    events.close()
    for path in folder.glob("*.ckpt"):
        path.unlink()
    for path, content in kept.items():
        path.write_bytes(content)
    assert workspace.store.run("broken").updates == 24
    events = train_run(workspace, broken)
    started = next(event for event in events if isinstance(event, Started))
    assert (started.update, started.run.updates, workspace.store.run("broken").updates) == (3, 40, 40)
    list(events)
    assert workspace.store.run("broken").updates == 24
    assert measured(workspace, "broken") == measured(workspace, "straight")


def test_the_notes_of_a_comparison_say_at_most(workspace):
    for name, update in (("a", 3), ("b", 6)):
        events = train_run(workspace, RunRequest(recipe(), None, name, 0))
        until(events, update)
        events.close()
    notes = compare_runs(workspace.store.results_of([1, 2])).notes
    assert notes[0].startswith("a is at update 3 of at most 40 (stopped: stopped on request at update 3)")
    assert any(note.startswith("b is at update 6 of at most 24 (stopped") for note in notes)


def test_a_proof_covers_the_drop_and_ends_where_the_run_does(tmp_path):
    """Killed at 10, past the drop at 4, and resumed from 6, which must know of it."""
    events = prove(Machine(CPU, tmp_path), recipe(), 0, 40, 10)
    while True:
        try:
            next(events)
        except StopIteration as end:
            proof = end.value
            break
    assert (proof.difference, proof.updates, proof.resumed_from) == (None, 24, 6)


def test_a_proof_whose_kill_would_come_after_the_end_is_refused(workspace):
    list(train_run(workspace, RunRequest(recipe(), None, resume_proof.STRAIGHT, 0)))
    with pytest.raises(UsageError, match="--at 30: scheduled by distance, the training ends at update 24; give less"):
        resume_proof._ended(workspace, 40, 30)


def ladder(arms="sb,lb,ra,distance", seeds=2, baseline=DIGITS, name="tiny"):
    planned, _ = planned_arms(parse_arms(arms, seeds), baseline, Request(256, ()))
    return LadderRequest(name, baseline, 256, planned)


def ends(events):
    return [event for event in events if isinstance(event, RunEnds)]


def test_the_arm_follows_the_ladders_first_baseline_run_with_all_of_its_seeds(workspace):
    request, store = ladder(), workspace.store
    assert [run.arm.awaits_distances for run in planned_runs(store, request)] == [False, False, False, True] * 2
    begun = [event for event in train_ladder(workspace, request) if isinstance(event, RunBegins)]
    sb, own = store.run("tiny-sb-s0"), [store.run(f"tiny-distance-s{seed}") for seed in (0, 1)]
    expected = distances_of(sb, store.measurements(sb.number), DIGITS)
    for run in own:
        assert tuple(m.distance for m in run.recipe.schedule.milestones) == expected.at_milestones
        assert [m.update for m in run.recipe.schedule.milestones] == [41, 61]
        assert run.recipe.adapted_from.distances_from == "tiny-sb-s0"
        assert run.plan_number is not None
    assert {event.planned.arm.updates for event in begun if event.planned.arm.arm.name == "distance"} == {81}
    comparison = compare_selection(store, select(store, ["tiny"]))
    assert [(group.label, group.seeds) for group in comparison.groups] == [
        ("SB", (0, 1)), ("LB", (0, 1)), ("+RA", (0, 1)), ("distance", (0, 1)),
    ]  # fmt: skip
    mean = sum(run.updates for run in own) / 2
    assert comparison.gap.closing_group == "+RA"
    fewer = f"{1 - mean / 81:.0%} fewer, mean of 2 runs"
    assert f"distance made {mean:,.0f} of at most 81 updates ({fewer})." in comparison.gap.conclusion


def test_a_second_sitting_resumes_the_arm_and_more_seeds_join_it(workspace):
    request = ladder("sb,distance", 1)
    events = train_ladder(workspace, request)
    for event in events:
        if isinstance(event, Progress) and workspace.store.find_run("tiny-distance-s0") and event.update == 15:
            break
    events.close()
    assert workspace.store.run("tiny-distance-s0").status is RunStatus.STOPPED
    found = ends(train_ladder(workspace, request))
    assert [end.was_there for end in found] == [True, False]
    one = workspace.store.run("tiny-distance-s0")
    found = ends(train_ladder(workspace, ladder("sb,distance", 2)))
    assert [(end.run.name, end.was_there) for end in found] == [
        ("tiny-sb-s0", True), ("tiny-distance-s0", True), ("tiny-sb-s1", False), ("tiny-distance-s1", False),
    ]  # fmt: skip
    assert in_updates(workspace.store.run("tiny-distance-s1").recipe) == one.recipe
    assert name_of_ladder(workspace.store, DIGITS, 256, request.arms, "other").name == "tiny"


def test_the_arm_waits_for_the_run_that_it_follows_and_takes_no_other_arms_run(workspace):
    """Named first, it is trained after SB; and what +RA trained, which its recipe was before, is not reused for it."""
    list(train_ladder(workspace, ladder("ra,lb", 1, name="before")))
    found = ends(train_ladder(workspace, ladder("distance,ra,sb", 1)))
    assert [(end.planned.arm.arm.name, end.was_there) for end in found] == [
        ("ra", True), ("sb", False), ("distance", False),
    ]  # fmt: skip
    by_hand = found[-1].run
    again = ends(train_ladder(workspace, ladder("sb,distance", 1, name="again")))
    assert [(end.run.name, end.was_there) for end in again] == [("tiny-sb-s0", True), (by_hand.name, True)]


def test_an_arm_whose_baseline_diverged_is_refused(workspace):
    wild = DIGITS.model_copy(update={"optimizer": DIGITS.optimizer.model_copy(update={"lr": 1e30})})
    with pytest.raises(RefusedError, match="the arm distance takes its distances from tiny-sb-s0, which diverged"):
        list(train_ladder(workspace, ladder("sb,distance", 1, baseline=wild)))
