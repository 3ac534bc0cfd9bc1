"""Passwords of a server's users: where they come from, and that none is ever told or stored."""

import pickle
import subprocess
from pathlib import Path

import pytest
from postgresql_server import folder_of_programs, running_server

from lbadvisor.store import Store, address_of

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
PASSWORD = "s3cret-hunter2"
TRAIN = ("train", DIGITS, "--schedule-scale", "0.1", "--name", "a", "--quiet")


@pytest.fixture(scope="module")
def guarded():
    """A server that asks all but its superuser for a password; `anna` owns a database, `bob` may not use it."""
    programs = folder_of_programs()
    if programs is None:
        pytest.skip("PostgreSQL's server is not installed")
    with running_server(programs) as server:
        rules = server.folder / "data" / "pg_hba.conf"
        rules.write_text("local all all trust\nhost all lab all trust\nhost all all all scram-sha-256\n")
        for statement in (
            "SELECT pg_reload_conf()",
            f"CREATE ROLE anna LOGIN PASSWORD '{PASSWORD}'",
            f"CREATE ROLE bob LOGIN PASSWORD '{PASSWORD}'",
            "CREATE DATABASE runs OWNER anna",
            "CREATE DATABASE closed",
            "REVOKE CONNECT ON DATABASE closed FROM public",
        ):
            server.sql(statement)
        yield server


@pytest.fixture
def lab(guarded, place, monkeypatch, tmp_path):
    """A place whose database is the guarded one; no password is given."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("LBADVISOR_DB", guarded.url("runs", user="anna"))
    monkeypatch.setenv("LBADVISOR_CHECKPOINTS", str(tmp_path / "checkpoints"))
    return place


def test_a_password_comes_from_the_environment_or_from_a_file_and_goes_nowhere(lab, guarded, monkeypatch, tmp_path):
    """Not into what the commands print, into a row, a checkpoint, or what is sent to a worker."""
    said = ""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    for words in (TRAIN, ("runs", "show", "a", "--json"), ("db", "path"), ("db", "check")):
        done = lab.run(*words)
        said += done.stdout + done.stderr
    with Store.open(address_of(None), create=False) as store:
        sent = pickle.dumps(store)
        assert store.run("a").status == "complete"
    monkeypatch.delenv("PGPASSWORD")
    file = tmp_path / ".pgpass"
    file.write_text(f"127.0.0.1:*:runs:anna:{PASSWORD}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    shown = lab.run("runs", "show", "a")
    assert shown.returncode == 0, shown.stderr
    dump = [guarded.programs / "pg_dump", "-h", guarded.folder, "-p", str(guarded.port), "-U", "lab", "runs"]
    rows = subprocess.run(dump, capture_output=True, text=True, check=True).stdout
    assert "digits" in rows
    assert PASSWORD not in said + shown.stdout + shown.stderr + rows
    checkpoints = [path for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()]
    assert checkpoints
    assert not any(PASSWORD.encode() in content for content in (sent, *(path.read_bytes() for path in checkpoints)))


@pytest.mark.parametrize("debug", [(), ("--debug",)])
@pytest.mark.parametrize(
    ("user", "name", "password", "advice"),
    [
        ("anna", "runs", None, "the server refused the login: check the user, and the password in PGPASSWORD or"),
        (
            "anna",
            "runs",
            "wrong-s3cret",
            "the server refused the login: check the user, and the password in PGPASSWORD",
        ),
        ("nobody", "runs", PASSWORD, "the server refused the login: check the user"),
        ("anna", "nowhere", PASSWORD, "the server has no such database: make it with createdb, or name another"),
        ("anna", "closed", PASSWORD, "the user may not connect to it: GRANT CONNECT, or name another user"),
        ("bob", "runs", PASSWORD, "the user may not do that: GRANT it the rights, or name another with --db"),
    ],
)
def test_what_keeps_a_user_out_is_told_in_a_line_without_the_password(
    guarded, lab, monkeypatch, user, name, password, advice, debug
):
    monkeypatch.setenv("PGPASSWORD", password or "")
    process = lab.start(*debug, *TRAIN, "--db", guarded.url(name, user=user))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "s3cret" not in err
    told = f"database {guarded.url(name, user=user)}: {advice}"
    assert told in err if debug else (err.startswith(f"error: {told}") and err.count("\n") == 1)


@pytest.mark.parametrize(
    ("host", "advice"),
    [
        ("nowhere.invalid", "there is no such host: check its name in --db"),
        ("127.0.0.1:1", "its server does not answer: check that it is up, and its host and port"),
        ("", "its server does not answer: check that it is up, and its host and port"),
    ],
)
def test_a_server_that_is_not_there_is_told_in_a_line(lab, host, advice):
    url = f"postgresql+psycopg://anna@{host}/runs" if host else "postgresql+psycopg:///runs?host=/nowhere"
    for words in (("runs",), ("train", DIGITS), ("refine", DIGITS, "--to", "256")):
        done = lab.run(*words, "--db", url)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1].startswith(f"error: database {address_of(url)}: {advice} (")
