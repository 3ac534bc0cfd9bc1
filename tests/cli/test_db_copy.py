"""`lbadvisor db copy` as a lab uses it: a file's runs move to a server, and back."""

import json
import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from raw_sql import raw_sql

from lbadvisor.records.run import RunStatus
from lbadvisor.store import Store, address_of
from lbadvisor.store.open_database import OpenDatabase
from lbadvisor.store.run_folder import checkpoints_of
from lbadvisor.training.checkpoints.checkpoint_file import PRUNED

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
SHORT = ("--schedule-scale", "0.1")


@pytest.fixture
def server(place, postgresql_database):  # noqa: ARG001  # whose folder of checkpoints is set after `place`
    """The URL of an empty database of a server; the checkpoints of its runs lie in the test's own folder."""
    return postgresql_database("template1")


def said(place, *words):
    done = place.run(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(place, *words, code=3):
    done = place.run("db", "copy", *words)
    assert (done.returncode, done.stdout) == (code, ""), done
    return done.stderr


def tables(place, *database):
    """What the user reads of all runs, in every way."""
    ladder = ("ladder", DIGITS, *SHORT, "--to", "256", "--arms", "sb,lb", "--seeds", "1", "--quiet")
    return [
        said(place, *words, *database)
        for words in (
            ladder,
            ("runs",),
            ("runs", "--json"),
            ("runs", "export", "--json"),
            ("compare", "a", "b"),
            ("ladders", "--json"),
            ("db", "query", "--csv", "--sql", "SELECT * FROM ladder_results ORDER BY number"),
        )
    ]


def files_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.glob("*-*/*") if path.name != "lock"}


def test_a_lab_moves_from_a_file_to_a_server_and_back(place, server):
    """All tables are the same, byte for byte, and so are the checkpoints; pruned runs stay pruned."""
    said(place, "train", DIGITS, *SHORT, "--name", "a", "--measure", "layers", "--quiet")
    said(place, "train", DIGITS, *SHORT, "--to", "256", "--name", "b", "--quiet")
    before = tables(place)
    said(place, "runs", "prune", "b", "--yes")
    rows = {name: place.run("db", "query", "--csv", "--sql", f"SELECT count(*) FROM {name}").stdout.split()[1]
            for name in ("plans", "measurements", "readings")}  # fmt: skip

    done = place.run("db", "copy", server)
    assert done.returncode == 0, done.stderr
    first, *_ = done.stdout.splitlines()
    assert first.startswith(
        f"copied 3 runs, {rows['plans']} plans, 1 ladder, {rows['measurements']} measurements, "
        f"{rows['readings']} readings and 4 checkpoints ("
    )
    assert first.endswith(f" to {server}; use it with --db or LBADVISOR_DB")
    folder = checkpoints_of(address_of(server))
    assert f"its checkpoints lie in {folder}\n" in done.stderr
    assert tables(place, "--db", server) == before
    assert said(place, "db", "check", "--db", server) == f"{server}: no faults\n"

    body = json.loads(said(place, "db", "copy", "home/again.db", "--db", server, "--json"))
    assert (body["schema"], body["path"], body["to"]) == (1, server, "home/again.db")
    assert body["copied"]["runs"] == 3
    assert str(body["copied"]["measurements"]) == rows["measurements"]
    assert tables(place, "--db", "home/again.db") == before
    assert said(place, "db", "copy", "third.db", "--db", "home/again.db").startswith("copied 3 runs")
    assert tables(place, "--db", "third.db") == before

    of_file, of_server = files_in(checkpoints_of(place.database)), files_in(folder)
    assert of_file == of_server == files_in(place.folder / "home" / "checkpoints" / "again")
    assert body["bytes"] == sum(len(content) for content in of_server.values())
    assert [path.name for path in of_file].count(PRUNED) == 1


