"""A training as a configuration of MMEngine, whose schedulers multiply one another."""

from collections.abc import Iterator

from lbadvisor.planning.export.exported import Exported, Row, TextLine, exported
from lbadvisor.planning.export.planned_training import AS_IS, PlannedTraining
from lbadvisor.planning.export.python_code import call, literal, optimizer_arguments, optimizer_class
from lbadvisor.planning.export.unexpressed import unexpressed


def mmengine_config(training: PlannedTraining) -> Exported:
    """The training as a Python configuration file, to merge with one that has network and data."""
    schedule = training.recipe.schedule
    floor = schedule.decay == "cosine" and schedule.warmup_updates and schedule.final_lr_factor
    own = (
        "the warm-up of the cosine's final rate: rates differ from the plan's by less than that one, in the warm-up",
    )
    return exported(
        "mmengine",
        "python",
        training,
        "Save it as planned.py; in your own file, _base_ = ['model_and_data.py', 'planned.py'].",
        _rows(training),
        (own if floor else ()) + unexpressed(training, "bf16", "weight average", "compile", "batches"),
    )


def _rows(training: PlannedTraining) -> Iterator[Row]:
    recipe, average, clipping = training.recipe, training.recipe.weight_ema, training.recipe.clipping
    optimizer = (literal("type", optimizer_class(training)), *optimizer_arguments(training))
    kind = "'AmpOptimWrapper', dtype='bfloat16'" if recipe.compute.precision == "bf16" else "'OptimWrapper'"
    loop = (
        literal("type", "IterBasedTrainLoop", "counts updates"),
        literal("max_iters", training.updates, training.reason("schedule.updates")),
        literal("val_interval", recipe.measurements.evaluate_every_updates, training.evaluation_reason),
    )
    yield "train_dataloader = dict("
    yield TextLine(f"    batch_size={training.device_batch_size},", training.batch_reason)
    yield TextLine("    sampler=dict(type='InfiniteSampler', shuffle=True),", "an endless stream: no short last batch")
    yield from (")", "optim_wrapper = dict(", TextLine(f"    type={kind},", AS_IS))
    yield TextLine("    accumulative_counts=1,", "an update is one batch of each device")
    yield from call("optimizer=dict(", optimizer, "    ", "),")
    if clipping is not None:
        yield TextLine(f"    clip_grad=dict(max_norm={clipping.max_norm!r}),", training.reason("clipping.max_norm"))
    yield from (")", "param_scheduler = [", *_schedulers(training), "]")
    yield from call("train_cfg = dict(", loop)
    if average is not None:
        hook = f"type='EMAHook', ema_type='ExponentialMovingAverage', momentum={round(1 - average.decay, 12)!r}"
        yield TextLine(f"custom_hooks = [dict({hook})]", training.reason("weight_ema.decay"))
    if recipe.compute.compile:
        yield TextLine("compile = True", AS_IS)
    scale = f"auto_scale_lr = dict(enable=False, base_batch_size={recipe.batch.size})"
    yield TextLine(scale, "off: the rate is for this batch size, and would be scaled linearly on top")


def _schedulers(training: PlannedTraining) -> Iterator[Row]:
    """One scheduler for the warm-up and one for the decay, or for each factor between two milestones."""
    schedule, updates = training.recipe.schedule, training.updates
    final, warmup = schedule.final_lr_factor or 0.0, schedule.warmup_updates or 1
    if warmup > 1:
        numbers = f"start_factor={training.first_lr_factor!r}, end={warmup}"
        yield _scheduler("LinearLR", numbers, training.warmup_reason)
    if schedule.decay == "cosine":
        yield _scheduler("CosineAnnealingLR", f"T_max={updates}, eta_min_ratio={final!r}")
    elif schedule.decay == "linear":
        yield _scheduler("LinearLR", f"start_factor=1.0, end_factor={final!r}, end={updates + 1}")
    elif schedule.decay == "exponential":
        yield _scheduler("ExponentialLR", f"gamma={final ** (1 / updates)!r}")
    before, steps = 1.0, dict[float, list[int]]()
    for update, factor in training.lr_factors.items():
        steps.setdefault(round(factor / before, 12), []).append(update)
        before = factor
    for gamma, milestones in steps.items():
        yield _scheduler(
            "MultiStepLR", f"milestones={milestones}, gamma={gamma!r}", training.reason("schedule.milestones")
        )


def _scheduler(name: str, numbers: str, reason: str = AS_IS) -> TextLine:
    return TextLine(f"    dict(type='{name}', by_epoch=False, {numbers}),", reason)
