"""One contestant in a process of its own, which waits for its turn: what tables.py starts.

It reads a number of updates from stdin for each turn, makes them, and writes the seconds of one to stdout.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import torch
from contestants import (
    Updates,
    accelerated,
    by_hand,
    fit_with_lightning,
    ours,
    overridden,
    products,
    random_images,
    script_by_hand,
    usual,
    usual_script,
)
from torch import nn
from turns import Task

import lbadvisor.training.loop
from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm
from lbadvisor.recipe.catalog import DATASETS
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.neighbours import Neighbours

CPU = torch.device("cpu")
RECIPES = Path(__file__).parents[2] / "recipes"


@dataclass(slots=True)
class Pace:
    """Called after each update: at the end of a turn it tells how long one took, and waits for the next turn."""

    replies: TextIO
    left: int = 0
    turn: int = 0
    began: float = 0.0

    def __call__(self) -> None:
        """One more update was made."""
        self.left -= 1
        if self.left <= 0:
            self.reply()

    def reply(self) -> None:
        """End a turn, if one was begun, and wait for the next; without one, raise SystemExit."""
        if self.turn:
            print((time.perf_counter() - self.began) / self.turn, file=self.replies, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise SystemExit
        self.left = self.turn = int(line)
        self.began = time.perf_counter()


def recipe_of(task: Task) -> Recipe:
    """The task's recipe, for the random images of `dataset`."""
    recipe = load_recipe(RECIPES / f"{task.recipe}.toml")
    return overridden(
        recipe,
        {
            "model": recipe.model.model_copy(update={"name": task.network or recipe.model.name}),
            "data": recipe.data.model_copy(update={"train_examples": max(10_000, task.batch)}),
            "batch": recipe.batch.model_copy(update={"size": task.batch}),
            "batch_norm": recipe.batch_norm.model_copy(update={"ghost_batch_size": task.ghost}),
            "compute": recipe.compute.model_copy(update={"precision": task.precision}),
        },
    )


def as_a_run(training: Updates, threads: int) -> Updates:
    """The training beside others as a run makes it."""
    with Neighbours(threads) as around:
        for made in training:
            around.look()
            yield made


def layer(task: Task) -> Updates:
    """Forward and backward through one batch-norm layer."""
    channels, *space = task.shape
    x = torch.randn(task.batch, channels, *space)
    if task.channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    grad_y = torch.randn_like(x)
    x.requires_grad_()
    form = {
        "nn.BatchNorm": lambda: (nn.BatchNorm2d if space else nn.BatchNorm1d)(channels),
        "slices": lambda: GhostBatchNorm(channels, task.ghost),
        "interleaved": lambda: GhostBatchNorm(channels, task.ghost, layout="interleaved"),
    }[task.kind]()
    while True:
        x.grad = None
        form(x).backward(grad_y)
        yield None


def main() -> None:
    """Make the task's updates."""
    task = Task(**json.loads(sys.argv[1]))
    # A framework's own words belong to stderr.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    pace = Pace(replies)
    torch.set_flush_denormal(True)
    torch.set_num_threads(task.threads)
    if not task.keeps_memory:
        lbadvisor.training.loop.keep_freed_memory = lambda: False
    if task.shape:
        updates = layer(task)
    else:
        recipe = recipe_of(task)
        dataset = random_images(recipe.data.train_examples, CPU, DATASETS[recipe.data.name].shape)
        match task.kind:
            case "ours":
                updates = ours(recipe, dataset, CPU, task.threads)
                if task.looks:
                    updates = as_a_run(updates, task.threads)
            case "by hand":
                updates = by_hand(recipe, dataset, CPU)
            case "usual script":
                updates = usual(recipe, dataset)
            case "products alone":
                updates = products(recipe, dataset)
            case "Accelerate":
                updates = accelerated(usual_script(recipe, dataset))
            case "Accelerate, from memory":
                updates = accelerated(script_by_hand(recipe, dataset, CPU))
            case "Lightning" | "Lightning, from memory":
                usually = task.kind == "Lightning"
                script = usual_script(recipe, dataset) if usually else script_by_hand(recipe, dataset, CPU)
                # It makes its first updates before the first turn begins.
                fit_with_lightning(script, pace)
                return
    pace.reply()
    for _ in updates:
        pace()


if __name__ == "__main__":
    main()