def test_a_stopped_run_is_resumed_in_the_copy_with_the_bits_of_one_that_was_not_copied(place, server):
    """And one that was killed."""
    words = ("train", DIGITS, "--schedule-scale", "0.5", "--set", "checkpoints.every_seconds=1e-9", "--quiet", "--name")
    for name, number in (("stopped", signal.SIGTERM), ("killed", signal.SIGKILL)):
        process = place.start(*words, name, saving_share=0.2)
        place.wait_for(name, 20)
        process.send_signal(number)
        process.communicate(timeout=60)
    said(place, *words, "straight")
    said(place, "db", "copy", server)
    found = [json.loads(said(place, "runs", "--json", *db)) for db in ((), ("--db", server))]
    assert found[0] == found[1]
    assert [run["status"] for run in found[1]["runs"]] == ["stopped", "interrupted", "complete"]
    place.database = address_of(server)
    ends = {}
    for name in ("stopped", "killed", "straight"):
        said(place, *words, name, "--db", server)
        run, measured = place.stored(name)
        assert (run.status, run.resumes) == (RunStatus.COMPLETE, int(name != "straight"))
        ends[name] = [replace(one, seconds=0.0) for one in measured], place.weights(name)
    measured, weights = ends.pop("straight")
    for other, other_weights in ends.values():
        assert other == measured
        assert all(torch.equal(weights[key], other_weights[key]) for key in weights)


def test_a_study_is_continued_in_the_copy_as_it_would_have_been(place, server):
    words = ("refine", DIGITS, *SHORT, "--to", "256", "--metric", "loss", "--json", "--quiet", "--trials")
    said(place, *words, "4")
    assert "1 study, 4 trials and 8 checkpoints" in said(place, "db", "copy", server)
    ends = [json.loads(said(place, *words, "6", *db))["trials"] for db in ((), ("--db", server))]
    points = [[(trial["number"], trial["point"], trial["value"]) for trial in trials] for trials in ends]
    assert points[0] == points[1]
    assert len(points[0]) == 6


