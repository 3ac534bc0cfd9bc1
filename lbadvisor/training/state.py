"""The state of a run: model, optimizer, one integer; and its checkpoints."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from lbadvisor.errors import CheckpointError, DataError
from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm
from lbadvisor.recipe.early_milestones import Milestones, last_update, planned_milestones
from lbadvisor.recipe.identity import digest_of
from lbadvisor.recipe.recipe import Recipe, recipe_hash
from lbadvisor.training.checkpoints.checkpoint_file import (
    Header,
    Images,
    checkpoints,
    require_training,
    write_checkpoint,
)
from lbadvisor.training.checkpoints.content import Content, fault_of, read_content
from lbadvisor.training.cores import default_threads, has_given_threads
from lbadvisor.training.goal import CROSS_ENTROPY, Goal, goal_of
from lbadvisor.training.micro_batches import has_batch_norm
from lbadvisor.training.models import build_model
from lbadvisor.training.models.adaptive_pooling import with_deterministic_pooling
from lbadvisor.training.models.own_network import own_network
from lbadvisor.training.optimizers import build_optimizer
from lbadvisor.training.out_of_memory import naming_memory
from lbadvisor.training.own_code import CodeFolders, source_digests
from lbadvisor.training.ranks import ALONE, Ranks
from lbadvisor.training.regularization import Dropout, classifier_of, dropout_in
from lbadvisor.training.seeds import derived_seed
from lbadvisor.training.shape import Shape
from lbadvisor.version import __version__

__all__ = ["TrainState", "checkpoints", "is_finite", "load_checkpoint", "save_checkpoint", "start_state"]

SMALL_NETWORK = 100_000
"""With fewer parameters, a second CPU thread costs more than it saves (the digits network has 13 thousand)."""


@dataclass(slots=True)
class TrainState:
    """Everything that changes during a run; the rest is a function of (recipe, seed, update).

    `update` counts the updates made; `seconds` is the training time so far. `interval` sums, in float64 (3,), the
    loss, the clipped updates and the updates since the last measurement. `averages` are the weight averages, if any.
    `initial` are the weights w_0, a function of the seed, for the weight distance. `threads` is the number of CPU
    threads: sums are split over them, so another number gives other bits, and a resumed run keeps it. The same holds
    for `micro_size`, the examples of a micro-batch (None: the batch is in one piece). `dropout` is that of the model's
    classifier, if the recipe has any. `sources` are digests of the files that define the recipe's factories, by
    their names. `milestones` are the updates of the schedule's milestones: as planned, until the
    weight distance brings one forward. `ranks` are the processes that train it together; behind each update the state
    is the same on all of them.
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
    goal: Goal = CROSS_ENTROPY
    sources: dict[str, str] = field(default_factory=dict)
    ranks: Ranks = ALONE
    parameters: list[Tensor] = field(init=False)
    milestones: Milestones = field(init=False)

    def __post_init__(self) -> None:
        self.parameters = list(self.model.parameters())
        self.milestones = planned_milestones(self.recipe)

    @property
    def last_update(self) -> int:
        """The update at which training ends; by distance, at the latest."""
        return last_update(self.recipe, self.milestones)


def start_state(
    recipe: Recipe, seed: int, shape: Shape, classes: int | None, device: torch.device, code: CodeFolders = None
) -> TrainState:
    """The state before the first update of a recipe in updates, for inputs of `shape`, such as images (C, H, W).

    The weights are a function of the seed, drawn on the CPU: equal on every device. Seeds torch's global generator.
    Raises `DataError` if the network lacks a layer that the recipe's batch norm or regularization needs, or cannot
    take such images, and `OutOfMemoryError` if it does not fit on `device`.
    """
    too_large = (
        f"the network {recipe.model.name} for {_inputs(shape, classes)} does not fit into the memory of the device "
        f"{device}: free memory, or choose a smaller network or smaller images"
    )
    with naming_memory(too_large):
        torch.manual_seed(derived_seed(seed, "weights", 0))
        model = _network(recipe, seed, shape, classes, device, code)
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
            goal=goal_of(recipe, device, code),
            sources=source_digests(recipe),
            threads=threads_of(initial),
        )


def threads_of(parameters: list[Tensor], ranks: Ranks = ALONE) -> int:
    """The CPU threads of a new training of a network with these parameters, on each of the ranks."""
    return 1 if sum(p.numel() for p in parameters) < SMALL_NETWORK else most_threads(ranks)


