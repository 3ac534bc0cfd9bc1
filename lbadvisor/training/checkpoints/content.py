"""The content of a checkpoint: read without running any code in it, and checked against the training.

A checkpoint may come from a stranger, who can also forge the checksum.
"""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lbadvisor.errors import CheckpointError, reason_of
from lbadvisor.recipe.early_milestones import is_possible, last_update, planned_milestones
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.checkpoints.checkpoint_file import Header, read_checkpoint
from lbadvisor.training.out_of_memory import is_of_memory, naming_memory

Content = dict[str, Any]
PARTS = ("model", "optimizer", "averages", "interval", "seconds")
"""The keys of a content."""
SCHEDULED = {"lr", "weight_decay"}
"""Settings of an optimizer that every update sets anew: any value is fine."""


def read_content(path: Path, device: torch.device, most_bytes: float = float("inf")) -> tuple[Header, Content]:
    """Header and content (`PARTS`, tensors on `device`) of a checkpoint; runs no code of the file's.

    Raises `CheckpointError` for a file that is damaged, not a checkpoint, or larger than `most_bytes`.
    """
    with naming_memory(f"the memory of the device {device} does not hold the state in {path}: free memory"):
        return _read_content(path, device, most_bytes)


def _read_content(path: Path, device: torch.device, most_bytes: float) -> tuple[Header, Content]:
    header, payload = read_checkpoint(path, most_bytes)
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                # It might unpack to a thousand times its size; torch never compresses.
                raise ValueError("it is compressed")
        content = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    except Exception as error:  # nothing documents what a stranger's bytes make the unpickler raise
        if is_of_memory(error):
            raise
        raise CheckpointError(f"the checkpoint {path} was not saved by a training: {reason_of(error)}") from error
    missing = [part for part in PARTS if not isinstance(content, dict) or part not in content]
    if missing:
        raise CheckpointError(f"the checkpoint {path} was not saved by a training: no {', no '.join(missing)}")
    return header, content


def fault_of(
    header: Header, found: Content, recipe: Recipe, expected: Content, shapes: Sequence[torch.Size]
) -> str | None:
    """Why header and content are not of the training of `recipe`, in updates; None if they are.

    `expected` is the content of its first state and `shapes` are its parameters'; torch itself compares the model's
    names only.
    """
    milestones = planned_milestones(recipe) if header.milestones is None else header.milestones
    if not is_possible(recipe, milestones, header.update):
        return f"its milestones {', '.join(map(str, milestones)) or 'none'} cannot be those of the recipe"
    updates = last_update(recipe, milestones)
    if header.update > updates:
        return f"it is of update {header.update}, the recipe ends at {updates}"
    if header.micro_size is not None and header.micro_size > recipe.batch.size:
        return f"micro-batches of {header.micro_size} are above the batch size"
    own, others = _tensors_of(expected), _tensors_of(found)
    for name in [*own, *others]:
        if name not in others:
            return f"it has no {name}"
        if name not in own:
            return f"it has a {name}"
        if not _alike(others[name], own[name]):
            return f"{name} has another shape or type"
    seconds = found["seconds"]
    if not isinstance(seconds, float) or not 0 <= seconds < float("inf"):
        return f"its seconds are {seconds!r}"
    return _fault_of_optimizer(found["optimizer"], expected["optimizer"]["param_groups"], shapes)


def _fault_of_optimizer(found: Any, own: list[dict[str, Any]], shapes: Sequence[torch.Size]) -> str | None:
    if not isinstance(found, dict) or not _are_groups(found.get("param_groups")):
        return "it has no valid optimizer state"
    if len(found["param_groups"]) != len(own):
        return "its optimizer has other groups"
    for group, own_group in zip(found["param_groups"], own, strict=True):
        # Another version of torch may have additional settings.
        for name in (group.keys() & own_group.keys()) - SCHEDULED:
            if repr(group[name]) != repr(own_group[name]):
                return f"the optimizer's {name} is not the recipe's"
    moments = found.get("state")
    if not isinstance(moments, dict) or not all(isinstance(kept, dict) for kept in moments.values()):
        return "its optimizer has no state"
    for number, kept in moments.items():
        if number not in range(len(shapes)):
            return f"the optimizer's parameter {number!r} is not one of the network's"
        for name, value in kept.items():
            if value is not None and not (isinstance(value, Tensor) and value.shape in ((), shapes[number])):
                return f"the optimizer's {name} of parameter {number} has another shape or type"
    return None


def _are_groups(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(group, dict) for group in found)


def _tensors_of(content: Content) -> dict[str, Any]:
    """Its tensors but the optimizer's, under dotted names."""
    named = _named("model", content["model"]) | _named("averages", content["averages"])
    return {"interval": content["interval"]} | named


def _named(name: str, tensors: Any) -> dict[str, Any]:
    """The tensors of a state dict or a list by dotted names; anything else by `name` alone."""
    if tensors is None:
        return {}
    if isinstance(tensors, dict):
        return {f"{name}.{key}": tensor for key, tensor in tensors.items()}
    return {f"{name}.{i}": tensor for i, tensor in enumerate(tensors)} if isinstance(tensors, list) else {name: tensors}


def _alike(found: Any, expected: Any) -> bool:
    return isinstance(found, Tensor) and (found.shape, found.dtype) == (expected.shape, expected.dtype)
