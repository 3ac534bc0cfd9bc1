"""`--jobs`: runs trained at once, in real processes that are stopped and killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from held_network import Holds

from lbadvisor.records.run import RunStatus

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
SHORT = ("ladder", DIGITS, "--to", "256", "--schedule-scale", "0.2", "--seeds", "2")
LONG = (
    *("--to", "1024", "--schedule-scale", "100", "--arms", "sb,lb", "--seeds", "1", "--jobs", "2"),
    *("--set", "measurements.every_updates=1"),
)
"""A run of 40,531 updates, and one of 1,267."""


def bits(place, names):
    """The bytes of every tensor of the last weights, by run."""
    weights = {name: place.weights(name) for name in names}
    return {name: {key: value.numpy().tobytes() for key, value in own.items()} for name, own in weights.items()}


def stored(place, name):
    place.database = place.folder / name
    return {run.name: run for run in place.runs()}


def test_a_ladder_by_two_jobs_has_the_same_table_and_bits_as_in_turn(place):
    code, turn, err = place.run(*SHORT, "--db", "turn.db")
    assert code == 0, err
    code, jobs, err = place.run(*SHORT, "--db", "jobs.db", "--jobs", "2", "--threads", "1")
    assert code == 0, err
    assert jobs == turn
    assert "2 jobs at once: cpu (2)" in err
    # Each run's lines are told apart, and each is told of once.
    assert {"sb s0", "ra s1"} <= set(re.findall(r"^(\w+ s\d): update \d+/", err, flags=re.M))
    assert re.findall(r"^ ?(\d+)/10 ", err, flags=re.M) == [str(count) for count in range(1, 11)]
    names = stored(place, "turn.db").keys()
    assert stored(place, "jobs.db").keys() == names
    # What the first job trains, the second does not.
    assert {run.resumes for run in place.runs()} == {0}
    by_jobs = bits(place, names)
    stored(place, "turn.db")
    assert by_jobs == bits(place, names)

    for form in ("--csv", "--md"):
        assert place.run(*SHORT, "--db", "turn.db", form)[1] == place.run(*SHORT, "--db", "jobs.db", form)[1]


LADDERS = {
    "a sweep": (("--to", "64,256", "--arms", "sb,ra"), 6, "Error and gap against the batch size"),
    "by distance": (("--to", "256", "--arms", "sb,distance"), 4, "By weight distance, distance made"),
}


@pytest.mark.parametrize(("words", "runs", "told"), LADDERS.values(), ids=LADDERS.keys())
def test_a_ladder_whose_runs_depend_on_one_another_is_the_same_by_two_jobs(place, words, runs, told):
    """The baseline's runs are shared by all target batch sizes; the arm by distance follows the first of them."""
    ladder = ("ladder", DIGITS, *words, "--schedule-scale", "0.2", "--seeds", "2", "--threads", "1")
    code, turn, err = place.run(*ladder, "--db", "turn.db")
    assert code == 0, err
    code, jobs, err = place.run(*ladder, "--db", "jobs.db", "--jobs", "2")
    assert code == 0, err
    assert jobs == turn
    assert told in jobs
    names = stored(place, "turn.db").keys()
    assert len(names) == runs
    in_turn = bits(place, names)
    assert stored(place, "jobs.db").keys() == names
    assert {run.resumes for run in place.runs()} == {0}
    assert bits(place, names) == in_turn


def children(pid):
    """The processes that a process started and that still run."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                status = (folder / "status").read_text()
                words = (folder / "cmdline").read_text()
            except OSError:
                continue
            if f"\nPPid:\t{pid}\n" in status and "spawn_main" in words:
                found.append(int(folder.name))
    return found


def wait_until(condition, what):
    latest = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < latest, what
        time.sleep(0.02)


def is_gone(pid):
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def runs_of(place):
    """Those of LONG: the long one, the short one."""
    return sorted(place.runs(), key=lambda run: -run.updates)


def test_jobs_that_are_stopped_or_killed_save_and_another_one_resumes_their_runs(place):
    """Ctrl-C to all of them; SIGKILL of the command; SIGKILL of one job, and then SIGTERM to the command alone."""
    holds = Holds(place.folder, 32, 1024)
    words = ("ladder", str(holds.recipe), *LONG)
    # As in a terminal, where Ctrl-C reaches the whole group.
    command = subprocess.Popen(
        [sys.executable, "-m", "lbadvisor", *words], stdout=-1, stderr=-1, text=True, start_new_session=True
    )
    wait_until(holds.are_held, "two jobs never trained at the same time")
    os.killpg(command.pid, signal.SIGINT)
    holds.release()
    out, err = command.communicate(timeout=300)
    assert (command.returncode, out) == (75, ""), err
    assert "Traceback" not in err
    long, short = runs_of(place)
    saved = ", ".join(f"{run.name} at update {run.update} of {run.updates}" for run in (long, short))
    assert f"SIGINT: saved {saved}; 0 of 2 runs are done; the same command resumes from there" in err
    assert {run.status for run in place.runs()} == {RunStatus.STOPPED}

    holds.hold()
    command = place.start(*words)
    wait_until(holds.are_held, "two jobs never trained at the same time")
    jobs = children(command.pid)
    command.kill()
    command.wait(300)
    holds.release()
    wait_until(lambda: all(map(is_gone, jobs)), "a job trained on without its command")
    assert {run.status for run in place.runs()} == {RunStatus.STOPPED}  # not killed: saved

    holds.hold()
    command = place.start(*words)
    wait_until(holds.are_held, "two jobs never trained at the same time")
    os.kill(min(children(command.pid)), signal.SIGKILL)  # the first job, which trains the first run
    holds.release(1024)
    wait_until(lambda: [run.resumes for run in runs_of(place)] == [3, 2], "the other job did not take the run over")
    command.send_signal(signal.SIGTERM)
    holds.release(32)
    out, err = command.communicate(timeout=300)
    assert (command.returncode, out) == (75, ""), err
    long, short = runs_of(place)
    assert (long.status, short.status) == (RunStatus.STOPPED, RunStatus.COMPLETE)
    assert f"job 1: its process was killed by SIGKILL; another job resumes {long.name} from its last checkpoint" in err
    assert f"SIGTERM: saved {long.name} at update {long.update} of {long.updates}; 1 of 2 runs are done" in err


FAILS = """
from pathlib import Path
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers, self.calls = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)), 0

    def forward(self, x):
        self.calls += 1
        if self.training and len(x) == 128 and self.calls > 5 and Path("fail").exists():
            raise ValueError("no more of 128")
        return self.layers(x)
