"""Ranks above 0: what rank 0 tells them to train with it, and how they do."""

import io
from dataclasses import dataclass, replace
from typing import Any

import torch

from lbadvisor.recipe.early_milestones import Milestones
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.data.dataset import Dataset
from lbadvisor.training.data.preparation import load_dataset
from lbadvisor.training.environment import make_deterministic
from lbadvisor.training.loop import train
from lbadvisor.training.machine import Machine
from lbadvisor.training.neighbours import Neighbours
from lbadvisor.training.ranks import ALONE, Ranks
from lbadvisor.training.state import TrainState, content_of, restore

STOP, GO_ON = True, False
"""What rank 0 decides behind each update."""


@dataclass(frozen=True, slots=True)
class Briefing:
    """A training that begins or resumes at `update`: all that a rank needs to make the state that rank 0 has.

    `machine` is rank 0's, but for the device; `content` is the saved state, None before the first update.
    """

    recipe: Recipe
    seed: int
    machine: Machine
    threads: int
    micro_size: int | None
    shares: int
    update: int
    milestones: Milestones
    content: bytes | None


def brief(machine: Machine, state: TrainState) -> None:
    """Have the other ranks of `state` train it with rank 0, on such a machine; returns when all are ready."""
    ranks = state.ranks
    if not ranks.are_several:
        return
    saved = None
    if state.update:
        buffer = io.BytesIO()
        torch.save(content_of(state), buffer)
        saved = buffer.getvalue()
    alone = replace(machine, ranks=ALONE)
    ranks.tell(
        Briefing(
            state.recipe,
            state.seed,
            alone,
            state.threads,
            state.micro_size,
            ranks.shares,
            state.update,
            state.milestones,
            saved,
        )
    )
    ranks.wait()


def attend(ranks: Ranks) -> int:
    """Train what rank 0 says, until it tells the exit code. Raises the errors of `errors.py`."""
    prepared: tuple[Recipe, Dataset] | None = None
    while isinstance(briefing := ranks.told(), Briefing):
        machine = briefing.machine.as_rank(ranks)
        make_deterministic(machine.device)
        recipe = briefing.recipe
        # A ladder's runs train on one data set.
        if prepared is None or (prepared[0].data, prepared[0].task) != (recipe.data, recipe.task):
            prepared = recipe, load_dataset(recipe, machine.data_dir, machine.device, machine.code)
        _train(briefing, machine, prepared[1])
    return int(briefing)


def _train(briefing: Briefing, machine: Machine, dataset: Dataset) -> None:
    state = machine.start(briefing.recipe, briefing.seed, dataset)
    ranks = replace(machine.ranks, cut_into=briefing.shares)
    state.ranks, state.threads, state.micro_size = ranks, briefing.threads, briefing.micro_size
    if briefing.content is not None:
        content: Any = torch.load(io.BytesIO(briefing.content), map_location=machine.device, weights_only=True)
        restore(state, content)
        state.update, state.milestones = briefing.update, briefing.milestones
    ranks.wait()
    with Neighbours(state.threads, has_partners=ranks.of_machine > 1) as neighbours:
        for _ in train(state, dataset):
            neighbours.look()  # rank 0 says what there is to say
            if ranks.decided(GO_ON):
                return
