"""Runs whose process is killed, or loses its terminal: real processes, real signals, a real terminal."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lbadvisor.records.run import RunStatus
from lbadvisor.store.run_folder import checkpoint_folder
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints, update_of

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
WORDS = ("train", DIGITS, "--set", "measurements.every_updates=7", "--name", "a")
LONG = (*WORDS, "--schedule-scale", "1000")
"""Minutes."""


def said_of(place, *words):
    done = place.run(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def statuses(place):
    """The status of the run `a`, in each command that tells one."""
    listed = json.loads(said_of(place, "runs", "--json"))["runs"]
    shown = json.loads(said_of(place, "runs", "show", "a", "--json"))["run"]
    table = said_of(place, "runs").splitlines()[-1].split()
    compared = json.loads(said_of(place, "compare", "a", "b", "--json"))["runs"]
    chosen = [
        status
        for status in RunStatus
        for found in (
            json.loads(said_of(place, "runs", "--status", status, "--recipe", "digits", "--json"))["runs"],
            json.loads(said_of(place, "runs", "--where", f"status={status}", "--json"))["runs"],
        )
        if any(run["name"] == "a" for run in found)
    ]
    (of_a,) = {found["status"] for found in (listed[-1], shown, compared[0])} | {*chosen}
    assert of_a in table
    return of_a


def test_a_killed_run_is_interrupted_everywhere_and_is_resumed_and_a_living_one_is_not_disturbed(place):
    assert place.run("train", DIGITS, "--schedule-scale", "0.1", "--name", "b", "--quiet").returncode == 0
    process = place.held(1, *WORDS)
    assert statuses(place) == "running"
    # Asking for it did not stop it, and a dry run is refused as the run itself is.
    for words in (("resume", "a"), ("resume", "a", "--dry-run"), (*WORDS, "--dry-run")):
        refused = place.run(*words)
        assert (refused.returncode, "another process is training the run a" in refused.stderr) == (3, True)
    process.go_on(to=200)
    process.kill()
    process.wait(300)

    folder = place.database.parent / "checkpoints"
    before = sorted(folder.rglob("*"))
    assert statuses(place) == "interrupted"
    assert sorted(folder.rglob("*")) == before
    shown = said_of(place, "runs", "show", "a")
    assert "its process was killed, or the machine went down" in shown
    assert re.search(r"^ *saved +update 0 *$", shown, flags=re.M)
    assert "(interrupted: its process was killed" in " ".join(said_of(place, "compare", "a", "b").split())
    assert place.run("resume", "a", "--dry-run").returncode == 0
    resumed = place.held(300, "resume", "a", "--quiet")
    assert statuses(place) == "running"
    place.stopped(signal.SIGTERM, resumed)
    assert statuses(place) == "stopped"


def test_a_ladder_says_that_its_run_was_interrupted(place):
    words = ("ladder", DIGITS, "--to", "64", "--arms", "sb,lb", "--seeds", "1", "--name", "rungs")
    process = place.held(100, *words)
    process.kill()
    process.wait(300)
    body = json.loads(said_of(place, *words, "--dry-run", "--json"))
    assert [run["status"] for run in body["runs"]] == ["interrupted", None]


def saved_and_stored(place):
    run, _ = place.stored("a")
    return run.status, run.update, update_of(checkpoints(checkpoint_folder(place.database, run))[0])


def test_a_hang_up_saves_as_a_termination_does(place):
    assert "SIGHUP: saved a at update 50 of" in place.stopped(signal.SIGHUP, place.held(50, *WORDS))
    assert saved_and_stored(place) == (RunStatus.STOPPED, 50, 50)
    # What is saved is what is shown, though nothing was measured there.
    assert " 50/" in said_of(place, "runs")


def test_a_closed_terminal_saves(place):
    """The kernel sends SIGHUP to the terminal's foreground processes, and every write to it fails from then on."""
    child, terminal = pty.fork()
    if not child:
        os.execv(sys.executable, [sys.executable, "-m", "lbadvisor", *LONG])
    os.set_blocking(terminal, False)

    def show():
        # What a terminal does with all that is written to it; otherwise the program would wait for that.
        with contextlib.suppress(BlockingIOError):
            while os.read(terminal, 65536):
                pass

    place.wait_for("a", 50, meanwhile=show)
    os.close(terminal)
    _, ended = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(ended) == 75
    status, stored, saved = saved_and_stored(place)
    assert (status, stored) == (RunStatus.STOPPED, saved)
    assert saved >= 50


def test_under_nohup_a_hang_up_is_ignored_as_asked(place):
    command = ["nohup", sys.executable, "-m", "lbadvisor", *LONG]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            place.wait_for("a", 1)
            process.send_signal(signal.SIGHUP)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=300)
        finally:
            process.kill()
    assert (process.returncode, "SIGTERM: saved a" in err) == (75, True)
