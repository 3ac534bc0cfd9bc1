"""A short real run, killed (SIGKILL) at random moments and resumed, ends as one that was not killed.

Ten killed runs in the suite, a hundred with `pytest -s tests/runs/test_kills.py --kills 100`.
"""

import random
import signal
import time
from collections import Counter
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
    *("train", DIGITS, "--to", "128", "--schedule-scale", "0.25", "--quiet", "--name", "a"),
    *("--set", "measurements.every_updates=3", "--set", "measurements.evaluate_every_updates=10"),
    # The first drop comes early, at update 14 of 51.
    *("--set", "schedule.milestones[0].distance=2.5", "--set", "schedule.distance_every_updates=7"),
    *("--measure", "layers,noise", "--set", "weight_ema.decay=0.9", "--set", "checkpoints.every_seconds=1e-9"),
)
BEFORE, WITHIN, AFTER = "before its first checkpoint", "while it wrote one", "else"
"""When a kill came, by what it left in the run's folder."""
LEFT = {BEFORE: "checkpoints/runs/*", WITHIN: "checkpoints/runs/*/.*.part", AFTER: "checkpoints/runs/*/*.ckpt"}
"""What comes, in the folder of the run's database, when each moment begins."""


def ended(process):
    _, err = process.communicate(timeout=300)
    assert process.returncode in (0, -signal.SIGKILL), err
    return process.returncode


def result(folder):
    """The run, its rows but for their seconds, its readings, and the bytes of what moves in its last checkpoint."""
    database = folder / "runs.db"
    with Store.open(database, create=False) as store:
        run = store.run("a")
        rows = [astuple(replace(m, seconds=0.0)) for m in store.measurements(run.number)]
        readings = store.readings(run.number)
    content = read_content(checkpoints(checkpoint_folder(database, run))[0], torch.device("cpu"))[1]
    optimizer = content["optimizer"]["state"]
    tensors = content["model"] | {f"{n}.{k}": v for n, kept in optimizer.items() for k, v in kept.items()}
    tensors |= {f"average {i}": tensor for i, tensor in enumerate(content["averages"])}
    tensors["interval"] = content["interval"]
    return run, (rows, readings), {name: (tensor.dtype, tensor.numpy().tobytes()) for name, tensor in tensors.items()}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_run_killed_at_any_moment_ends_as_one_that_was_not(tmp_path, device, request, monkeypatch, forked):
    """Also if the kill came while it started, measured, evaluated or wrote a checkpoint: each of them does come."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    monkeypatch.delenv("LBADVISOR_DB", raising=False)
    draws, kills = random.Random(0), request.config.getoption("--kills")

    def started(folder):
        # Half of the time it saves, instead of a hundredth: so kills fall into that. Two threads add in no fixed order,
        # unless they are made to.
        words = (*WORDS, "--device", device, "--db", str(folder / "runs.db"))
        return forked(*words, saving_share=0.5, threads=2)

    def killed(folder, *aims):
        """When the run's process was killed, None if it ended before: at any moment, or at the one that was drawn."""
        aim = draws.choice(("any", *aims))
        files = LEFT.get(aim, "")
        there = set(folder.glob(files)) if files else set()
        process = started(folder)
        while process.poll() is None:
            begun = set(folder.glob(files)) - there if files else set()
            if begun or not files:
                time.sleep(draws.uniform(0, {"any": duration, AFTER: training_seconds}.get(aim, 0.002)))
                process.send_signal(signal.SIGSTOP)
                if aim != WITHIN or any(file.exists() for file in begun):
                    break
                process.send_signal(signal.SIGCONT)  # it had written it by then: let it write another one
            time.sleep(0.0005)
        process.kill()
        if ended(process) == 0:
            return None
        if any(folder.glob(LEFT[WITHIN].replace("*.part", f"*.{process.pid}.part"))):
            return WITHIN
        return AFTER if any(folder.glob(LEFT[AFTER])) else BEFORE

    # The first process also starts the one that forks.
    assert ended(started(tmp_path / "first")) == 0
    began = time.monotonic()
    assert ended(started(tmp_path / "straight")) == 0
    duration = time.monotonic() - began
    straight, expected_rows, expected = result(tmp_path / "straight")
    measured = [u for u in range(1, straight.updates + 1) if u % 3 == 0 or u % 10 == 0 or u == straight.updates]
    assert [row[0] for row in expected_rows[0]] == measured
    assert straight.updates == straight.recipe.schedule.updates - 37
    assert [one.update for one in expected_rows[1] if one.part == "linear 1"] == [u for u in measured for _ in range(2)]
    with Store.open(tmp_path / "straight" / "runs.db", create=False) as store:
        training_seconds = store.measurements(straight.number)[-1].seconds

    met, tries, resumed = Counter({BEFORE: 0, WITHIN: 0, AFTER: 0}), 0, 0
    while resumed < kills or not all(met.values()):
        folder, tries = tmp_path / f"killed{tries}", tries + 1
        assert tries < 10 * kills, met
        moment = killed(folder, BEFORE, WITHIN, AFTER, AFTER)
        resumed += moment is not None
        while moment is not None:
            met[moment] += 1
            # One in three is killed again.
            moment = killed(folder, WITHIN, AFTER) if draws.random() < 1 / 3 else None
        assert ended(started(folder)) == 0
        run, rows, tensors = result(folder)
        assert (run.status, run.update, run.guarantee) == (RunStatus.COMPLETE, run.updates, Guarantee.BIT_EXACT)
        assert rows == expected_rows
        assert tensors == expected
        assert not any(folder.glob(LEFT[WITHIN]))
    print(f"{resumed} killed runs on {device}, {met.total()} kills: {dict(met)}")  # noqa: T201
