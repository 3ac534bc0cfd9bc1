"""A training as flags of timm's `train.py` (github huggingface/pytorch-image-models), which counts in whole epochs.

An epoch has as many updates as there are whole batches: `timm.data.create_loader` drops the last partial one.
"""

from collections.abc import Iterator

from lbadvisor.planning.export.exported import Exported, TextLine, exported
from lbadvisor.planning.export.planned_training import AS_IS, PlannedTraining
from lbadvisor.planning.export.unexpressed import uncommon_factors, unexpressed
from lbadvisor.records.numerals import value_text
from lbadvisor.running_statistics import MOMENTUM

_SCHEDULES = {"cosine": "cosine", "linear": "poly", "exponential": "step", "milestones": "multistep"}


def timm_flags(training: PlannedTraining) -> Exported:
    """The training as a bash array of flags, with a comment for each."""
    flags = [*_batch_and_optimizer(training), *_schedule(training), *_rest(training)]
    prefix, _, name = training.recipe.model.name.rpartition(":")
    model = name if prefix == "timm" else "MODEL"
    run = f"torchrun --nproc_per_node={training.devices}" if training.devices > 1 else "python"
    return exported(
        "timm",
        "bash",
        training,
        f"Save it as planned.sh, then: source planned.sh; {run} train.py --data-dir DATA --model {model} "
        '"${planned[@]}"',
        ["planned=(", *(TextLine(f"  {flag}", reason) for flag, reason in flags), ")"],
        (
            *_deviations(training),
            *uncommon_factors(training),
            *unexpressed(training, "bf16", "weight average", "dropout", "compile", "batch-norm momentum"),
        ),
    )


def _batch_and_optimizer(training: PlannedTraining) -> Iterator[tuple[str, str]]:
    optimizer, clipping = training.recipe.optimizer, training.recipe.clipping
    settings = optimizer.model_dump()
    # timm's sgd is Nesterov's; its plain one is called momentum.
    plain = optimizer.name == "sgd" and not optimizer.nesterov
    yield f"--batch-size {training.device_batch_size}", training.batch_reason
    yield "--grad-accum-steps 1", "an update is one batch of each device"
    yield f"--lr {optimizer.lr!r}", training.reason("optimizer.lr") + "; timm scales --lr-base, and not this one"
    yield f"--opt {'momentum' if plain else optimizer.name}", AS_IS
    for flag, *names in (("momentum", "momentum"), ("opt-betas", "beta1", "beta2"), ("opt-eps", "epsilon")):
        if names[0] in settings:
            values = " ".join(repr(settings[name]) for name in names)
            yield f"--{flag} {values}", training.reason(*(f"optimizer.{name}" for name in names))
    yield f"--weight-decay {optimizer.weight_decay!r}", training.reason("optimizer.weight_decay")
    everywhere = "weight decay on every parameter: timm leaves out 1-d ones"
    if "beta1" not in settings and "beta2" in settings:
        alpha = f"alpha={settings['beta2']!r}"
        yield f"--opt-kwargs filter_bias_and_bn=False {alpha}", f"{everywhere}; {training.reason('optimizer.beta2')}"
    else:
        yield "--opt-kwargs filter_bias_and_bn=False", everywhere
    if clipping is not None:
        yield f"--clip-grad {clipping.max_norm!r} --clip-mode norm", training.reason("clipping.max_norm")


def _epochs(training: PlannedTraining, updates: int) -> int:
    """A length in whole epochs of timm's."""
    return round(updates / training.updates_per_epoch)


def _rounded(training: PlannedTraining, field: str, *updates: int) -> str:
    """What whole epochs make of lengths in updates, and the reason for these."""
    made = tuple(_epochs(training, length) * training.updates_per_epoch for length in updates)
    exact = "" if made == updates else f" for {value_text(updates)}"
    return f"{value_text(made)} updates{exact}: {training.reason(field)}"


def _schedule(training: PlannedTraining) -> Iterator[tuple[str, str]]:
    schedule, lr, starts = training.recipe.schedule, training.recipe.optimizer.lr, tuple(training.lr_factors)
    epochs = max(1, _epochs(training, training.updates))
    yield f"--epochs {epochs}", _rounded(training, "schedule.updates", training.updates)
    yield "--cooldown-epochs 0", "none: the length above is all"
    yield "--sched-on-updates", f"at each of the {training.updates_per_epoch:,} updates of an epoch"
    yield f"--sched {_SCHEDULES[schedule.decay]}", f"{AS_IS}: {schedule.decay}"
    if schedule.decay == "milestones":
        ends = " ".join(str(_epochs(training, start)) for start in starts) or str(epochs + 1)
        reason = _rounded(training, "schedule.milestones", *starts) if starts else "none: after the end"
        yield f"--decay-milestones {ends} --decay-rate {training.common_factor!r}", reason
    elif schedule.decay == "exponential":
        rate = (schedule.final_lr_factor or 0.0) ** (1 / epochs)
        yield f"--decay-epochs 1 --decay-rate {rate!r}", "to the recipe's final rate, once an epoch"
    else:
        yield f"--min-lr {training.final_lr!r} --decay-rate 1.0", "the recipe's final rate; 1.0: the power, of poly"
    if schedule.warmup_updates is None:
        yield "--warmup-epochs 0", "none: timm's default is 5"
    else:
        warmup = _epochs(training, schedule.warmup_updates)
        reason = _rounded(training, "schedule.warmup_updates", schedule.warmup_updates)
        yield f"--warmup-epochs {warmup} --warmup-lr {lr * training.first_lr_factor!r}", reason


def _rest(training: PlannedTraining) -> Iterator[tuple[str, str]]:
    recipe, average = training.recipe, training.recipe.weight_ema
    flags = {
        "--amp --amp-dtype bfloat16": recipe.compute.precision == "bf16",
        "--torchcompile": recipe.compute.compile,
        f"--drop {recipe.regularization.dropout!r}": recipe.regularization.dropout > 0,
        f"--bn-momentum {recipe.batch_norm.momentum!r}": recipe.batch_norm.momentum != MOMENTUM,
    }
    yield "--smoothing 0.0", "plain cross-entropy, as in the recipe: timm's default is 0.1"
    yield from ((flag, AS_IS) for flag, given in flags.items() if given)
    if average is not None:
        yield f"--model-ema --model-ema-decay {average.decay!r}", training.reason("weight_ema.decay")


def _deviations(training: PlannedTraining) -> Iterator[str]:
    schedule = training.recipe.schedule
    yield "updates: timm counts whole epochs, so lengths are rounded as the comments say" + (
        "; a milestone comes one update early, as timm compares it with the update after" if training.lr_factors else ""
    )
    if schedule.decay == "exponential":
        yield "a decay at every update: timm's step is once an epoch"
    if schedule.warmup_updates is not None:
        yield (
            "the warm-up as a factor on the schedule: timm's rises to the full rate, one update later, and the "
            "schedule goes on from there"
        )
