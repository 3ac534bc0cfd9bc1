"""A short real run, killed (SIGKILL) at random moments and gone on with, ends as the one that was not killed.

Ten killed runs in the suite, a hundred with `pytest -s tests/runs/test_kills.py --kills 100`.
"""

import random
import signal
import time
from dataclasses import astuple, replace
from pathlib import Path

import pytest
import torch

from lbadvisor.records.run import Guarantee, RunStatus
from lbadvisor.store import Store
from lbadvisor.store.run_folder import checkpoint_folder
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints
from lbadvisor.training.checkpoints.content import read_content

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
WORDS = (
    *("train", DIGITS, "--to", "128", "--schedule-scale", "0.75", "--quiet"),
    *("--set", "measurements.every_updates=3", "--set", "measurements.evaluate_every_updates=10"),
    *("--set", "weight_ema.decay=0.9", "--set", "checkpoints.every_seconds=1e-9"),
)


def ended(process):
    process.join(120)
    code = process.exitcode
    process.kill()
    process.close()
    return code


def result(database, name):
    """The run, its rows but for their seconds, and the bytes of everything that moves in its last checkpoint."""
    with Store.open(database, create=False) as store:
        run = store.run(name)
        rows = [astuple(replace(m, seconds=0.0)) for m in store.measurements(run.number)]
    content = read_content(checkpoints(checkpoint_folder(database, run))[0], torch.device("cpu"))[1]
    optimizer = content["optimizer"]["state"]
    tensors = content["model"] | {f"{n}.{k}": v for n, kept in optimizer.items() for k, v in kept.items()}
    tensors |= {f"average {i}": tensor for i, tensor in enumerate(content["averages"])}
    tensors["interval"] = content["interval"]
    return run, rows, {name: (tensor.dtype, tensor.numpy().tobytes()) for name, tensor in tensors.items()}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_run_killed_at_any_moment_ends_as_one_that_was_not(tmp_path, device, request, monkeypatch, forked):
    """Also where the kill came while it started, measured, evaluated or wrote a checkpoint."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    monkeypatch.delenv("LBADVISOR_DB", raising=False)
    database, draws, kills = tmp_path / "runs.db", random.Random(0), request.config.getoption("--kills")

    def started(name):
        # Half of the time it saves, instead of a hundredth: so kills fall into that.
        return forked(*WORDS, "--device", device, "--db", str(database), "--name", name, saving_share=0.5)

    # The first process also starts the one that forks.
    assert ended(started("first")) == 0
    began = time.monotonic()
    assert ended(started("straight")) == 0
    duration = time.monotonic() - began
    straight, expected_rows, expected = result(database, "straight")
    measured = [u for u in range(1, straight.updates + 1) if u % 3 == 0 or u % 10 == 0 or u == straight.updates]
    assert [row[0] for row in expected_rows] == measured
    with Store.open(database, create=False) as store:
        expected_seconds = store.measurements(straight.number)[-1].seconds

    met = dict.fromkeys(("before its first checkpoint", "while it wrote one", "else"), 0)
    tries, resumed = 0, 0
    while resumed < kills:
        name, tries = f"killed{tries}", tries + 1
        folder = f"checkpoints/runs/{name}-*"
        killed, again = False, True
        while again:
            process = started(name)
            # One kill in five at any moment of the process, the others once it trains: after the first checkpoint.
            if draws.random() < 0.2:
                process.join(draws.uniform(0, duration))
            else:
                while process.is_alive() and not list(tmp_path.glob(f"{folder}/*.ckpt")):
                    process.join(0.001)
                process.join(draws.uniform(0, expected_seconds))
            process.kill()
            code = ended(process)
            assert code in (0, -signal.SIGKILL)
            if code:
                killed = True
                saved, parts = (list(tmp_path.glob(f"{folder}/{files}")) for files in ("*.ckpt", ".*.part"))
                met["while it wrote one" if parts else "else" if saved else "before its first checkpoint"] += 1
            # One in three is killed again.
            again = code != 0 and draws.random() < 1 / 3
        if killed:
            resumed += 1
            assert ended(started(name)) == 0
        run, rows, tensors = result(database, name)
        assert (run.status, run.update, run.guarantee) == (RunStatus.COMPLETE, run.updates, Guarantee.BIT_EXACT)
        assert rows == expected_rows
        assert tensors == expected
        assert not list(tmp_path.glob(f"{folder}/.*.part"))
    print(f"{resumed} killed runs on {device}, {sum(met.values())} kills: {met}")  # noqa: T201