def test_a_run_in_training_is_refused_and_nothing_is_made(place, server):
    process = place.start("train", DIGITS, "--schedule-scale", "50", "--name", "a", "--quiet")
    place.wait_for("a", 1)
    for to in ("new/b.db", server):
        assert refused(place, to) == "error: another process is training the run a: wait for it, or stop it\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert not (place.folder / "new").exists()
    assert raw_sql(address_of(server), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    assert said(place, "db", "copy", server).startswith("copied 1 run, ")


def test_what_is_wrong_with_either_database_is_said_and_nothing_is_made(place, server, monkeypatch):
    assert "no database at db/lbadvisor.db yet" in refused(place, "b.db", code=1)
    said(place, "train", DIGITS, *SHORT, "--name", "a", "--quiet")
    said(place, "train", DIGITS, *SHORT, "--name", "a", "--quiet", "--db", "full.db")
    for to in ("full.db", "db/lbadvisor.db"):
        assert f"database {to}: it has runs already: copy to a new database, or to an empty one" in refused(place, to)
    assert "begins with postgresql+psycopg://, not postgres://" in refused(place, "postgres://lab@host/lab", code=2)
    secret = refused(place, server.replace("lab@", "lab:s3cret@"), code=2)
    assert ("PGPASSWORD" in secret, "s3cret" in secret) == (True, False)
    missing = refused(place, server.rpartition("/")[0] + "/nowhere", code=1)
    assert "the server has no such database: make it with createdb" in missing

    # The server's database would have its checkpoints where the file has them.
    monkeypatch.setenv("LBADVISOR_CHECKPOINTS", str(place.folder / "shared"))
    said(place, "train", DIGITS, *SHORT, "--name", "a", "--quiet", "--db", f"{address_of(server).name}.db")
    monkeypatch.setenv("LBADVISOR_CHECKPOINTS", "checkpoints")
    shared = refused(place, server, "--db", f"{address_of(server).name}.db")
    assert "is there already, with checkpoints of" in shared
    assert "LBADVISOR_CHECKPOINTS" in shared

    raw_sql(place.database, "UPDATE lbadvisor_version SET version_num = '0005'")
    assert "`lbadvisor db upgrade" in refused(place, "b.db", code=1)
    assert not (place.folder / "b.db").exists()
    assert not (place.folder / "shared").exists()


@pytest.mark.parametrize("kind", ["file", "server"])
def test_a_copy_that_is_killed_leaves_no_run_and_is_done_by_the_same_command(place, server, kind):
    """Its checkpoints are there, beside their places, and it waits for its turn to write the rows."""
    to = server if kind == "server" else "other.db"
    said(place, "train", DIGITS, *SHORT, "--name", "a", "--quiet")
    with closing(OpenDatabase.open(address_of(to), create=True)) as target, target.writing():
        process = place.start("db", "copy", to)
        staging = checkpoints_of(address_of(to)) / "copying"
        while len(list(staging.glob("*/*.ckpt"))) < 2:
            assert process.poll() is None, process.communicate()
        process.kill()
        process.communicate(timeout=60)
    with Store.open(to, create=False) as store:
        assert store.runs() == []
    assert not files_in(staging.parent)
    assert said(place, "db", "copy", to).startswith("copied 1 run, ")
    assert files_in(staging.parent) == files_in(checkpoints_of(place.database))
    assert not staging.exists()
    assert said(place, "runs", "--db", to) == said(place, "runs")


def test_a_copy_killed_at_any_moment_is_whole_or_empty(place, server):
    """As its last folder comes to its place: then it is complete, or the next copy says what to move away."""
    for name in "ab":
        said(place, "train", DIGITS, *SHORT, "--name", name, "--quiet")
    for to in (server, "b.db"):
        folder = checkpoints_of(address_of(to))
        process = place.start("db", "copy", to)
        while not files_in(folder) and process.poll() is None:
            pass
        process.kill()
        process.communicate(timeout=60)
        again = place.run("db", "copy", to)
        if "move the folders away" in again.stderr:
            assert again.returncode == 3
            for left in folder.glob("*-*"):
                left.rename(place.folder / f"{left.name} of {folder.name}")
            again = place.run("db", "copy", to)
            assert again.returncode == 0, again.stderr
        else:
            assert (again.returncode, "it has runs already" in again.stderr) == (3, True)
        assert files_in(folder) == files_in(checkpoints_of(place.database))
        assert said(place, "runs", "--db", to) == said(place, "runs")


def test_of_two_copies_to_one_database_the_later_is_refused(place, server):
    said(place, "train", DIGITS, *SHORT, "--name", "a", "--quiet")
    processes = [place.start("db", "copy", server) for _ in range(2)]
    ended = [process.communicate(timeout=60) for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 3], ended
    assert any("it has runs already" in err for _, err in ended)
    assert said(place, "db", "check", "--db", server) == f"{server}: no faults\n"


def test_a_run_that_changes_meanwhile_is_not_copied_by_halves(place):
    """It is renamed, pruned or trained between its checkpoints and its row."""
    said(place, "train", DIGITS, *SHORT, "--name", "a", "--quiet")
    with closing(OpenDatabase.open(address_of("b.db"), create=True)) as target, target.writing():
        process = place.start("db", "copy", "b.db")
        while len(list((checkpoints_of(address_of("b.db")) / "copying").glob("*/*.ckpt"))) < 2:
            assert process.poll() is None, process.communicate()
        said(place, "runs", "rename", "a", "c")
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "its runs changed meanwhile: repeat the command" in err) == (3, True)
    assert said(place, "db", "copy", "b.db").startswith("copied 1 run, ")
    assert [run.name for run in place.runs()] == ["c"]


def test_a_disk_that_is_full_is_an_error_and_leaves_nothing_behind(place):
    said(place, "train", DIGITS, *SHORT, "--name", "a", "--quiet")
    (place.folder / "checkpoints").write_text("a file where the folder would be")
    err = refused(place, "b.db", code=1)
    assert "the checkpoints cannot be copied to checkpoints/b (" in err
    (place.folder / "checkpoints").unlink()
    assert said(place, "db", "copy", "b.db").startswith("copied 1 run, ")
