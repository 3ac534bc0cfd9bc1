"""A training as a function that changes a configuration of torchtitan 0.3, which its command line then takes."""

from collections.abc import Iterator

from lbadvisor.planning.export.exported import Exported, Row, TextLine, exported
from lbadvisor.planning.export.planned_training import AS_IS, PlannedTraining
from lbadvisor.planning.export.python_code import optimizer_arguments, optimizer_class
from lbadvisor.planning.export.unexpressed import unexpressed


def torchtitan_config(training: PlannedTraining) -> Exported:
    """The training as a Python module with the configuration function `planned`."""
    return exported(
        "torchtitan",
        "python",
        training,
        f"Save it as planned.py where Python finds it, then: torchrun --nproc_per_node={training.devices} -m "
        "torchtitan.train --module planned --config planned. An example is a sequence.",
        _rows(training),
        (*_deviations(training), *unexpressed(training, "bf16", "compile", "batches")),
    )


def _rows(training: PlannedTraining) -> Iterator[Row]:
    recipe, schedule, clipping = training.recipe, training.recipe.schedule, training.recipe.clipping
    precision = "bfloat16" if recipe.compute.precision == "bf16" else "float32"
    final = (schedule.final_lr_factor or 0.0) if schedule.decay in ("cosine", "linear") else 1.0
    yield "from torchtitan.components.optimizer import LRSchedulersContainer, OptimizersContainer, ParamGroupConfig"
    yield TextLine("from torchtitan.models.llama3.config_registry import llama3_debugmodel as yours", "your model's")
    yield from ("", "", "def planned():", "    config = yours()", "    training = config.training")
    yield TextLine(f"    training.global_batch_size = {recipe.batch.size}", training.reason("batch.size"))
    yield TextLine(f"    training.local_batch_size = {training.device_batch_size}", "each device's: no accumulation")
    yield TextLine(f"    training.steps = {training.updates}", training.reason("schedule.updates"))
    if clipping is None:
        yield TextLine('    training.max_norm = float("inf")', "no clipping: 1.0 is the default")
    else:
        yield TextLine(f"    training.max_norm = {clipping.max_norm!r}", training.reason("clipping.max_norm"))
    yield TextLine(f'    training.mixed_precision_param = "{precision}"', f"{AS_IS}: bfloat16 is the default")
    if recipe.compute.compile:
        yield TextLine("    config.compile.enable = True", AS_IS)
    yield from (
        "    config.optimizer = OptimizersContainer.Config(param_groups=[ParamGroupConfig(",
        TextLine('        pattern=".*",', "every parameter"),
    )
    yield TextLine(f'        optimizer_name="{optimizer_class(training)}",', AS_IS)
    yield "        optimizer_kwargs={"
    yield from (TextLine(f'            "{a.name}": {a.text},', a.reason) for a in optimizer_arguments(training))
    yield from ("        },", "    )])", "    config.lr_scheduler = LRSchedulersContainer.Config(")
    yield TextLine(f"        warmup_steps={schedule.warmup_updates or 0},", training.warmup_reason)
    yield TextLine("        decay_ratio=None,", "the decay begins right after the warm-up")
    yield TextLine(f'        decay_type="{"cosine" if schedule.decay == "cosine" else "linear"}",', AS_IS)
    yield TextLine(f"        min_lr_factor={final!r},", AS_IS if final < 1 else "no decay")
    yield from ("    )", "    return config")


def _deviations(training: PlannedTraining) -> Iterator[str]:
    schedule, optimizer = training.recipe.schedule, optimizer_class(training)
    if optimizer not in ("Adam", "AdamW"):
        yield f"the optimizer: torchtitan builds Adam and AdamW, and stops at {optimizer} until you add it there"
    if training.lr_factors or schedule.decay == "exponential":
        yield (
            f"the decay ({schedule.decay}): torchtitan decays linearly, by a cosine or by a square root; here the rate "
            "stays as it is after the warm-up"
        )
    elif schedule.warmup_updates is not None and schedule.decay != "milestones":
        yield "the curve from the first update on: torchtitan's begins after the warm-up, and ends at the same rate"
    if schedule.warmup_updates is not None and schedule.warmup_lr_factor:
        yield f"a warm-up that begins at {schedule.warmup_lr_factor:g} of the rate: torchtitan's begins at 0"
