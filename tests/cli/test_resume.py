"""`lbadvisor resume`, and runs that are stopped: whole commands, real signals."""

import json
import math
import re
import signal
from pathlib import Path

import torch

from lbadvisor.records.run import Guarantee, RunStatus
from lbadvisor.store import Store
from lbadvisor.store.run_folder import checkpoint_folder
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
WORDS = ("train", DIGITS, "--set", "measurements.every_updates=7", "--name", "a")


def test_a_stopped_run_is_gone_on_with_by_name_or_number(place):
    place.stopped(signal.SIGINT, place.held(100, *WORDS))
    before, _ = place.stored("a")
    assert before.status is RunStatus.STOPPED
    would = place.run("resume", "1", "--dry-run")
    assert would.returncode == 0
    assert before.update == 100
    assert would.stdout.startswith("would train a from update 100 on cpu")
    done = place.run("resume", "a")
    assert done.returncode == 0, done.stderr
    assert "resuming from update 100 of 405" in done.stderr
    assert done.stdout.startswith("a complete: 405 updates")
    run, measurements = place.stored("a")
    assert (run.status, run.resumes, run.guarantee) == (RunStatus.COMPLETE, 1, Guarantee.BIT_EXACT)
    assert [m.update for m in measurements if m.update % 7 == 0] == list(range(7, 406, 7))
    again = place.run("resume", "1")
    assert (again.returncode, again.stdout.startswith("a is already complete")) == (0, True)
    shown = place.run("runs", "show", "a", "--json")
    assert json.loads(shown.stdout)["run"]["guarantee"] == "bit-exact"
    assert re.search(r"guarantee +bit-exact", place.run("runs", "show", "a").stdout)


def test_what_is_also_measured_is_told_exported_and_may_begin_with_a_resume(place):
    place.stopped(signal.SIGINT, place.held(100, *WORDS))
    done = place.run("resume", "a", "--measure", "layers")
    assert done.returncode == 0, done.stderr
    assert "from now on measurements.also[0] layers (before: none)" in done.stderr
    with Store.open(place.database, create=False) as store:
        readings = store.readings(1)
    assert min(one.update for one in readings) == 105
    updates = len({one.update for one in readings})
    assert re.search(rf"also measured +layers at {updates} updates", place.run("runs", "show", "a").stdout)
    (run,) = json.loads(place.run("runs", "export", "--json").stdout)["runs"]
    assert len(run["readings"]) == len(readings) == 8 * updates
    shown = json.loads(place.run("runs", "show", "a", "--json").stdout)
    assert {one["update"] for one in shown["readings"]} == {one["update"] for one in shown["measurements"]}
    wrong = place.run("resume", "a", "--measure", "layers,depth")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--measure: `depth` cannot be measured: choose from layers" in wrong.stderr


def test_what_cannot_be_resumed_is_said_and_nothing_is_made(place):
    nothing = place.run("resume", "a")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "no database at" in nothing.stderr
    assert list(place.folder.iterdir()) == []
    assert place.run("train", DIGITS, "--schedule-scale", "0.1", "--name", "digits-a").returncode == 0
    unknown = place.run("resume", "digits-b")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "did you mean 'digits-a'?" in unknown.stderr
    with Store.open(place.database, create=False) as store:
        store.set_status(1, RunStatus.STOPPED, None)
    if not torch.cuda.is_available():
        elsewhere = place.run("resume", "1", "--device", "cuda")
        assert (elsewhere.returncode, "no CUDA device" in elsewhere.stderr) == (2, True)
    cut = place.run("resume", "1", "--micro", "16")
    assert (cut.returncode, "ghost batches" in cut.stderr) == (2, True)


def test_a_second_ctrl_c_stops_at_once_and_leaves_a_good_checkpoint(place):
    """Within an update: the half-made one is not saved, and the command says where it goes on."""
    words = (*WORDS, "--set", "checkpoints.every_seconds=1e-9")
    process = place.held(10, *words, saving_share=math.inf)  # saves after every update
    process.send_signal(signal.SIGINT)
    process.go_on(to=10)  # by then it has heard the first
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 75, err
    assert out == ""
    assert "Traceback" not in err
    run, _ = place.stored("a")
    assert run.status is RunStatus.STOPPED
    newest = checkpoints(checkpoint_folder(place.database, run))[0]
    assert "stopped at once" in err
    assert run.ended_because == "interrupted after update 10, saved at 9"
    assert "the last checkpoint of a is from update 9; the same command resumes from there" in err
    assert newest.name == "update-0000000009.ckpt"
    done = place.run(*words)
    assert (done.returncode, "resuming from update 9 of 405" in done.stderr) == (0, True)


def test_a_second_signal_that_is_no_ctrl_c_does_not_spoil_the_save(place):
    """What schedulers do: a warning first, SIGTERM a little later."""
    process = place.held(2, *WORDS)
    process.send_signal(signal.SIGUSR1)
    process.go_on(to=2)
    assert "SIGUSR1: saved a at update 2 of" in place.stopped(signal.SIGTERM, process)
    run, _ = place.stored("a")
    newest = checkpoints(checkpoint_folder(place.database, run))[0]
    assert newest.name == "update-0000000002.ckpt"


def test_a_run_is_free_again_once_its_process_was_killed(place):
    process = place.held(100, *WORDS)
    refused = place.run("resume", "a")
    assert (refused.returncode, "another process is training the run a" in refused.stderr) == (3, True)
    process.kill()
    process.wait(300)
    assert place.run("resume", "a", "--quiet").returncode == 0
