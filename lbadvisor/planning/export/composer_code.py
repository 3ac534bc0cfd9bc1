"""A training for Composer: optimizer, schedule and algorithms for its Trainer."""

from lbadvisor.planning.export.exported import Exported, TextLine, exported
from lbadvisor.planning.export.planned_training import PlannedTraining
from lbadvisor.planning.export.python_code import Argument, call, constants, function, literal, optimizer_rows
from lbadvisor.planning.export.unexpressed import unexpressed

# The schedule is torch's: one of Composer's own kind sees the count of updates before it is increased, one update late.


def composer_code(training: PlannedTraining) -> Exported:
    """The training as a Python module with the functions `loader` and `trainer`."""
    recipe, statistics = training.recipe, training.recipe.batch_norm
    arguments = (
        Argument("max_duration", 'f"{UPDATES}ba"', training.reason("schedule.updates")),
        literal("scale_schedule_ratio", 1.0, "the lengths are final: another ratio would stretch them again"),
        literal("step_schedulers_every_batch", True, "the rate changes at updates"),
        literal("precision", "amp_bf16" if recipe.compute.precision == "bf16" else "fp32"),
        literal("eval_interval", f"{recipe.measurements.evaluate_every_updates}ba", training.evaluation_reason),
    )
    rows = [
        *constants(training, ["import composer.algorithms", "import torch"], clips=False),
        *function("def loader(data):"),
        "    return torch.utils.data.DataLoader(data, BATCH_SIZE, shuffle=True, drop_last=True)",
        *function("def trainer(model, **more):"),
        *optimizer_rows(training, "model.parameters()"),
        "    algorithms = [",
        *_algorithms(training),
        "    ]",
        *call("return composer.Trainer(**dict(", arguments, "    ")[:-1],
        "        model=model, optimizers=optimizer, schedulers=schedule, algorithms=algorithms,",
        "    ) | more)",
    ]
    ghosts = (
        "ghost batch norm's running statistics: Composer divides the momentum by the number of ghosts (per-update), "
        f"the plan has {statistics.running_statistics}; its layers have keys of their own in a checkpoint",
    )
    return exported(
        "composer",
        "python",
        training,
        "Save it as planned.py, then: planned.trainer(model, train_dataloader=planned.loader(data)).fit().",
        rows,
        (ghosts if statistics.ghost_batch_size else ()) + unexpressed(training, "ghosts", "bf16"),
    )


def _algorithms(training: PlannedTraining) -> list[TextLine]:
    ghost, clipping, lines = training.recipe.batch_norm.ghost_batch_size, training.recipe.clipping, []
    if ghost is not None:
        text = f"        composer.algorithms.GhostBatchNorm(ghost_batch_size={ghost}),"
        lines.append(TextLine(text, training.reason("batch_norm.ghost_batch_size")))
    if clipping is not None:
        text = f'        composer.algorithms.GradientClipping("norm", {clipping.max_norm!r}),'
        lines.append(TextLine(text, training.reason("clipping.max_norm")))
    return lines
