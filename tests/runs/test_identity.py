"""One definition of what a training is: a later version, another name and another cadence find the runs of this one."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from lbadvisor.planning import plan as planning
from lbadvisor.planning.arms import parse_arms
from lbadvisor.planning.plan import advise
from lbadvisor.planning.planned_arms import LadderRequest, planned
from lbadvisor.planning.request import Request
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.parts import PARTS
from lbadvisor.recipe.recipe_tables import Checkpoints, Measurements
from lbadvisor.recipe.schedule import scaled
from lbadvisor.records.run import Guarantee, RunStatus
from lbadvisor.runs import ladder, reuse
from lbadvisor.runs.ladder import RunEnds, train_ladder
from lbadvisor.runs.runner import Progress, RunRequest, Started, train_run
from lbadvisor.runs.selection import compare_selection, select
from lbadvisor.runs.workspace import Workspace
from lbadvisor.store import Store, upgrade
from lbadvisor.training import environment, host, state
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints
from lbadvisor.training.checkpoints.content import read_content
from lbadvisor.training.machine import Machine

CPU = torch.device("cpu")
ASSETS = Path(__file__).parents[1] / "store" / "assets"
DIGITS = scaled(load_recipe(Path(__file__).parents[2] / "recipes" / "digits.toml", ()), 0.1)
"""41 updates."""


@pytest.fixture
def next_version(monkeypatch):
    """From its call on the program is a later one."""

    def begin():
        for module in (planning, host, state):
            monkeypatch.setattr(module, "__version__", "99.0.0")

    return begin


def workspace_in(folder, micro=None):
    return Workspace(Store.at(folder / "runs.db"), Machine(CPU, folder, micro))


class Asked(NamedTuple):
    """A workspace, and what is asked for in it."""

    workspace: Workspace
    request: RunRequest


def request(folder, name="a", seed=0, recipe=None, micro=None):
    plan = advise(DIGITS, Request(256, PARTS)) if recipe is None else None
    return Asked(workspace_in(folder, micro), RunRequest(recipe or plan.adapted, plan, name, seed))


def trained(one, until=None):
    events, seen = train_run(*one), []
    for event in events:
        seen.append(event)
        if isinstance(event, Progress) and event.update == until:
            events.close()
    return seen


def stored(one):
    return one.workspace.store.run(one.request.name)


def weights(one):
    newest = checkpoints(one.workspace.store.checkpoint_folder(stored(one)))[0]
    return {name: t.numpy().tobytes() for name, t in read_content(newest, CPU)[1]["model"].items()}


def notes(events):
    return [note for event in events if isinstance(event, Started) for note in event.notes]


def test_a_later_version_resumes_a_run(tmp_path, next_version):
    trained(request(tmp_path, "straight"))
    trained(request(tmp_path), until=20)
    next_version()
    later = request(tmp_path)
    assert later.request.recipe.adapted_from.program == "lbadvisor 99.0.0"
    (said,) = notes(trained(later))
    assert "lbadvisor_version: " in said
    assert stored(later).status is RunStatus.COMPLETE
    assert stored(later).guarantee is Guarantee.SAME_ORDER
    assert weights(later) == weights(request(tmp_path, "straight"))


def test_a_later_version_reuses_a_ladder(tmp_path, next_version):
    def make(name):
        arms = tuple(planned(arm, DIGITS, Request(256, ()), n) for arm, n in parse_arms("sb,ra", 2))
        return (workspace_in(tmp_path), LadderRequest(name, DIGITS, 256, arms))

    list(train_ladder(*make("first")))
    next_version()
    for name in ("first", "second"):
        events = list(train_ladder(*make(name)))
        assert [type(event) for event in events] == [RunEnds] * 4
        assert all(event.was_there for event in events)
    with Store.open(tmp_path / "runs.db", create=False) as store:
        assert len(store.runs()) == 4


def test_seeds_of_two_versions_are_one_group(tmp_path, next_version):
    trained(request(tmp_path, "a-s0", 0))
    next_version()
    trained(request(tmp_path, "a-s1", 1))
    with Store.open(tmp_path / "runs.db", create=False) as store:
        comparison = compare_selection(store, select(store, ()))
    assert [(group.label, group.seeds) for group in comparison.groups] == [("a", (0, 1))]
    # That their bits may differ for it is said.
    assert [change.values[1] for change in comparison.changed if change.field == "lbadvisor_version"] == ["99.0.0"]


def test_measuring_and_saving_as_often_as_one_likes_changes_no_bit(tmp_path):
    """With everything on that draws at random or averages; and a resumed run gets the new cadence."""
    body = advise(DIGITS, Request(256, PARTS)).adapted.model_dump(mode="json", by_alias=True) | {
        "weight_ema": {"decay": 0.9},
        "regularization": {"dropout": 0.2, "label_noise": 0.1, "drop_connect": 0.1},
        "gradient_noise": {"kind": "gaussian", "ratio": 2.0},
    }
    body["batch_norm"]["recompute_at_end"] = True
    seldom = type(DIGITS).model_validate_json(json.dumps(body | {"measurements": {"every_updates": 41}}))
    often = seldom.model_copy(
        update={
            "measurements": Measurements(every_updates=1, evaluate_every_updates=2),
            "checkpoints": Checkpoints(every_seconds=1e-9),
        }
    )
    first, second, mixed = (request(tmp_path, name, recipe=one) for name, one in
                            (("first", seldom), ("second", often), ("mixed", seldom)))  # fmt: skip
    trained(first)
    trained(second)
    assert weights(first) == weights(second)

    trained(mixed, until=20)
    (said,) = notes(trained(request(tmp_path, "mixed", recipe=often)))
    assert said == (
        "from now on measurements.every_updates 1 (before: 41), checkpoints.every_seconds 1e-09 (before: 120.0), "
        "measurements.evaluate_every_updates 2 (before: none)"
    )
    assert weights(mixed) == weights(first)
    assert stored(mixed).guarantee is Guarantee.BIT_EXACT
    assert stored(mixed).recipe == often
    with Store.open(mixed.workspace.store.address, create=False) as store:
        assert [m.update for m in store.measurements(stored(mixed).number)] == list(range(21, 42))


def test_a_checkpoint_of_the_first_versions_is_resumed_even_at_another_cadence(tmp_path, monkeypatch):
    """Their headers hold the hash of the recipe as a document, and no identity."""
    trained(request(tmp_path, "straight"))
    one = request(tmp_path)
    monkeypatch.setattr(state, "digest_of", lambda _: None)
    trained(one, until=20)
    monkeypatch.undo()
    newest = checkpoints(one.workspace.store.checkpoint_folder(stored(one)))[0]
    assert read_content(newest, CPU)[0].training is None
    recipe = one.request.recipe.model_copy(update={"checkpoints": Checkpoints(every_seconds=60)})
    trained(request(tmp_path, one.request.name, recipe=recipe))
    assert weights(one) == weights(request(tmp_path, "straight"))


def test_a_database_of_schema_0002_is_known_by_what_its_runs_train(tmp_path):
    """Renamed, and asked for in another cadence, by another program: its runs and its ladder are reused."""
    path = tmp_path / "runs.db"
    shutil.copy(ASSETS / "0002.db", path)
    upgrade(path)
    with Store.open(path, create=False) as store:
        done, stopped = store.runs()
        store.rename_run(done.number, "renamed")
        other = done.recipe.model_copy(update={"name": "other", "checkpoints": Checkpoints(every_seconds=1)})
        assert store.add_ladder("digits-512-ladder", store.find_ladder("digits-512-ladder").baseline, 512).number == 1
    assert reuse.name_of_training(Store.at(path), other, done.seed, "default").name == "renamed"
    assert reuse.name_of_training(Store.at(path), other, done.seed + 1, "default").name == "default"
    assert (done.threads, stopped.micro_size) == (None, None)


def test_of_several_runs_of_one_training_the_choice_is_always_the_same(tmp_path):
    """The one called so; else a complete one before a diverged one before any other, then the newest."""
    path = tmp_path / "runs.db"
    recipe = request(tmp_path).request.recipe
    with Store.open(path, create=True) as store:
        for name, status in (("a", "stopped"), ("b", "complete"), ("c", "complete"), ("d", "diverged")):
            run = store.add_run(name, recipe, 0, 41, environment.environment_of(CPU))
            store.set_status(run.number, RunStatus(status), None)
        runs = {run.name: run for run in store.runs()}
    assert reuse.name_of_training(Store.at(path), recipe, 0, "x") == reuse.StoredName("c", ("a", "b", "d"))
    assert reuse.name_of_training(Store.at(path), recipe, 0, "a").name == "a"
    assert reuse.preferred([runs["a"], runs["d"]]).name == "d"
    assert reuse.preferred([]) is None


def test_two_runs_with_other_bits_differ_in_something(tmp_path, monkeypatch):
    """Threads and micro-batches are kept with the run."""
    ghosts = request(tmp_path).request.recipe
    trained(request(tmp_path, "whole", recipe=ghosts))
    trained(request(tmp_path, "cut", recipe=ghosts, micro=64))
    monkeypatch.setattr(state, "SMALL_NETWORK", 0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        trained(request(tmp_path, "two", recipe=ghosts), until=1)
    finally:
        torch.set_num_threads(before)
    with Store.open(tmp_path / "runs.db", create=False) as store:
        comparison = compare_selection(store, select(store, ()))
    changed = {change.field: change.values for change in comparison.changed}
    names = [run.name for run in comparison.runs]
    assert dict(zip(names, changed["threads"], strict=True)) == {"whole": 1, "cut": 1, "two": 2}
    assert dict(zip(names, changed["micro_batch_size"], strict=True)) == {"whole": None, "cut": 64, "two": None}


def test_a_process_that_finds_nothing_left_waits(tmp_path, monkeypatch):
    """What another process trains is neither refused nor trained twice."""
    monkeypatch.setattr(ladder, "POLL_SECONDS", 0.01)
    arms = tuple(planned(arm, DIGITS, Request(256, ()), n) for arm, n in parse_arms("sb,ra", 1))
    one = (workspace_in(tmp_path), LadderRequest("l", DIGITS, 256, arms))
    first, second = train_ladder(*one), train_ladder(*one)
    while not isinstance(next(first), Progress):
        pass
    events = []
    while not (events and isinstance(events[-1], ladder.Waits)):
        events.append(next(second))
    assert [e.planned.arm.arm.name for e in events if isinstance(e, RunEnds)] == ["ra"]
    assert events[-1] == ladder.Waits(1)
    # Closed, as if its process had ended: the other one takes its run over.
    first.close()
    rest = list(second)
    assert [(e.planned.name, e.was_there) for e in rest if isinstance(e, RunEnds)] == [("l-sb-s0", False)]
    assert len([e for e in rest if isinstance(e, Progress)]) == 40
