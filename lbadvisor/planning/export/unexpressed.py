"""What a training has and another trainer lacks, in sentences."""

from typing import Literal

from lbadvisor.planning.export.planned_training import PlannedTraining
from lbadvisor.records.numerals import value_text
from lbadvisor.running_statistics import MOMENTUM

Feature = Literal[
    "ghosts", "clipping warm-up", "weight decay over time", "weight average", "exact statistics", "bf16", "dropout",
    "label noise", "drop connect", "gradient noise", "batch-norm momentum", "distances", "tf32", "compile", "batches",
    "network",
]  # fmt: skip
"""What some trainers express and others do not."""


def unexpressed(training: PlannedTraining, *expressed: Feature) -> tuple[str, ...]:
    """A sentence for each feature that the training has, but for those that the trainer has words for."""
    sentences = _sentences(training)
    return tuple(str(sentence) for feature, sentence in sentences.items() if sentence and feature not in expressed)


def uncommon_factors(training: PlannedTraining) -> tuple[str, ...]:
    """The sentence for a trainer with one factor for all milestones, if the training has several."""
    factors, common = tuple(training.lr_factors.values()), training.common_factor
    if all(abs(factor / common**place - 1) < 1e-6 for place, factor in enumerate(factors, start=1)):
        return ()
    return (
        f"the milestones' own factors, {value_text(factors)} of the rate: one factor from each to the next, "
        f"{common:.4g}, ends at the same rate",
    )


def _sentences(training: PlannedTraining) -> dict[Feature, object]:
    """What each feature of the training is; something false for one that it lacks."""
    recipe = training.recipe
    noise, clipping, noisy = recipe.regularization, recipe.clipping, recipe.gradient_noise
    average, statistics = recipe.weight_ema, recipe.batch_norm
    decays = [(m.update, m.weight_decay) for m in recipe.schedule.milestones if m.weight_decay is not None]
    common = {"classification": "cross-entropy", "regression": "the mean squared error"}[recipe.task.kind]
    loss = common if recipe.task.loss is None else recipe.task.loss.factory
    return {
        "ghosts": _ghosts(training),
        "clipping warm-up": clipping
        and clipping.updates
        and f"the clipping warm-up: the plan clips the gradient norm in the first {clipping.updates:,} updates, these "
        "settings in all; to stop earlier, save at that update and continue without clipping",
        "weight decay over time": decays
        and "the weight decay's changes, to "
        + ", ".join(f"{value_text(decay)} at update {update:,}" for update, decay in decays),
        "weight average": average
        and f"the moving average of the weights with decay {average.decay:g}, which the plan evaluates: "
        "torch.optim.swa_utils.AveragedModel keeps one",
        "exact statistics": statistics.recompute_at_end
        and "the exact batch-norm statistics at the end of training: torch.optim.swa_utils.update_bn computes them",
        "bf16": recipe.compute.precision == "bf16" and "bfloat16 as the precision",
        "dropout": noise.dropout and f"dropout of {noise.dropout:g} before the last layer: set it in your network",
        "label noise": noise.label_noise and f"random labels for a share of {noise.label_noise:g} of the examples",
        "drop connect": noise.drop_connect and f"drop connect of {noise.drop_connect:g} in the last layer",
        "gradient noise": noisy
        and f"multiplicative gradient noise: {noisy.kind}, of variance {noisy.ratio - 1:g}, on the examples' losses",
        "batch-norm momentum": statistics.momentum != MOMENTUM
        and f"batch norm's momentum of {statistics.momentum:g}: set it in your network",
        "distances": recipe.schedule.is_by_distance
        and "milestones that come early at a weight distance: these are at the latest updates that the plan allows",
        "tf32": recipe.compute.tf32 and "TensorFloat-32: torch.set_float32_matmul_precision('high') allows it",
        "compile": recipe.compute.compile and "torch.compile",
        "batches": _batches(training),
        "network": f"the network ({recipe.model.name}), the data ({recipe.data.name}, augmentation "
        f"{recipe.data.augmentation}) and the loss ({loss}): they are yours to give",
    }


def _ghosts(training: PlannedTraining) -> str | None:
    ghost, size = training.recipe.batch_norm.ghost_batch_size, training.device_batch_size
    if ghost is None:
        return None
    if ghost == size:
        return (
            f"ghost batch norm as such: the {size:,} examples of each device are one ghost, as in the plan, as long as "
            "batch norm is not synchronized; the running statistics are then those of one device"
        )
    return (
        f"ghost batch norm: in the plan {ghost:,} examples share batch-norm statistics, here the {size:,} of a device; "
        f"lbadvisor.convert_ghost_batchnorm(model, {ghost}) converts a model in its own script"
    )


def _batches(training: PlannedTraining) -> str | None:
    """How a loader's epochs differ from an endless stream of examples."""
    examples, size = training.recipe.data.train_examples, training.recipe.batch.size
    left = examples - training.updates_per_epoch * size
    if left <= 0:
        return None
    return (
        f"batches across the end of an epoch: a loader that drops the last partial batch leaves {left:,} of "
        f"{examples:,} examples, {100 * left / examples:.2g}%, out of each epoch, others at each shuffle; "
        "lbadvisor.UpdateBatchSampler gives a DataLoader the plan's batches"
    )
