"""A training as the solver of a Detectron2 configuration, by the published keys of detectron2/config/defaults.py."""

from collections.abc import Iterator

from lbadvisor.planning.export.exported import Exported, Row, TextLine, exported
from lbadvisor.planning.export.planned_training import AS_IS, PlannedTraining
from lbadvisor.planning.export.unexpressed import uncommon_factors, unexpressed


def detectron2_config(training: PlannedTraining) -> Exported:
    """The training as YAML, to merge into a configuration."""
    every, evaluated = training.recipe.measurements.evaluate_every_updates, training.evaluation_reason
    return exported(
        "detectron2",
        "yaml",
        training,
        "Save it as planned.yaml, then: cfg.merge_from_file('planned.yaml').",
        ["SOLVER:", *_solver(training), *_clipping(training), "TEST:", _key("EVAL_PERIOD", every, evaluated)],
        (*_deviations(training), *uncommon_factors(training), *unexpressed(training, "batches")),
    )


def _key(name: str, value: object, reason: str = AS_IS) -> TextLine:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    # YAML would read 1e-05, without a point, as a string.
    return TextLine(f"  {name}: {text.replace('e-', '.0e-') if '.' not in text else text}", reason)


def _solver(training: PlannedTraining) -> Iterator[TextLine]:
    optimizer, schedule = training.recipe.optimizer, training.recipe.schedule
    decay, warmup = optimizer.weight_decay, training.warmup_reason
    yield _key("IMS_PER_BATCH", training.recipe.batch.size, training.reason("batch.size") + "; of all devices")
    yield _key("REFERENCE_WORLD_SIZE", 0, "off: it would scale batch, rate and lengths by the number of devices")
    yield _key("BASE_LR", optimizer.lr, training.reason("optimizer.lr"))
    yield _key("MOMENTUM", getattr(optimizer, "momentum", 0.0))
    yield _key("NESTEROV", getattr(optimizer, "nesterov", False))
    yield _key("WEIGHT_DECAY", decay, training.reason("optimizer.weight_decay"))
    yield _key("WEIGHT_DECAY_NORM", decay, "on every parameter: the default is 0")
    yield _key("WEIGHT_DECAY_BIAS", decay, "on every parameter")
    yield _key("BIAS_LR_FACTOR", 1.0, "one rate for every parameter")
    yield _key("MAX_ITER", training.updates, training.reason("schedule.updates"))
    yield _key("WARMUP_METHOD", "linear")
    yield _key("WARMUP_FACTOR", training.first_lr_factor, f"of the first update: {warmup}")
    yield _key("WARMUP_ITERS", (schedule.warmup_updates or 1) - 1, f"updates before the full rate: {warmup}")
    if schedule.decay == "cosine":
        yield _key("LR_SCHEDULER_NAME", "WarmupCosineLR")
        yield _key("BASE_LR_END", training.final_lr)
    else:
        yield _key("LR_SCHEDULER_NAME", "WarmupMultiStepLR")
        yield _key("STEPS", [*training.lr_factors], training.reason("schedule.milestones"))
        yield _key("GAMMA", training.common_factor, "the factor from each milestone to the next")


def _clipping(training: PlannedTraining) -> Iterator[Row]:
    clipping = training.recipe.clipping
    yield "  CLIP_GRADIENTS:"
    yield _key("  ENABLED", clipping is not None, "")
    if clipping is not None:
        yield _key("  CLIP_TYPE", "norm", "of each parameter")
        yield _key("  NORM_TYPE", 2.0, "")
        yield _key("  CLIP_VALUE", clipping.max_norm, training.reason("clipping.max_norm"))


def _deviations(training: PlannedTraining) -> Iterator[str]:
    recipe = training.recipe
    optimizer, decay = recipe.optimizer.name, recipe.schedule.decay
    if optimizer != "sgd":
        yield f"the optimizer: Detectron2's is SGD, so build {optimizer} in your trainer's build_optimizer"
    if decay in ("linear", "exponential"):
        yield f"the {decay} decay: Detectron2 has milestones and a cosine; here the rate stays"
    if decay == "cosine" and recipe.schedule.warmup_updates is not None:
        yield "the warm-up as a factor on the cosine: Detectron2's rises in a straight line to the cosine's rate there"
    if recipe.clipping is not None:
        yield "clipping of all gradients by one norm: Detectron2 clips each parameter's, which the threshold clips less"