def most_threads(ranks: Ranks) -> int:
    """The CPU threads that each of the ranks may use."""
    return default_threads() if has_given_threads() else max(1, default_threads() // ranks.of_machine)


def _inputs(shape: Shape, classes: int | None) -> str:
    if len(shape) != 3 or classes is None:
        return f"inputs of shape {shape}"
    return f"images of {shape[1]}x{shape[2]} pixels in {classes} classes"


def _network(
    recipe: Recipe, seed: int, shape: Shape, classes: int | None, device: torch.device, code: CodeFolders
) -> nn.Module:
    """The recipe's network on `device`, with its batch norm, in the fastest memory format."""
    if recipe.model.factory is not None:
        model = own_network(recipe, seed, code)
    else:
        model = build_model(recipe.model.name, shape, classes, recipe.model.arguments.given)
    batch_norm = recipe.batch_norm
    _check_batch_norm(recipe, model)
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.momentum = batch_norm.momentum
    if batch_norm.ghost_batch_size is not None:
        model = GhostBatchNorm.convert_ghost_batchnorm(
            model, batch_norm.ghost_batch_size, batch_norm.running_statistics
        )
    if device.type == "cuda":
        model = with_deterministic_pooling(model)
    model = model.to(device)
    if any(p.ndim == 4 for p in model.parameters()):
        # Convolutions are faster with the channels innermost, on the CPU by a third.
        model = model.to(memory_format=torch.channels_last)
    if recipe.regularization.drop_connect:
        classifier_of(model)  # raises if there is none
    return model


def _check_batch_norm(recipe: Recipe, model: nn.Module) -> None:
    """Raise `DataError` unless the network has batch norm if, and only if, the recipe says so or needs it."""
    said, found = recipe.model.batch_norm, has_batch_norm(model)
    if said is not None and said is not found:
        what = "has batch norm" if found else "has no batch norm"
        raise DataError(f"model.batch_norm is {str(said).lower()}, but {recipe.model.name} {what}: correct it")
    if found or recipe.batch_norm.ghost_batch_size is None:
        return
    adapted = recipe.adapted_from
    if adapted is not None and "ghost" in adapted.parts:
        others = ",".join(part for part in adapted.parts if part != "ghost") or "none"
        remedy = f"do not adapt it: --adapt {others}"
    else:
        remedy = "remove batch_norm.ghost_batch_size from the recipe"
    if recipe.model.has_batch_norm is None:
        remedy += ", or set model.batch_norm = false in the baseline"
    raise DataError(f"{recipe.model.name} has no batch norm, so ghost batches have no effect: {remedy}")


def is_finite(state: TrainState) -> bool:
    """Whether the weights, and the loss summed since the last measurement, are finite: a state worth keeping."""
    return bool(state.interval[0].isfinite()) and all(bool(p.isfinite().all()) for p in state.parameters)


def save_checkpoint(folder: Path, state: TrainState, run: str | None = None, images: Images | None = None) -> Path:
    """Write the state into `folder` atomically, and delete all but the last two checkpoints; returns the file.

    The run's name `run` and the `images` it trains on go into the header. Raises `CheckpointError` if the folder cannot
    be written.
    """
    buffer = io.BytesIO()
    torch.save(content_of(state), buffer)
    header = Header(
        recipe=state.recipe.name,
        recipe_hash=recipe_hash(state.recipe),
        seed=state.seed,
        update=state.update,
        threads=state.threads,
        lbadvisor=__version__,
        torch=torch.__version__,
        micro_size=state.micro_size,
        run=run,
        images=images,
        training=digest_of(state.recipe),
        milestones=state.milestones,
        sources=state.sources,
        ranks=state.ranks.size,
        shares=state.ranks.shares,
    )
    return write_checkpoint(folder, header, buffer.getbuffer())


def content_of(state: TrainState) -> Content:
    """What a checkpoint holds of the state: the same on every rank."""
    return {
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "averages": state.averages,
        "interval": state.interval,
        "seconds": state.seconds,
    }


def load_checkpoint(path: Path, state: TrainState) -> Header:
    """Restore a checkpoint into a freshly started `state`; returns the checkpoint's header.

    Runs no code from the file (`weights_only`). Raises `CheckpointError` for a file that is damaged, not a checkpoint,
    or not from the recipe's training, and `RefusedError` for one of another recipe or seed; the state can then only be
    used to load another one.
    """
    # Weights, two moments and averages are four times the weights; allow twice that, and room for small tensors.
    weights_bytes = sum(p.nbytes for p in state.model.state_dict().values())
    header, content = read_content(path, state.interval.device, 8 * weights_bytes + 2**24)
    require_training(path, header, state.recipe, state.seed)
    fault = fault_of(header, content, state.recipe, content_of(state), [p.shape for p in state.parameters])
    if fault is not None:
        raise CheckpointError(f"the checkpoint {path} does not fit the recipe's training: {fault}")
    try:
        with naming_memory(
            f"the memory of the device {state.interval.device} does not hold the state in {path}: free memory"
        ):
            restore(state, content)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"the checkpoint {path} does not fit the recipe's network: {error}") from error
    state.update, state.threads, state.micro_size = header.update, header.threads, header.micro_size
    state.milestones = planned_milestones(state.recipe) if header.milestones is None else header.milestones
    return header


def restore(state: TrainState, content: Content) -> None:
    """Put what a checkpoint holds into the state. Raises what torch does if it does not fit."""
    state.model.load_state_dict(content["model"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.averages, state.interval, state.seconds = content["averages"], content["interval"], content["seconds"]
