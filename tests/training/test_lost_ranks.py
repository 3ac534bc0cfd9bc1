"""Ranks that die, hang, fail or are stopped: real processes and signals.

One killed rank and one start; ten and 50 with `pytest -s -n0 tests/training/test_lost_ranks.py --kills 100`.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import astuple, replace
from pathlib import Path

import pytest
from ranks_of import ranks_under, run_on, saved, started, under_torchrun, update_of_run, wait_until
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from lbadvisor.cli.app import main
from lbadvisor.errors import UsageError
from lbadvisor.records.run import Guarantee, RunStatus
from lbadvisor.runs.on_ranks import places_here
from lbadvisor.store import Store
from lbadvisor.training.ranks import joined

RECIPES_README = Path(__file__).parents[2] / "recipes" / "README.md"
RECIPE = str(RECIPES_README.with_name("digits.toml"))
WORDS = ("train", RECIPE, "--to", "256", "--name", "a", "--set", "checkpoints.every_seconds=1e-9")
LONG = (*WORDS, "--schedule-scale", "1000", "--set", "measurements.every_updates=5")
"""Minutes."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds torchrun's processes in /proc")


def bits(database):
    """The bytes of all that moves, and all that was measured but for its seconds."""
    content, measured = saved(database, "a")
    optimizer = content["optimizer"]["state"]
    tensors = content["model"] | {f"{n}.{k}": v for n, kept in optimizer.items() for k, v in kept.items()}
    rows = [astuple(replace(m, seconds=0.0)) for m in measured]
    return {name: (tensor.dtype, tensor.numpy().tobytes()) for name, tensor in tensors.items()}, rows


def run_in(database):
    with Store.open(database, create=False) as store:
        return store.run("a")


