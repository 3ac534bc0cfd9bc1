"""Jobs: what is sent between their processes, and what came of all of them."""

import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from silent_server import silent_server

from lbadvisor.errors import DataError, LbadvisorError, RecipeError, RecipeProblem, UsageError
from lbadvisor.planning.arms import ARMS, arm_of
from lbadvisor.planning.planned_arms import LadderRequest, planned
from lbadvisor.planning.request import Request
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import scaled
from lbadvisor.records.run import RunStatus
from lbadvisor.runs.following import Stop
from lbadvisor.runs.jobs import Asked, Crew, Job, JobEnds, Silence, at_once, begins_a_run, done, together
from lbadvisor.runs.ladder import RunEnds, train_ladder
from lbadvisor.runs.runner import Progress
from lbadvisor.runs.workspace import Workspace
from lbadvisor.store import Store
from lbadvisor.training.data.dataset import Preparing
from lbadvisor.training.machine import Machine

CPU = torch.device("cpu")
DIGITS = scaled(load_recipe(Path(__file__).parents[2] / "recipes" / "digits.toml", ()), 0.2)


@pytest.fixture
def workspace(tmp_path):
    with Store.at(tmp_path / "runs.db") as store:
        yield Workspace(store, Machine(CPU, tmp_path))


def asked(baseline=DIGITS):
    arms = tuple(planned(arm_of(name), baseline, Request(256, ()), 1) for name in ("sb", "lb"))
    return Asked(baseline, train_ladder, (LadderRequest("tiny", baseline, 256, arms),))


@pytest.mark.parametrize("arm", [*ARMS.values(), arm_of("ra-0.25")], ids=lambda arm: arm.name)
def test_an_arm_that_is_sent_is_the_same_arm(arm):
    assert pickle.loads(pickle.dumps(arm)) is arm


def test_an_error_that_is_sent_keeps_its_kind_and_its_problems():
    problem = RecipeProblem("batch.size", "is 0", line=3, column=1, source_line="size = 0")
    error = pickle.loads(pickle.dumps(RecipeError("a.toml", (problem,))))
    assert (type(error), error.problems, error.origin) == (RecipeError, (problem,), "a.toml")
    assert str(error).startswith("a.toml:3:1: batch.size: is 0")


def test_a_job_tells_of_what_was_measured_and_not_of_every_update(workspace):
    """By hand: 81 updates, measured at each tenth and the last, and the loss of the first."""
    told = []
    ended = done(Job(workspace, asked()), told.append)
    assert ended == JobEnds(None)
    assert [event.planned.name for event in told if isinstance(event, RunEnds)] == ["tiny-sb-s0", "tiny-lb-s0"]
    first = told[: next(place for place, event in enumerate(told) if isinstance(event, RunEnds))]
    updates = {event.update for event in first if isinstance(event, Progress)}
    assert {1, *range(10, 81, 10), 81} <= updates
    assert len(updates) < 81
    assert sum(map(begins_a_run, told)) == 2
    assert all(pickle.loads(pickle.dumps(event)) == event for event in told)


def test_what_a_job_logs_is_logged_by_its_parent_and_not_printed_by_the_job(workspace, caplog, capfd):
    of_two = Crew((CPU, CPU)).events(workspace, Asked(DIGITS, silent_server, ()))
    assert [type(event) for _, event in of_two if not isinstance(event, Preparing | Silence)] == [JobEnds, JobEnds]
    assert sorted(caplog.messages) == [f"job {number}: the database lab does not answer" for number in (1, 2)]
    assert capfd.readouterr().err == ""


def test_a_job_that_nobody_listens_to_saves_and_ends(workspace):
    def tell(event):
        if isinstance(event, Progress) and event.update == 30:
            raise BrokenPipeError

    ended = done(Job(workspace, asked()), tell)
    assert isinstance(ended.outcome, LbadvisorError)
    [run] = workspace.store.runs()
    assert (run.status, run.update) == (RunStatus.STOPPED, 30)


def test_the_data_set_is_prepared_before_any_job_starts(workspace, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    draws = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("ant", "bee"):
            (tmp_path / "insects" / split / name).mkdir(parents=True)
            for i in range(4):
                path = tmp_path / "insects" / split / name / f"{i}.png"
                Image.fromarray(draws.integers(0, 256, (28, 28, 3), dtype=np.uint8)).save(path)
    told = {"name": "insects", "train_examples": 8}
    recipe = Recipe.model_validate(DIGITS.model_dump() | {"data": told, "model": {"name": "f1"}, "batch": {"size": 2}})
    events = Crew((CPU, CPU)).events(workspace, Asked(recipe, train_ladder, ()))
    for job, event in events:
        assert isinstance(event, Preparing)
        assert (job, multiprocessing.active_children()) == (0, [])
        if event.task.startswith("packing") and "test" in event.task and event.done == event.total:
            break
    events.close()
    assert len(list((tmp_path / "cache").rglob("*.pt"))) == 1  # the training images: these would be the next


FAILED, OTHER = LbadvisorError("its process was killed by SIGKILL"), DataError("no data")
WRONG = UsageError("no GPU")


@pytest.mark.parametrize(
    ("outcomes", "result"),
    [
        ((None, None), None),
        ((FAILED, None), None),
        ((Stop("SIGTERM"), None), None),
        ((Stop("SIGINT"), Stop("SIGINT")), Stop("SIGINT")),
        ((FAILED, Stop("SIGTERM")), Stop("SIGTERM")),
    ],
)
def test_jobs_have_done_their_work_if_one_found_nothing_left(outcomes, result):
    assert together([JobEnds(outcome) for outcome in outcomes]) == result


@pytest.mark.parametrize(
    ("outcomes", "kind", "said"),
    [
        ((WRONG, WRONG), UsageError, "^no GPU$"),
        ((FAILED, OTHER), LbadvisorError, "^every job failed:\nits process was killed by SIGKILL\nno data$"),
    ],
)
def test_jobs_that_all_failed_raise_what_they_said(outcomes, kind, said):
    with pytest.raises(kind, match=said):
        together([JobEnds(outcome) for outcome in outcomes])


def test_a_single_job_trains_in_this_process_and_is_closed_with_its_events(workspace):
    events = at_once([Job(workspace, asked())])
    for _, event in events:
        if isinstance(event, Progress) and event.update == 20:
            break
    assert multiprocessing.active_children() == []
    events.close()
    assert [(run.status, run.update) for run in workspace.store.runs()] == [(RunStatus.STOPPED, 20)]
