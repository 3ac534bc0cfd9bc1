"""The database's server goes away in the middle of a run: the run says so, waits, and loses nothing."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lbadvisor.errors import StoreError
from lbadvisor.records.run import RunStatus
from lbadvisor.store import Store
from tests.postgresql_server import folder_of_programs, running_server

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
UPDATES = 4000
TRAIN = (
    *("train", DIGITS, "--set", f"schedule.updates={UPDATES}", "--set", "measurements.every_updates=4"),
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
def database(server, tmp_path, monkeypatch, request):
    """The URL of a new database; checkpoints lie in a folder of this test."""
    for name in [name for name in os.environ if name.startswith("LBADVISOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LBADVISOR_CHECKPOINTS", str(tmp_path / "checkpoints"))
    name = f"test_{abs(hash(request.node.name))}"
    server.sql(f"CREATE DATABASE {name}")
    return server.url(name)