"""


def failing_recipe(place):
    (place.folder / "fails.py").write_text(FAILS)
    (place.folder / "fail").touch()
    text = Path(DIGITS).read_text().replace('name = "digits_mlp"', 'factory = "fails:Net"\nbatch_norm = false #')
    (place.folder / "own.toml").write_text(text)
    return ("ladder", "own.toml", "--to", "128", "--schedule-scale", "0.2", "--arms", "sb,lb", "--seeds", "2")


@pytest.mark.parametrize("jobs", [(), ("--jobs", "2")], ids=["in turn", "two jobs"])
def test_a_run_that_fails_is_told_and_the_others_are_trained(place, jobs):
    """And it is not tried again by the other job, but by the same command later."""
    words = failing_recipe(place)
    code, out, err = place.run(*words, *jobs)
    assert (code, out) == (1, ""), err
    said = "the network of fails:Net failed: ValueError: no more of 128"
    assert [err.count(f"failed lb s{seed}: {said}") for seed in (0, 1)] == [1, 1]
    end = err[err.index("error: ") :].splitlines()
    assert end[0] == "error: 2 runs failed; the same command tries again:"
    assert set(re.findall(r"digits-128-ladder-lb-s\d", end[1])) == {f"digits-128-ladder-lb-s{seed}" for seed in (0, 1)}
    assert said in end[1]
    runs = {run.name: (run.status.value, run.resumes) for run in place.runs()}
    assert {name: status for name, (status, _) in runs.items()} == {
        f"digits-128-ladder-{arm}-s{seed}": "failed" if arm == "lb" else "complete"
        for arm in ("sb", "lb")
        for seed in (0, 1)
    }
    assert {resumes for _, resumes in runs.values()} == {0}
    if jobs:
        assert "Traceback" not in err
        return
    (place.folder / "fail").unlink()
    code, out, err = place.run(*words)
    assert code == 0, err
    assert {run.status for run in place.runs()} == {RunStatus.COMPLETE}


def test_a_run_that_fails_before_it_is_stored_is_told_once(place):
    """Without batch norm there are no ghost batches; only the network itself says that it has none."""
    words = failing_recipe(place)
    recipe = place.folder / "own.toml"
    recipe.write_text(recipe.read_text().replace("batch_norm = false #", "#"))
    code, out, err = place.run(*words, "--to", "256", "--arms", "sb,gbn", "--seeds", "1", "--quiet")
    assert (code, out) == (1, "")
    assert err.startswith("error: 1 run failed; the same command tries again:\n  digits-256-ladder-gbn-s0: ")
    assert "ghost batches have no effect" in err
    assert [(run.name, run.status) for run in place.runs()] == [("digits-256-ladder-sb-s0", RunStatus.COMPLETE)]


def test_a_refinement_by_two_jobs_has_as_many_trials_and_measures_the_test_set_once(place):
    words = ("refine", DIGITS, "--to", "256", "--schedule-scale", "0.1", "--trials", "4")
    code, out, err = place.run(*words, "--jobs", "2", "--json")
    assert code == 0, err
    trials = json.loads(out)["trials"]
    assert [trial["number"] for trial in trials] == [0, 1, 2, 3]
    assert sorted(trial["point"][0] for trial in trials[:3]) == [0.0, 0.5, 1.0]
    assert len({trial["point"][0] for trial in trials}) == 4
    assert "2 jobs at once: cpu (2)" in err
    assert re.search(r"^trial \d s0: update \d+/", err, flags=re.M)
    assert sorted(re.findall(r"^trial (\d): error", err, flags=re.M)) == list("0123")
    runs = place.runs()
    assert {run.status for run in runs} == {RunStatus.COMPLETE}
    assert 1 <= sum(run.test_accuracy_percent is not None for run in runs) <= 2
    # Nothing is left to do: no job is started.
    code, again, err = place.run(*words, "--jobs", "2", "--json")
    assert (code, again) == (0, out), err
    assert "jobs at once" not in err


def test_trials_that_two_jobs_stop_early_are_told_as_such(place):
    """Which ones are stopped depends on what has ended by then, but not how many there are, or that all have an end."""
    words = ("refine", DIGITS, "--to", "256", "--schedule-scale", "0.2", "--trials", "6", "--prune", "--metric", "loss")
    words += ("--range", "-2", "2", "--set", "measurements.evaluate_every_updates=4")
    code, out, err = place.run(*words, "--jobs", "2", "--json")
    assert code == 0, err
    trials = json.loads(out)["trials"]
    assert [trial["number"] for trial in trials] == list(range(6))
    pruned = {name: trial["outcome"]["pruned"] for trial in trials for name in trial["outcome"]["runs"]}
    # Three must be complete before one is stopped; of the others, the exponents -2 and 2 are hopeless.
    assert 1 <= sum(pruned.values()) <= 3
    assert {run.name: run.status is RunStatus.STOPPED for run in place.runs()} == pruned
    assert len(re.findall(r"^trial \d: loss \S+, stopped early$", err, flags=re.M)) == sum(pruned.values())
    assert place.run(*words, "--jobs", "2", "--json")[:2] == (0, out)


def test_a_dry_run_says_how_the_work_is_divided(place):
    words = ("ladder", DIGITS, "--to", "256", "--arms", "sb,lb", "--seeds", "2", "--dry-run")
    assert "would train 4 of 4 runs on cpu, data" in place.run(*words)[1]
    assert "would train 4 of 4 runs on 3 jobs at once: cpu (3)" in place.run(*words, "--jobs", "3")[1]
    # There is no run for the others.
    assert "would train 4 of 4 runs on 4 jobs at once: cpu (4)" in place.run(*words, "--jobs", "50")[1]
    out = place.run("refine", DIGITS, "--to", "256", "--dry-run", "--jobs", "2")[1]
    assert " on 2 jobs at once: cpu (2)" in out
    out = place.run("stretch", DIGITS, "--to", "256", "--dry-run", "--jobs", "2")[1]
    assert " on 2 jobs at once: cpu (2)" in out
    assert list(place.folder.iterdir()) == []


def test_jobs_without_a_run_are_not_started(place):
    words = ("ladder", DIGITS, "--to", "256", "--schedule-scale", "0.1", "--seeds", "1")
    assert place.run(*words, "--arms", "sb,lb")[0] == 0
    code, _, err = place.run(*words, "--arms", "sb,lb,lr", "--jobs", "8")
    assert code == 0, err
    assert "note 7 of 8 jobs are not started: there is no run for them" in err
    assert [run.status for run in place.runs()] == [RunStatus.COMPLETE] * 3


WRONG = {
    "no job": (("--jobs", "0"), "'--jobs': 0 is not in the range"),
    "a device that is not there": (("--devices", "cpu,cuda:7"), "this machine has no"),
    "an unknown device": (("--devices", "cpu,tpu"), "unknown device `tpu`"),
    "a device twice": (("--devices", "cpu,cpu"), "cpu is named twice: name it once, and give --jobs N"),
    "a device and devices": (("--device", "cpu", "--devices", "cpu"), "cannot be combined with --devices"),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("command", ["ladder", "refine", "stretch"])
def test_a_wrong_number_of_jobs_or_device_is_refused(place, command, words, said):
    code, out, err = place.run(command, DIGITS, "--to", "256", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert list(place.folder.iterdir()) == []


def test_fewer_jobs_than_devices_are_refused(place, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    words = ("ladder", DIGITS, "--to", "256", "--dry-run")
    code, _, err = place.run(*words, "--devices", "cuda:0,cuda:2", "--jobs", "1")
    assert code == 2
    assert "--jobs 1 leaves some of the 2 devices without work: give --jobs 2 or more, or name fewer devices" in err
    assert "on 2 jobs at once: cuda:0 (1), cuda:2 (1), data" in place.run(*words, "--devices", "cuda:0,cuda:2")[1]
    # More jobs than devices, which take turns; and all GPUs if none is named.
    three = place.run(*words, "--devices", "cuda,cuda:1", "--jobs", "3")[1]
    assert "on 3 jobs at once: cuda:0 (2), cuda:1 (1), data" in three
    assert "on 2 jobs at once: cuda:0 (1), cuda:1 (1), data" in place.run(*words, "--jobs", "2")[1]
    assert "on 5 jobs at once: cuda:0 (2), cuda:1 (2), cuda:2 (1), data" in place.run(*words, "--jobs", "5")[1]
    assert "on 2 jobs at once: cuda:1 (2), data" in place.run(*words, "--jobs", "2", "--device", "cuda:1")[1]
