"""The weights of a run for use elsewhere: a plain network's state dict, and what is needed to use it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import torch
from torch import Tensor

from lbadvisor.errors import CheckpointError, LbadvisorError, UsageError
from lbadvisor.files import write_atomically
from lbadvisor.recipe.catalog import DATASETS
from lbadvisor.records.run import Run
from lbadvisor.training.checkpoints.checkpoint_file import Header, header_of, newest_sound
from lbadvisor.training.evaluation import evaluated_weights
from lbadvisor.training.own_code import CodeFolders
from lbadvisor.training.shape import Shape
from lbadvisor.training.state import load_checkpoint, start_state

Which = Literal["averaged", "last"]
"""A run's weights as evaluations use them: averaged over the updates if the recipe says so, or the last ones."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights and the batch norms' statistics of a run after `update` updates, on the CPU.

    `tensors` is the state dict of the plain network (ghost batch norm has batch norm's); `metadata` describes them, in
    text and JSON; `notes` are for the user.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    which: Which
    update: int
    notes: tuple[str, ...]


def read_weights(folder: Path, run: Run, which: Which | None, code: CodeFolders = None) -> Weights:
    """The weights of the newest sound checkpoint in `folder`; by default the averaged ones, if there are any.

    `code` says whether the network's code may be run, if it is the user's own. Raises `RefusedError` if not,
    `UsageError` if averaged weights are wanted but missing, and `CheckpointError` if no checkpoint can be read,
    for example because they were pruned.
    """
    averages = run.recipe.weight_ema is not None
    if which == "averaged" and not averages:
        raise UsageError(f"--weights averaged: the run {run.name} has no averaged weights: drop the option")
    found, damaged = newest_sound(folder, run, lambda path: (path, header_of(path, run)))
    if found is None:
        raise CheckpointError(f"the run {run.name} has no checkpoint yet: `lbadvisor resume {run.name}`")
    path, header = found
    state = start_state(run.recipe, run.seed, *_images(path, header, run), torch.device("cpu"), code)
    load_checkpoint(path, state)
    chosen = which or ("averaged" if averages else "last")
    with evaluated_weights(state, averaged=chosen == "averaged"):
        tensors = {name: t.detach().clone().contiguous() for name, t in state.model.state_dict().items()}
    notes = [f"{what}: reading the previous one" for what in damaged]
    if header.images is None:
        notes.append("the checkpoint is from an earlier version, which did not store how pixels are normalized")
    return Weights(tensors, _metadata(header, run, chosen), chosen, header.update, tuple(notes))


def write_weights(path: Path, weights: Weights, *, as_torch: bool) -> None:
    """Write them to `path`, as safetensors or as a plain torch state dict. Raises `LbadvisorError`."""

    def write(file: IO[bytes]) -> None:
        if as_torch:
            torch.save(weights.tensors, file)
        else:
            from safetensors.torch import save

            file.write(save(weights.tensors, weights.metadata))

    try:
        write_atomically(path, write)
    except OSError as error:
        raise LbadvisorError(f"{path} cannot be written: {error.strerror or error}") from error


def _images(path: Path, header: Header, run: Run) -> tuple[Shape, int | None]:
    """The images' (C, H, W) and the number of classes."""
    if header.images is not None:
        return header.images.shape, header.images.classes
    facts = DATASETS.get(run.recipe.data.name)
    if facts is None:
        raise CheckpointError(
            f"the checkpoint {path} is from an earlier version, which did not store the size of its images: train "
            "anew with --name"
        )
    return facts.shape, facts.classes


def _metadata(header: Header, run: Run, which: Which) -> dict[str, str]:
    """Metadata of a safetensors file, which can only hold text: numbers and lists as JSON."""
    known = {
        "format": "pt",
        "run": run.name,
        "recipe": run.recipe.model_dump_json(exclude_none=True),
        "network": run.recipe.model.name,
        "weights": which,
        "seed": str(header.seed),
        "update": str(header.update),
        "updates": str(run.updates),
        "lbadvisor": header.lbadvisor,
        "torch": header.torch,
    }
    if header.images is not None:
        known |= {
            "classes": json.dumps(header.images.classes),
            "shape": json.dumps(header.images.shape),
            "mean": json.dumps(header.images.mean),
            "deviation": json.dumps(header.images.deviation),
        }
    return known
