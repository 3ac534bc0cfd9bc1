"""How far a training on several ranks is from one process: weights, running statistics, measurements.

    LBADVISOR_DATA=... python tests/benchmarks/ranks.py recipes/mnist_f1.toml --to 4096 [--updates 200] [--shares 4]
    LBADVISOR_DATA=... python tests/benchmarks/ranks.py recipes/resnet44.toml --to 256 --updates 20 --ranks 2 \
        --set data.train_examples=600

Trains the first updates of the adapted recipe on one process of one thread, on ranks of one thread each, and, as a
measure of what rounding alone does, on one process of two threads and, with --micro, in micro-batches. With --shares,
one process and all ranks cut their updates into as many shares, and should have the same bits. Prints
differences relative to the first: the L2 norm of the difference over that of the values, of all weights, of all
momentum, and of the layer whose running statistics are furthest off; and the largest of each measured quantity.
Updates, examples and learning rates are equal, or it fails.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lbadvisor
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training.data.preparation import load_dataset
from lbadvisor.training.loop import train
from lbadvisor.training.machine import Machine
from lbadvisor.training.ranks import ALONE, joined
from lbadvisor.training.state import content_of

Found = dict[str, Any]


def trained(task: dict[str, Any]) -> Found:
    """What the first updates of the task's recipe leave, at some updates and in all measurements."""
    recipe, several = in_updates(Recipe.model_validate(task["recipe"])), "WORLD_SIZE" in os.environ
    with joined() if several else nullcontext(ALONE) as ranks:
        machine = replace(Machine.here("cpu"), threads=task["threads"])
        dataset = load_dataset(recipe, machine.data_dir, machine.device)
        state = machine.start(recipe, task["seed"], dataset)
        state.ranks, state.micro_size = replace(ranks, cut_into=task["shares"]), task["micro"]
        if task["double"]:
            state.model.double().register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
            state.initial = [weight.double() for weight in state.initial]
        kept, measured = {}, []
        for update, news in enumerate(islice(train(state, dataset), task["updates"]), start=1):
            if news is not None:
                one = news.measurement
                measured.append((one.update, one.examples, one.lr, one.loss, one.gradient_norm, one.weight_distance))
            if update in task["looks"]:
                content = content_of(state)
                momenta = [s["momentum_buffer"].clone() for s in content["optimizer"]["state"].values()]
                kept[update] = ({name: t.clone() for name, t in content["model"].items()}, momenta)
        del state
        return {"kept": kept, "measured": measured, "is_first": ranks.is_first}


def run(task: dict[str, Any], ranks: int) -> Found:
    """What the processes of the task find."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        out, processes = Path(folder, "found.pt"), []
        for rank in range(ranks):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
            place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            environment = os.environ | ({name: str(value) for name, value in place.items()} if ranks > 1 else {})
            words = [sys.executable, __file__, "--task", json.dumps(task), "--out", str(out)]
            processes.append(subprocess.Popen(words, env=environment))
        codes = [process.wait() for process in processes]
        if any(codes):
            raise SystemExit("a process failed")
        return torch.load(out, weights_only=True)


def differences(one: Found, other: Found) -> list[str]:
    """A line for each update at which the states were kept, and one for the measurements."""
    lines = []
    for update, (model, momenta) in one["kept"].items():
        found_model, found_momenta = other["kept"][update]
        running = [name for name in model if "running" in name]
        weights = [name for name in model if model[name].is_floating_point() and name not in running]
        both = [(torch.cat([m[name].flatten() for name in weights])) for m in (found_model, model)]
        lines.append(
            f"  update {update:4}: weights {_relative(*both):.1e}, "
            f"running statistics {max(_relative(found_model[n], model[n]) for n in running):.1e}, "
            f"momentum {_relative(*(torch.cat([t.flatten() for t in m]) for m in (found_momenta, momenta))):.1e}"
            + (
                ", the same bits"
                if _are_equal(model, found_model) and all(map(torch.equal, momenta, found_momenta))
                else ""
            )
        )
        assert all(torch.equal(found_model[name], t) for name, t in model.items() if not t.is_floating_point())
    mine, theirs = (torch.tensor(found["measured"], dtype=torch.float64) for found in (other, one))
    assert torch.equal(mine[:, :3], theirs[:, :3])
    loss, norm, distance = ((mine - theirs) / theirs).abs().max(0).values[3:].tolist()
    lines.append(
        f"  {len(mine)} measurements: loss {loss:.1e}, gradient norm {norm:.1e}, weight distance {distance:.1e}"
    )
    return lines


def _are_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(other[name], value) for name, value in one.items())


def _relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.double(), expected.double()
    return float((found - expected).norm() / expected.norm())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", type=Path, nargs="?")
    parser.add_argument("--to", type=int, default=4096)
    parser.add_argument("--ghost", type=int, default=128)
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--ranks", type=int, nargs="*", default=[2, 4])
    parser.add_argument("--shares", type=int, default=None)
    parser.add_argument("--micro", type=int, default=None, help="micro-batch of the last way")
    parser.add_argument("--double", action="store_true", help="compute in float64, where rounding has no time to grow")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--naive", action="store_true", help="arm LB: plain batch norm over the whole batch")
    parser.add_argument("--task", type=json.loads)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.task is not None:
        found = trained(asked.task)
        if found.pop("is_first"):
            torch.save(found, asked.out)
        return
    baseline = load_recipe(asked.recipe, asked.set)
    recipe = lbadvisor.plan(
        baseline, to=asked.to, **({"adapt": "none"} if asked.naive else {"ghost_batch_size": asked.ghost})
    ).adapted
    body = in_updates(recipe).model_dump(mode="json")
    body["measurements"] |= {"every_updates": 1, "evaluate_every_updates": None, "every_epochs": None}
    looks = sorted({update for update in (1, 5, 10, 20, 50, 100, 200, asked.updates) if update <= asked.updates})
    task = {
        "recipe": body,
        "seed": 0,
        "threads": 1,
        "micro": None,
        "shares": asked.shares,
        "double": asked.double,
        "updates": asked.updates,
        "looks": looks,
    }
    ways = {f"{ranks} ranks": (task, ranks) for ranks in asked.ranks}
    ways["1 process of 2 threads"] = (task | {"threads": 2}, 1)
    if asked.micro is not None:
        ways[f"1 process, micro-batches of {asked.micro}"] = (task | {"micro": asked.micro}, 1)
    print(f"{recipe.name}, batch {asked.to}, {asked.updates} updates, next to 1 process of 1 thread:", flush=True)
    one = run(task, 1)
    for name, (way, ranks) in ways.items():
        print(f"{name}\n" + "\n".join(differences(one, run(way, ranks))), flush=True)


if __name__ == "__main__":
    main()
