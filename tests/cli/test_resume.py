"""`lbadvisor resume`, and runs that are stopped: whole commands, real signals."""

import json
import re
import signal
import time
from pathlib import Path

import torch

from lbadvisor.records.run import Guarantee, RunStatus
from lbadvisor.store import Store
from lbadvisor.store.run_folder import checkpoint_folder
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
LONG = ("train", DIGITS, "--schedule-scale", "12", "--set", "measurements.every_updates=7")
SLOW = (
    # A resnet on 8x8 digits in whole batches: 0.2 to 1 s for each of a thousand updates.
    *("train", DIGITS, "--set", "model.name=resnet44", "--set", "batch.size=1297", "--name", "a"),
    *("--schedule-scale", "100"),
    *("--set", "measurements.every_updates=1", "--set", "measurements.evaluate_every_updates=1000"),
)


def stopped(place, *words, sent=signal.SIGINT):
    process = place.start(*words)
    place.wait_for("a", 1)
    process.send_signal(sent)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 75, err
    assert out == ""


def test_a_stopped_run_is_gone_on_with_by_name_or_number(place):
    stopped(place, *LONG, "--name", "a")
    before, _ = place.stored("a")
    assert before.status is RunStatus.STOPPED
    would = place.run("resume", "1", "--dry-run")
    assert would.returncode == 0
    planned = re.match(r"would train a from update (\d+) on cpu", would.stdout)
    assert planned is not None
    assert int(planned[1]) >= before.update
    done = place.run("resume", "a")
    assert done.returncode == 0, done.stderr
    assert f"resuming from update {planned[1]} of 4864" in done.stderr
    assert done.stdout.startswith("a complete: 4864 updates")
    run, measurements = place.stored("a")
    assert (run.status, run.resumes, run.guarantee) == (RunStatus.COMPLETE, 1, Guarantee.BIT_EXACT)
    assert [m.update for m in measurements if m.update % 7 == 0] == list(range(7, 4865, 7))
    again = place.run("resume", "1")
    assert (again.returncode, again.stdout.startswith("a is already complete")) == (0, True)
    shown = place.run("runs", "show", "a", "--json")
    assert json.loads(shown.stdout)["run"]["guarantee"] == "bit-exact"
    assert re.search(r"guarantee +bit-exact", place.run("runs", "show", "a").stdout)


def test_what_is_also_measured_is_told_exported_and_may_begin_with_a_resume(place):
    stopped(place, *LONG, "--name", "a")
    saved = place.stored("a")[0].update
    done = place.run("resume", "a", "--measure", "layers")
    assert done.returncode == 0, done.stderr
    assert "from now on measurements.also[0] layers (before: none)" in done.stderr
    with Store.open(place.database, create=False) as store:
        readings = store.readings(1)
    assert min(one.update for one in readings) > saved - 7
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
    process = place.start(*SLOW)
    # Rows are stored once they are a second old.
    place.wait_for("a", 1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    out, err = process.communicate(timeout=300)
    assert time.monotonic() - sent < 20
    assert process.returncode == 75, err
    assert out == ""
    assert "Traceback" not in err
    run, _ = place.stored("a")
    assert run.status is RunStatus.STOPPED
    newest = checkpoints(checkpoint_folder(place.database, run))[0]
    if "stopped at once" in err:
        assert re.search(r"interrupted after update \d+, saved at 0", run.ended_because)
        assert "the last checkpoint of a is from update 0; the same command resumes from there" in err
        assert newest.name == "update-0000000000.ckpt"
    process = place.start(*SLOW)
    said: list[str] = []
    while not any("resuming from update" in line for line in said):
        said.append(process.stderr.readline())
        assert said[-1], said
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 75, err


def test_a_second_signal_that_is_no_ctrl_c_does_not_spoil_the_save(place):
    """What schedulers do: a warning first, SIGTERM a little later."""
    process = place.start(*SLOW)
    place.wait_for("a", 1)
    process.send_signal(signal.SIGUSR1)
    time.sleep(0.05)
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 75, err
    said = re.search(r"SIGUSR1: saved a at update (\d+) of", err)
    run, _ = place.stored("a")
    newest = checkpoints(checkpoint_folder(place.database, run))[0]
    assert newest.name == f"update-{int(said[1]):010d}.ckpt"


def test_a_run_is_free_again_once_its_process_was_killed(place):
    process = place.start(*LONG, "--name", "a")
    place.wait_for("a", 1)
    held = place.run("resume", "a")
    assert (held.returncode, "another process is training the run a" in held.stderr) == (3, True)
    process.kill()
    process.communicate(timeout=300)
    assert place.run("resume", "a", "--quiet").returncode == 0
