"""The program with a PostgreSQL server's database, as a lab runs it: whole commands, real kills."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lbadvisor.records.run import RunStatus
from lbadvisor.store import address_of
from lbadvisor.store.run_folder import checkpoint_folder
from lbadvisor.store.schema import REVISIONS
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
COLUMNS = "accuracy, best accuracy, accuracy at 50"


@pytest.fixture
def lab(place, postgresql_database, monkeypatch):
    """A place whose database is an empty one of a server's."""
    url = postgresql_database("template1")
    monkeypatch.setenv("LBADVISOR_DB", url)
    place.database = address_of(url)
    return place


def said(lab, *words):
    """What the command prints, with one database's name for the other's."""
    done = lab.run(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout.replace(str(lab.database), "DATABASE").replace("straight.db", "DATABASE")


def test_training_reading_and_comparing_give_what_a_file_gives(lab):
    """Every number but the seconds, bit for bit."""
    words = (DIGITS, "--schedule-scale", "0.2", "--set", "measurements.every_updates=7", "--measure", "layers")
    found = {}
    for database in ((), ("--db", "straight.db")):
        said(lab, "train", *words, "--name", "a", "--quiet", *database)
        said(lab, "train", *words, "--to", "256", "--name", "b", "--seed", str(2**63 - 1), "--quiet", *database)
        comparison = json.loads(said(lab, "compare", "a", "b", "--json", "--columns", COLUMNS, *database))
        exported = json.loads(said(lab, "runs", "export", "--json", *database))["runs"]
        rows = json.loads(
            said(lab, "db", "query", "--json", *database, "--sql", "SELECT * FROM run_summaries ORDER BY number")
        )["rows"]
        found[database] = _without([comparison, exported, rows], ("second", "created_at", "changed_at"))
    assert found[()] == found["--db", "straight.db"]
    assert [row["adapted_parts"] for row in found[()][2]] == [None, '["lr","ghost","regime","clip"]']
    assert found[()][2][1]["seed"] == 2**63 - 1
    assert len(found[()][1][0]["measurements"]) > 10 < len(found[()][1][0]["readings"])


def _without(value, keys):
    """The JSON value without the fields of those names."""
    if isinstance(value, dict):
        return {key: _without(one, keys) for key, one in value.items() if not any(word in key for word in keys)}
    return [_without(one, keys) for one in value] if isinstance(value, list) else value


def test_a_ladder_gives_the_table_of_a_file_and_reuses_what_is_stored(lab):
    words = ("ladder", DIGITS, "--to", "256", "--schedule-scale", "0.1", "--arms", "sb,lb,ra", "--seeds", "1")
    expected = said(lab, *words, "--db", "straight.db")
    assert said(lab, *words) == said(lab, *words) == expected
    assert [run.resumes for run in lab.runs()] == [0, 0, 0]
    assert "digits-256-ladder" in said(lab, "ladders")


def test_a_run_killed_again_and_again_ends_as_one_that_was_not(lab):
    words = ("train", DIGITS, "--schedule-scale", "1.5", "--set", "checkpoints.every_seconds=1e-9", "--name", "a")
    lab.kill_again_and_again(2, *words)
    said(lab, *words)
    assert lab.run("train", *words[1:-1], "b").returncode == 0
    (run, measured), (_, straight) = lab.stored("a"), lab.stored("b")
    assert (run.status, run.resumes > 0) == (RunStatus.COMPLETE, True)
    assert [replace(one, seconds=0.0) for one in measured] == [replace(one, seconds=0.0) for one in straight]
    assert all(
        torch.equal(one, other) for one, other in zip(*(lab.weights(name).values() for name in "ab"), strict=True)
    )


def test_checkpoints_lie_in_the_folder_that_the_machines_share(lab, tmp_path, monkeypatch):
    """And nowhere else: a machine that names another folder does not restart the run."""
    said(lab, "train", DIGITS, "--schedule-scale", "0.1", "--name", "a", "--quiet")
    assert len(list((tmp_path / "checkpoints" / lab.database.name).glob("1-*/*.ckpt"))) == 2
    assert not (lab.folder / "db").exists()
    assert lab.run("db", "path").stderr == f"its checkpoints lie in {tmp_path / 'checkpoints' / lab.database.name}\n"
    monkeypatch.setenv("LBADVISOR_CHECKPOINTS", str(tmp_path / "other"))
    done = lab.run("runs", "export-weights", "a", "--out", "a.safetensors")
    assert (done.returncode, "has no checkpoint" in done.stderr) == (1, True)


def test_the_commands_for_the_database_itself(lab):
    """Those that read make nothing there; what a server does otherwise is said."""
    assert json.loads(said(lab, "db", "path", "--json"))["exists"] is False
    for words in (("runs",), ("db", "check"), ("db", "upgrade"), ("db", "query", "--sql", "SELECT name FROM runs")):
        assert lab.run(*words).returncode in (1, 2), words
    assert json.loads(said(lab, "db", "path", "--json"))["exists"] is False

    said(lab, "train", DIGITS, "--schedule-scale", "0.1", "--name", "a", "--quiet")
    assert json.loads(said(lab, "db", "path", "--json"))["exists"] is True
    assert said(lab, "db", "check") == "DATABASE: no faults\n"
    assert said(lab, "db", "upgrade") == f"DATABASE: the schema is {REVISIONS[-1]}, the newest\n"
    assert said(lab, "db", "query", "--csv", "--sql", "SELECT name, status FROM run_summaries") == (
        "name,status\na,complete\n"
    )
    refused = lab.run("db", "query", "--sql", "DELETE FROM runs")
    assert (refused.returncode, refused.stdout) == (2, "")
    path = checkpoints(checkpoint_folder(lab.database, lab.stored("a")[0]))[0]
    path.write_bytes(path.read_bytes()[:-1])
    broken = lab.run("db", "check")
    assert (broken.returncode, "checksum" in broken.stderr) == (1, True)
    said(lab, "runs", "rename", "a", "b")
    said(lab, "runs", "delete", "b", "--yes")
    assert json.loads(said(lab, "runs", "--json"))["runs"] == []


@pytest.mark.parametrize("option", [True, False])
def test_a_password_in_the_url_is_refused_by_every_command_and_not_repeated(lab, monkeypatch, option):
    url = lab.database.url.set(password="s3cret").render_as_string(hide_password=False)
    monkeypatch.setenv("LBADVISOR_DB", "elsewhere.db" if option else url)
    for words in (
        ("db", "path"),
        ("runs",),
        ("train", DIGITS),
        ("ladder", DIGITS, "--to", "256", "--dry-run"),
        ("runs", "show", "1"),
        ("db", "check"),
        ("db", "query", "--sql", "nothing"),
    ):
        done = lab.run(*words, *(("--db", url) if option else ()))
        assert (done.returncode, done.stdout) == (2, "")
        assert "leave it out, and give it in ~/.pgpass or PGPASSWORD" in done.stderr
        assert "s3cret" not in done.stderr