def test_a_run_whose_rank_is_killed_ends_as_one_that_was_not(tmp_path, request, forked):
    """Torchrun starts all ranks again, and they resume from the last checkpoint: nothing is lost or doubled."""
    draws, straight = random.Random(0), tmp_path / "straight.db"
    words = (*WORDS, "--quiet", "--schedule-scale", "2", "--set", "measurements.every_updates=9")
    processes = [forked(*words, "--db", str(straight), environment=place) for place in places_here(2)]
    assert [process.wait(300) for process in processes] == [0, 0]
    expected, updates = bits(straight), run_in(straight).updates
    for kill in range(max(1, request.config.getoption("--kills") // 10)):
        database, victim, least = tmp_path / f"{kill}.db", draws.randrange(2), draws.randrange(updates * 3 // 4)
        with under_torchrun(2, *words, "--db", str(database), restarts=3) as process:
            wait_until(lambda database=database, least=least: update_of_run(database, "a") > least)
            # Measurements are stored once a second.
            time.sleep(draws.uniform(0, 1))
            at, pids = update_of_run(database, "a"), ranks_under(process)
            # A run that is not complete while one of its ranks is stopped needs that one.
            is_needed = False
            if victim in pids:
                os.kill(pids[victim], signal.SIGSTOP)
                is_needed = run_in(database).status is RunStatus.RUNNING
                os.kill(pids[victim], signal.SIGKILL if is_needed else signal.SIGCONT)
            _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        # torchrun tells of one only, and may have met the rank that lost the other before that.
        assert ("failed (exitcode: " in err) == is_needed
        run = run_in(database)
        assert (run.status, run.guarantee) == (RunStatus.COMPLETE, Guarantee.BIT_EXACT)
        assert bits(database) == expected
        print(f"rank {victim} killed at update {at} or later of {updates}: the same bits")  # noqa: T201


@pytest.mark.parametrize(("sent", "victim"), [(signal.SIGKILL, 1), (signal.SIGSTOP, 0)])
def test_the_others_say_which_rank_they_lost(sent, victim, tmp_path, monkeypatch, forked):
    """At once if it ended, and after the time that is set if it hangs: in a line."""
    if sent == signal.SIGSTOP:
        monkeypatch.setenv("LBADVISOR_RANK_TIMEOUT", "8")
    database, left = tmp_path / "runs.db", 1 - victim
    words = (*LONG, "--db", str(database))
    processes = [forked(*words, environment=place, held_at=20) for place in places_here(2)]
    processes[0].wait_until_held()  # the other one does what it does
    processes[victim].send_signal(sent)
    if sent == signal.SIGKILL:
        processes[0].go_on()
    out, err = processes[left].communicate(timeout=300)
    processes[victim].kill()
    processes[victim].wait(300)
    how = "ended or does not answer" if sent == signal.SIGKILL else "did not answer for 8 s"
    assert (processes[left].returncode, out) == (1, "")
    assert err.splitlines()[-1] == (
        f"error: rank {left} of 2 lost rank {victim}, which {how}: see what it said; the same command resumes the run "
        "from its last checkpoint"
    )
    assert "Traceback" not in err
    # Rank 0 notes what it met; if rank 0 is lost itself, no process trains the run, and its lock is free.
    run = run_in(database)
    assert run.status is (RunStatus.FAILED if left == 0 else RunStatus.INTERRUPTED)
    if left == 0:
        assert "lost rank 1" in run.ended_because


HANGS = """
import os, time
from lbadvisor.cli.app import main
from lbadvisor.training.batch_gradients import BatchGradients
add = BatchGradients.add
def adding(self, batch):
    if os.environ["RANK"] == "1" and self._state.update == 5:
        time.sleep(1000)
    return add(self, batch)
BatchGradients.add = adding
main()
"""


def test_a_rank_that_hangs_before_its_backward_pass_is_named(tmp_path, monkeypatch):
    """The others have sent their gradients, and it sends none."""
    monkeypatch.setenv("LBADVISOR_RANK_TIMEOUT", "6")
    with started(2, *LONG, "--db", str(tmp_path / "runs.db"), program=("-c", HANGS)) as processes:
        _, err = processes[0].communicate(timeout=300)
        assert processes[0].returncode == 1
        assert err.splitlines()[-1] == (
            "error: rank 0 of 2 lost rank 1, which did not answer for 6 s: see what it said; the same command resumes "
            "the run from its last checkpoint"
        )
        processes[1].kill()


DECIDES = """
import os, signal, sys, time
from lbadvisor.errors import RankError
from lbadvisor.training.ranks import joined
def decide():
    with joined() as ranks:
        ranks.wait()
        if ranks.is_first:
            time.sleep(6) if sys.argv[1] == "busy" else os.kill(os.getpid(), signal.SIGSTOP)
        print(ranks.decided(ranks.is_first))
        ranks.wait()
try:
    decide()
except RankError as error:
    print(error)
"""


@pytest.mark.parametrize("rank_0", ["busy", "stopped"])
def test_a_rank_0_that_is_busy_before_it_decides_is_waited_for_and_one_that_is_stopped_is_not(rank_0, monkeypatch):
    """Busy for longer than a rank waits for another, which is long enough for both to begin on a loaded machine."""
    monkeypatch.setenv("LBADVISOR_RANK_TIMEOUT", "4")
    with started(2, rank_0, program=("-c", DECIDES)) as processes:
        said, _ = processes[1].communicate(timeout=300)
    assert (said == "True\n") if rank_0 == "busy" else ("lost rank 0, which did not answer for 4 s" in said), said


def test_a_signal_to_torchrun_saves(tmp_path):
    database = tmp_path / "runs.db"
    with under_torchrun(2, *LONG, "--db", str(database), restarts=3) as process:
        wait_until(lambda: update_of_run(database, "a") > 0)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=300)
    # torchrun's own code, whatever its ranks' is.
    assert process.returncode == 1
    run = run_in(database)
    assert f"SIGTERM: saved a at update {run.update} of {run.updates}" in err
    assert (run.status, "exitcode" in err) == (RunStatus.STOPPED, False)


SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
for rank in 0 1; do SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" & ranks+=($!); done
echo "${ranks[@]}" > ranks
for rank in "${ranks[@]}"; do wait $rank; code=$?; [ $code -gt ${worst:-0} ] && worst=$code; done
exit ${worst:-0}
"""
SCONTROL = """#!/bin/bash
[ "$1" = show ] && echo 127.0.0.1 || echo "$@" > requeued
"""


def test_the_script_for_slurm_requeues_a_run_that_was_stopped(tmp_path):
    """As written in recipes/README.md, with stand-ins for what Slurm brings."""
    (script,) = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", RECIPES_README.read_text(), flags=re.S)
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("job", script)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "recipes").symlink_to(RECIPES_README.parent)
    given = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "one", "SLURM_NTASKS": "2"}
    given |= {"SLURM_NTASKS_PER_NODE": "2", "SLURM_CPUS_PER_TASK": "1", "LBADVISOR_DB": str(tmp_path / "runs.db")}
    given |= {"PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    job = tmp_path / "job"
    # Long enough to be stopped.
    job.write_text(script.replace("--to 256", "--to 256 --schedule-scale 1000 --set measurements.every_updates=5"))
    with subprocess.Popen([job], cwd=tmp_path, env=os.environ | given, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: update_of_run(tmp_path / "runs.db", "digits") > 0)
        for rank in (tmp_path / "ranks").read_text().split():
            os.kill(int(rank), signal.SIGUSR1)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 75, err
    assert (tmp_path / "requeued").read_text() == f"requeue {os.getpid()}\n"
    assert "SIGUSR1: saved digits at update" in err


def test_starts_end_cleanly(tmp_path, request):
    """A plain script with DistributedDataParallel aborts in one of some ten: `terminate called without ...`."""
    kills = request.config.getoption("--kills")
    for start in range(1 if kills <= 10 else kills // 2):
        short = (*WORDS, "--schedule-scale", "0.02", "--db", str(tmp_path / f"{start}.db"))
        assert [(code, err) for code, _, err in run_on(2, *short)][1] == (0, "")


def test_rank_0_alone_speaks(forked):
    """Of a command that trains nothing, and of one that is refused."""

    def told(*words):
        processes = [forked(*words, environment=place) for place in places_here(2)]
        spoken = [process.communicate(timeout=300) for process in processes]
        return [(process.returncode, *said) for process, said in zip(processes, spoken, strict=True)]

    (code, out, _), other = told("plan", "--from", "128", "--to", "4096", "--json")
    assert (code, json.loads(out)["batch_ratio"], other) == (0, 32, (0, "", ""))
    (code, out, err), other = told("plan", "--from", "128")
    assert (code, out, other) == (2, "", (1, "", ""))
    assert err.startswith("error: ")


@pytest.mark.parametrize("text", ["", "0", "2.5", "-1", "ten", "9" * 5000])
def test_a_wrong_timeout_is_named(text, monkeypatch):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LBADVISOR_RANK_TIMEOUT", text)):
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"LBADVISOR_RANK_TIMEOUT={text[:40]}: give whole seconds"), joined():
        pass


def test_without_a_launcher_what_is_missing_is_named(monkeypatch):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="but not MASTER_ADDR and MASTER_PORT"), joined():
        pass


def test_torchrun_is_told_why_a_rank_failed(tmp_path, monkeypatch, capsys):
    """Its report, which is longer than the message and comes after it, shows it."""
    file = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
    monkeypatch.setattr(sys, "argv", ["lbadvisor", "plan", "--from", "128"])
    with pytest.raises(SystemExit) as end:
        main()
    found = ProcessFailure(local_rank=0, pid=1, exitcode=end.value.code, error_file=str(file))
    assert f"error: {found.message['message']}\n" == capsys.readouterr().err
    assert found.timestamp <= time.time()
