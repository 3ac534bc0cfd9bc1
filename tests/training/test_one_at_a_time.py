"""What several processes of a machine need, one makes; the others wait, and find it made."""

import subprocess
import sys
import threading

import pytest

from lbadvisor.errors import DataError
from lbadvisor.training.data.dataset import Preparing
from lbadvisor.training.data.one_at_a_time import one_at_a_time

PACKS = """
import sys
from pathlib import Path

import torch

from lbadvisor.training.data.preparation import preparing
from lbadvisor.recipe.recipe import Recipe

recipe = Recipe.model_validate({
    "schema": 1, "name": "r", "data": {"name": "insects", "train_examples": 300}, "model": {"name": "f1"},
    "batch": {"size": 10}, "optimizer": {"name": "sgd", "lr": 0.1}, "schedule": {"updates": 1},
})
print("ready", flush=True)
sys.stdin.readline()
seen = preparing(recipe, Path(sys.argv[1]), torch.device("cpu"), workers=1)
packing = set()
while True:
    try:
        task = next(seen).task
        packing |= {task} if task.startswith("packing") else set()
    except StopIteration as end:
        images, _ = end.value.training_batch(recipe, 0, 0)
        break
print(float(images.sum()), *sorted(packing), sep="|", flush=True)
"""


def test_several_processes_pack_a_set_once(tmp_path, monkeypatch):
    """They begin at one moment; each split is packed by one of them, and all read the same."""
    import numpy as np
    from PIL import Image

    draws = np.random.default_rng(0)
    for split, count in (("train", 150), ("test", 5)):
        for name in ("ant", "bee"):
            folder = tmp_path / "data" / "insects" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(draws.integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(folder / f"{number:03}.png")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    command = [sys.executable, "-c", PACKS, str(tmp_path / "data")]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    said = []
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        said.append(process.communicate(timeout=300)[0])
    found = [line.strip().split("|") for line in said]
    assert len({total for total, *_ in found}) == 1
    assert sorted(task for _, *tasks in found for task in tasks) == ["packing insects/test", "packing insects/train"]
    kept = sorted((tmp_path / "cache" / "lbadvisor" / "packed").iterdir())
    assert [file.suffix for file in kept] == [".pt", ".pt"]


def making(made, turns):
    yield Preparing("making", 0)
    while turns.acquire(blocking=False):
        yield Preparing("making", 1)
    made.append(1)
    return len(made)


def result(generator):
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def test_who_waits_says_so_and_can_be_stopped(tmp_path):
    """Another thread holds it, with a lock of its own, until it has made it."""
    made, turns, begun, go_on = [], threading.Semaphore(0), threading.Event(), threading.Event()

    def hold():
        first = one_at_a_time(tmp_path / "lock", "packing it", lambda: making(made, turns))
        next(first)
        begun.set()
        go_on.wait(300)
        result(first)

    holder = threading.Thread(target=hold)
    holder.start()
    assert begun.wait(300)
    second = one_at_a_time(tmp_path / "lock", "packing it", lambda: making(made, turns))
    assert next(second) == Preparing("waiting for another process: packing it")
    second.close()
    third = one_at_a_time(tmp_path / "lock", "packing it", lambda: making(made, turns))
    next(third)
    go_on.set()
    assert result(third) == 2
    holder.join()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_locked_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"packing it: the file .*file/lock cannot be written \(.*\): get write"):
        result(one_at_a_time(tmp_path / "file" / "lock", "packing it", lambda: making([], threading.Semaphore(0))))
