"""A training for the Trainer of Transformers: its arguments, and the optimizer and schedule that it is given."""

from lbadvisor.planning.export.exported import Exported, exported
from lbadvisor.planning.export.planned_training import AS_IS, PlannedTraining
from lbadvisor.planning.export.python_code import (
    Argument,
    call,
    constants,
    function,
    ghost_rows,
    literal,
    optimizer_arguments,
    optimizer_rows,
)
from lbadvisor.planning.export.unexpressed import unexpressed

_NAMES = {"sgd": "sgd", "adam": "adamw_torch", "adamw": "adamw_torch", "rmsprop": "rmsprop", "adagrad": "adagrad"}


def transformers_code(training: PlannedTraining) -> Exported:
    """The training as a Python module with the functions `arguments(output_dir)` and `optimizers(model)`."""
    arguments = (*_arguments(training), *_optimizer(training), *_schedule(training))
    rows = [
        *constants(training, ["import torch", "from transformers import TrainingArguments"], clips=False),
        *function("def optimizers(model):", "The optimizer and schedule, for Trainer(..., optimizers=...)."),
        *ghost_rows(training, "model"),
        *optimizer_rows(training, "model.parameters()"),
        "    return optimizer, schedule",
        *function("def arguments(output_dir, **more):"),
        *call("return TrainingArguments(output_dir, **dict(", arguments, "    ", ") | more)"),
    ]
    return exported(
        "transformers",
        "python",
        training,
        "Save it as planned.py, then: Trainer(model, planned.arguments('out'), train_dataset=..., "
        "optimizers=planned.optimizers(model)). That pair decides about optimizer and rates.",
        rows,
        (_without_the_pair(training), *unexpressed(training, "ghosts", "bf16", "tf32", "compile")),
    )


def _without_the_pair(training: PlannedTraining) -> str:
    return (
        "the optimizer and rates in the arguments alone: from optim on they are the nearest for a script that cannot "
        "take the pair. There, biases and norms have no weight decay, a warm-up begins at 0 and the decay after it"
        + (", and as it has no milestones, the rate never falls" if training.lr_factors else "")
    )


def _arguments(training: PlannedTraining) -> list[Argument]:
    recipe, clipping = training.recipe, training.recipe.clipping
    clipped = training.reason("clipping.max_norm") if clipping else "no clipping: 1.0 is the default"
    compute = recipe.compute
    wanted = {"bf16": compute.precision == "bf16", "tf32": compute.tf32, "torch_compile": compute.compile}
    return [
        Argument("per_device_train_batch_size", "BATCH_SIZE", training.batch_reason),
        literal("gradient_accumulation_steps", 1, "an update is one batch of each device"),
        literal("auto_find_batch_size", False, "it would halve the batch and keep the rate"),
        literal("dataloader_drop_last", True, "every update has the same number of examples"),
        Argument("max_steps", "UPDATES", training.reason("schedule.updates")),
        literal("max_grad_norm", clipping.max_norm if clipping else 0.0, clipped),
        literal("eval_strategy", "steps", "updates"),
        literal("eval_steps", recipe.measurements.evaluate_every_updates, training.evaluation_reason),
        *(literal(name, True) for name, given in wanted.items() if given),
    ]


def _optimizer(training: PlannedTraining) -> list[Argument]:
    """The optimizer in the Trainer's own words."""
    optimizer = training.recipe.optimizer
    names = {"lr": "learning_rate", "weight_decay": "weight_decay"}
    others = ""
    if hasattr(optimizer, "beta1"):
        names |= {name: f"adam_{name}" for name in ("beta1", "beta2", "epsilon")}
    else:
        others = ",".join(f"{a.name}={a.text}" for a in optimizer_arguments(training) if a.name not in names)
    reason = "the nearest: Transformers has no Adam" if optimizer.name == "adam" else AS_IS
    return [
        literal("optim", _NAMES[optimizer.name], reason),
        *(literal(names[name], getattr(optimizer, name), training.reason(f"optimizer.{name}")) for name in names),
        *([literal("optim_args", others)] if others else []),
    ]


def _schedule(training: PlannedTraining) -> list[Argument]:
    """The nearest of the Trainer's own schedules."""
    schedule = training.recipe.schedule
    name, more = {
        "cosine": ("cosine_with_min_lr", {"min_lr_rate": schedule.final_lr_factor or 0.0}),
        "linear": ("polynomial", {"lr_end": training.final_lr, "power": 1.0}),
    }.get(schedule.decay, ("constant_with_warmup", {}))
    return [
        literal("lr_scheduler_type", name, "the nearest"),
        *([literal("lr_scheduler_kwargs", more)] if more else []),
        literal("warmup_steps", schedule.warmup_updates or 0, training.warmup_reason),
    ]
