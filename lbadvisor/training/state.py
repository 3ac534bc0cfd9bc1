"""The state of a run: model, optimizer, one integer; and its checkpoints."""

import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lbadvisor import __version__
from lbadvisor.advisor.recipe import Recipe, recipe_hash
from lbadvisor.errors import CheckpointError, DataError, RefusedError
from lbadvisor.training.files import write_atomically
from lbadvisor.training.ghost_batch_norm import GhostBatchNorm
from lbadvisor.training.micro_batches import has_batch_norm
from lbadvisor.training.models import build_model
from lbadvisor.training.optimizers import build_optimizer
from lbadvisor.training.regularization import Dropout, dropout_in, fully_connected
from lbadvisor.training.seeds import derived_seed

MAGIC = b"lbadvisor checkpoint 1\n"
KEPT_CHECKPOINTS = 2
SMALL_NETWORK = 100_000
"""Parameters below which a second CPU thread costs more than it saves (the digits' network has 13 thousand)."""


@dataclass(slots=True)
class TrainState:
    """All that moves in a run; the rest is a function of (recipe, seed, update).

    `update` counts the updates made; `seconds` is the training time until there. `interval` sums, in float64 (3,), the
    loss, the clipped updates and the updates since the last measurement. `averages` are the weight averages, if any.
    `initial` are the weights w_0, a function of the seed, for the weight distance. `threads` is the number of CPU
    threads: sums are split over them, so another number gives other bits, and a resumed run keeps it. The same holds of
    `micro_size`, the examples of a micro-batch (None: the batch is in one piece). `dropout` is what the model's
    classifier asks, if the recipe has any.
    """

    recipe: Recipe
    seed: int
    model: nn.Module
    optimizer: torch.optim.Optimizer
    initial: list[Tensor]
    averages: list[Tensor] | None
    interval: Tensor
    threads: int
    update: int = 0
    seconds: float = 0.0
    micro_size: int | None = None
    dropout: Dropout | None = None
    parameters: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.parameters = list(self.model.parameters())


def start_state(
    recipe: Recipe, seed: int, shape: tuple[int, int, int], classes: int, device: torch.device
) -> TrainState:
    """The state before the first update of a recipe in updates, for images of (C, H, W) `shape`.

    The weights are a function of the seed, drawn on the CPU: equal on every device. Seeds torch's global generator.
    Raises `DataError` where the network lacks a layer that the recipe's batch norm or regularization is for.
    """
    torch.manual_seed(derived_seed(seed, "weights", 0))
    model = build_model(recipe.model.name, shape, classes)
    batch_norm = recipe.batch_norm
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.momentum = batch_norm.momentum
    if batch_norm.ghost_batch_size is not None:
        if not has_batch_norm(model):
            raise DataError(f"{recipe.model.name} has no batch norm: take batch_norm.ghost_batch_size out")
        model = GhostBatchNorm.convert_ghost_batchnorm(
            model, batch_norm.ghost_batch_size, batch_norm.running_statistics
        )
    model = model.to(device)
    if any(p.ndim == 4 for p in model.parameters()):
        # Convolutions are faster with the channels innermost, on the CPU by a third.
        model = model.to(memory_format=torch.channels_last)
    if recipe.regularization.drop_connect:
        fully_connected(model)  # raises where there is none
    optimizer = build_optimizer(recipe.optimizer, model.parameters())
    initial = [p.detach().clone() for p in model.parameters()]
    return TrainState(
        recipe=recipe,
        seed=seed,
        model=model,
        optimizer=optimizer,
        initial=initial,
        averages=[w.clone() for w in initial] if recipe.weight_ema is not None else None,
        interval=torch.zeros(3, dtype=torch.float64, device=device),
        dropout=dropout_in(model, recipe.regularization),
        threads=1 if sum(p.numel() for p in initial) < SMALL_NETWORK else torch.get_num_threads(),
    )


def save_checkpoint(folder: Path, state: TrainState) -> Path:
    """Write the state into `folder`, atomically, and drop all but the last two checkpoints; the file written.

    A checkpoint is a line that names the format, the SHA-256 of all that follows, a line of JSON (recipe hash, seed,
    update, threads, micro-batch, versions), and torch's own serialization. Raises `CheckpointError` where the folder
    cannot be written.
    """
    content = {
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "averages": state.averages,
        "interval": state.interval,
        "seconds": state.seconds,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    header = {
        "recipe": state.recipe.name,
        "recipe_hash": recipe_hash(state.recipe),
        "seed": state.seed,
        "update": state.update,
        "threads": state.threads,
        "micro_size": state.micro_size,
        "lbadvisor": __version__,
        "torch": torch.__version__,
    }
    body = json.dumps(header).encode() + b"\n" + buffer.getvalue()
    path = folder / f"update-{state.update:010d}.ckpt"

    def write(file: Any) -> None:
        file.write(MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n")
        file.write(body)

    try:
        write_atomically(path, write)
        for old in checkpoints(folder)[KEPT_CHECKPOINTS:]:
            old.unlink()
    except OSError as error:
        raise CheckpointError(f"the checkpoint {path} cannot be written: {error.strerror or error}") from error
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, the newest first."""
    return sorted(folder.glob("update-*.ckpt"), reverse=True)


def load_checkpoint(path: Path, state: TrainState) -> None:
    """Bring a freshly started `state` to where the checkpoint was taken.

    Runs no code of the file's (`weights_only`). Raises `CheckpointError` for a file that is damaged or no checkpoint,
    and `RefusedError` for one of another recipe or seed; the state is then of no use but to load another one.
    """
    header, payload = _read_checked(path)
    if (header["recipe_hash"], header["seed"]) != (recipe_hash(state.recipe), state.seed):
        raise RefusedError(
            f"the checkpoint {path} belongs to another training: recipe {header['recipe']}, seed {header['seed']}"
        )
    device = state.interval.device
    try:
        content = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
        state.model.load_state_dict(content["model"])
        state.optimizer.load_state_dict(content["optimizer"])
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"the checkpoint {path} does not fit the recipe's network: {error}") from error
    state.averages, state.interval = content["averages"], content["interval"]
    state.seconds, state.update, state.threads = content["seconds"], header["update"], header["threads"]
    state.micro_size = header.get("micro_size")  # the first checkpoints knew none


def _read_checked(path: Path) -> tuple[dict[str, Any], bytes]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"the checkpoint {path} cannot be read: {error.strerror or error}") from error
    if not content.startswith(MAGIC):
        raise CheckpointError(f"{path} is no checkpoint of lbadvisor, or its beginning is damaged")
    checksum, _, body = content[len(MAGIC) :].partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        raise CheckpointError(f"the checkpoint {path} is damaged: its content does not have the noted checksum")
    header, _, payload = body.partition(b"\n")
    return json.loads(header), payload
