"""The database's server goes away in the middle of a run: the run says so, waits, and loses nothing."""

import math
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from postgresql_server import folder_of_programs, running_server

from lbadvisor.errors import InTrainingError
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.records.run import RunStatus
from lbadvisor.runs.on_ranks import places_here
from lbadvisor.runs.recorder import record
from lbadvisor.runs.runner import Progress, RunRequest, Started, train_run
from lbadvisor.runs.workspace import Workspace
from lbadvisor.store import Store
from lbadvisor.training.machine import Machine

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
TRAIN = (
    *("train", DIGITS, "--set", "schedule.updates=2400", "--set", "measurements.every_updates=4"),
    *("--set", "checkpoints.every_seconds=0.2"),
)
LADDER = (
    *("ladder", DIGITS, "--to", "256", "--arms", "sb,ra", "--seeds", "2"),
    *("--set", "measurements.every_updates=20", "--set", "checkpoints.every_seconds=0.1"),
)
"""Four runs of 405 updates."""


@pytest.fixture(scope="module")
def server():
    """A server that keeps what it has confirmed, however it ends."""
    programs = folder_of_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with running_server(programs, "-c", "synchronous_commit=on") as server:
        yield server


@pytest.fixture
def database(server, tmp_path, monkeypatch):
    """The URL of a new database; checkpoints lie in a folder of this test."""
    for name in [name for name in os.environ if name.startswith("LBADVISOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LBADVISOR_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.chdir(tmp_path)
    server.sql("DROP DATABASE IF EXISTS lab WITH (FORCE)")
    server.sql("CREATE DATABASE lab")
    return server.url("lab")


def results(database):
    """Every measurement but for its time, by the name of its run."""
    with Store.open(database, create=False) as store:
        found = store.runs()
        assert {run.status for run in found} == {RunStatus.COMPLETE}
        rows = store.measurements_of([run.number for run in found])
    return {run.name: [replace(m, seconds=0.0) for m in own] for run, own in zip(found, rows, strict=True)}


def stored_updates(server):
    """How many updates all runs together have stored."""
    return server.sql('SELECT sum("update") FROM runs', "lab")[0][0]


def test_a_run_whose_server_restarts_twice_ends_as_one_on_a_file(server, database, forked, tmp_path):
    """Once as after a crash, and once for as long as it takes to train to its end."""
    process, straight = forked(*TRAIN, "--db", database, held_at=200), tmp_path / "straight.db"
    other = forked(*TRAIN, "--db", str(straight))
    process.wait_until_held()
    server.stop(signal.SIGQUIT)
    server.start()
    for update in range(201, 2400):
        # It tries again after a second or more, and is not to come to its end before.
        time.sleep(0.05)
        process.go_on(to=update)
        if stored_updates(server) > 200:
            break
    server.stop()
    process.go_on(to=2400)
    process.go_on()
    said = process.says("trying again, nothing is lost", times=2)
    server.start()
    said += process.communicate(timeout=200)[1]
    assert (process.returncode, other.wait(200)) == (0, 0), said
    assert results(database) == results(straight)
    assert said.count("trying again, nothing is lost") == said.count("note the database answers again, after") == 2


def on_two_ranks(forked, monkeypatch, *words, held_at=None):
    """The processes of the command line; rank 0 is held."""
    processes = []
    for place in places_here(2):
        with monkeypatch.context() as environment:
            for name, value in place.items():
                environment.setenv(name, value)
            processes.append(forked(*words, held_at=held_at, threads=1))
    return processes


def test_two_ranks_whose_server_is_down_when_their_run_is_stopped_and_when_it_ends_lose_nothing(
    server, database, forked, monkeypatch, tmp_path
):
    """Rank 0 waits for the server for longer than a rank waits for another; the other one waits as well."""
    monkeypatch.setenv("LBADVISOR_RANK_TIMEOUT", "3")
    words, straight = ("train", DIGITS, "--schedule-scale", "0.3", "--db"), tmp_path / "straight.db"
    for update, is_stopped in ((30, True), (60, False)):
        first, second = on_two_ranks(forked, monkeypatch, *words, database, held_at=update)
        first.wait_until_held()
        server.stop()
        if is_stopped:
            first.send_signal(signal.SIGTERM)
        first.go_on()
        said = first.says("trying again, nothing is lost")
        time.sleep(4)
        server.start()
        said += first.communicate(timeout=200)[1]
        assert (first.returncode, second.wait(200)) == (75 * is_stopped,) * 2, said
    assert [process.wait(200) for process in on_two_ranks(forked, monkeypatch, *words, str(straight))] == [0, 0]
    assert results(database) == results(straight)


def test_two_processes_share_a_ladder_whose_server_restarts_thrice(server, database, forked, tmp_path):
    """It ends as one that a single process trained into a file, no run trained twice."""
    straight = tmp_path / "straight.db"
    processes = [forked(*LADDER, "--db", database, held_at=100) for _ in range(2)]
    other = forked(*LADDER, "--db", str(straight))
    for process in processes:
        process.wait_until_held()
    for update in (200, 300, None):
        server.stop(signal.SIGQUIT)
        server.start()
        for process in processes:
            process.go_on(to=update)
    said = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert other.wait(200) == 0
    assert results(database) == results(straight)
    assert all("the database answers again" in one for one in said)


def test_a_run_that_waited_long_enough_fails_and_is_resumed(server, database, forked, monkeypatch, tmp_path):
    """Nothing of it is lost either; a command that begins while the server is down fails at once."""
    monkeypatch.setenv("LBADVISOR_DB_WAIT", "1")
    words = (*TRAIN, "--set", "schedule.updates=900", "--set", "checkpoints.every_seconds=1e-9", "--db")
    process = forked(*words, database, held_at=20, saving_share=math.inf)  # saves after every update
    process.wait_until_held()
    server.stop()
    process.go_on()
    _, said = process.communicate(timeout=200)
    try:
        assert process.returncode == 1
        assert "Traceback" not in said
        assert said.splitlines()[-1].endswith(
            "; repeat the command once it answers: a run resumes from its last checkpoint"
        )
        late = forked(*words, database, "--quiet")
        _, why = late.communicate(timeout=200)
        assert late.returncode == 1
        assert why.startswith(f"error: database {database}: its server does not answer: check that it is up, and")
        assert len(why.splitlines()) == 1
    finally:
        server.start()
    resumed = forked(*words, database)
    _, said = resumed.communicate(timeout=200)
    assert resumed.returncode == 0
    assert "resuming from update 19" in said
    assert forked(*words, str(tmp_path / "straight.db")).wait(200) == 0
    assert results(database) == results(tmp_path / "straight.db")


def test_a_run_that_is_stopped_while_the_server_is_down_waits_to_be_saved_and_a_second_ctrl_c_ends_it(
    server, database, forked
):
    # Nothing of it is due to be stored before it is stopped.
    seldom = ("--set", "measurements.every_updates=2400", "--set", "checkpoints.every_seconds=3600")
    process = forked(*TRAIN, *seldom, "--db", database, held_at=300)
    process.wait_until_held()
    server.stop()
    try:
        process.send_signal(signal.SIGTERM)
        process.go_on()
        process.says("trying again, nothing is lost")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=200)
    finally:
        server.start()
    assert process.returncode == 1
    assert said.splitlines()[-1].endswith("repeat the command once it answers: a run resumes from its last checkpoint")


def test_a_run_that_another_process_took_while_the_server_restarted_stops(server, database):
    """The other one has the run from then on: nothing is written to it any more, not even why this one stopped."""
    words = ("schedule.updates=60000", "measurements.every_updates=1", "checkpoints.every_seconds=0.1")
    recipe = load_recipe(Path(DIGITS), words)
    with Workspace.open(database, Machine(torch.device("cpu"), Path())) as workspace:
        events = train_run(workspace, RunRequest(in_updates(recipe), None, "taken", 0))
        run = next(event.run for event in events if isinstance(event, Started))
        next(events)
        server.stop(signal.SIGQUIT)
        server.start()
        with Store.open(database, create=False) as other:
            other.lock(run)
            other.discard_after(run.number, 0)
            checkpoints = list(other.checkpoint_folder(run).iterdir())
            with pytest.raises(InTrainingError, match="was lost, and now another process is training the run taken"):
                list(events)
            assert other.measurements(run.number) == []
            assert other.run("taken").status is RunStatus.RUNNING
            assert list(other.checkpoint_folder(run).iterdir()) == checkpoints


def test_a_milestone_that_comes_early_while_the_server_is_down_does_not_stop_the_run(server, database, monkeypatch):
    """Its 40 updates become 24 after the fourth; the server is back at the tenth."""
    monkeypatch.setenv("LBADVISOR_DB_WAIT", "3")
    drop = "schedule.milestones=[{update=20,lr_factor=0.1,distance=0.5}]"
    words = ("schedule.updates=40", "schedule.distance_every_updates=4", drop, "measurements.every_updates=1")
    recipe = in_updates(load_recipe(Path(DIGITS), words))
    with Workspace.open(database, Machine(torch.device("cpu"), Path())) as workspace:
        events = train_run(workspace, RunRequest(recipe, None, "early", 0))
        for event in events:
            match event:
                case Progress(update=2):
                    server.stop()
                case Progress(update=4, updates=updates, note=note):
                    assert (updates, "forward by 16 updates, to 4" in note) == (24, True)
                case Progress(update=10):
                    server.start()
        run = workspace.store.run("early")
        assert (run.status, run.updates, run.ended_because) == (RunStatus.COMPLETE, 24, "all 24 updates made")
        assert [m.update for m in workspace.store.measurements(run.number)] == list(range(1, 25))


def test_a_loop_of_its_own_logs_on_while_the_server_is_down(server, database, caplog):
    with record("own", {"batch_size": 8, "updates": 30}, database=database) as run:
        for update in range(1, 31):
            if update == 10:
                server.stop()
            if update == 25:
                server.start()
            run.log(update, loss=1.0)
            time.sleep(0.1)
    with Store.open(database, create=False) as store:
        assert [m.update for m in store.measurements(1)] == list(range(1, 31))
        assert store.run("own").status is RunStatus.COMPLETE
    assert [message.split(", ")[0] for message in caplog.messages[1:]] == ["the database answers again"]
