"""What the exports in Python share: torch's optimizer, and the learning rate as a function of the update."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lbadvisor.planning.export.exported import Row, TextLine
from lbadvisor.planning.export.planned_training import AS_IS, PlannedTraining
from lbadvisor.planning.parameter_groups import TORCH_CLASSES


@dataclass(frozen=True, slots=True)
class Argument:
    """A keyword argument, its value as Python text, and the reason for it."""

    name: str
    text: str
    reason: str = AS_IS


def literal(name: str, value: object, reason: str = AS_IS) -> Argument:
    """The argument with this very value."""
    return Argument(name, repr(value), reason)


def optimizer_class(training: PlannedTraining) -> str:
    """The name of the optimizer's class in `torch.optim`."""
    return next(name for name, known in TORCH_CLASSES.items() if known == training.recipe.optimizer.name)


def optimizer_arguments(training: PlannedTraining) -> tuple[Argument, ...]:
    """The keyword arguments of `torch.optim`'s class."""
    settings = training.recipe.optimizer.model_dump(exclude={"name"})
    fields = {name: [f"optimizer.{name}"] for name in settings}
    if "beta1" in settings:
        settings = {"lr": settings.pop("lr"), "betas": (settings.pop("beta1"), settings.pop("beta2")), **settings}
        fields["betas"] = fields["beta1"] + fields["beta2"]
    names = {"epsilon": "eps", "beta2": "alpha"}
    return tuple(
        literal(names.get(name, name), value, training.reason(*fields[name])) for name, value in settings.items()
    )


def call(head: str, arguments: Iterable[Argument], indent: str = "", tail: str = ")") -> list[Row]:
    """A call with one argument to a line; `head` opens it, as `optimizer = torch.optim.SGD(`, and `tail` closes it."""
    inner = [TextLine(f"{indent}    {a.name}={a.text},", a.reason) for a in arguments]
    return [indent + head, *inner, indent + tail]


def optimizer_rows(training: PlannedTraining, parameters: str, indent: str = "    ") -> list[Row]:
    """`optimizer = torch.optim.NAME(PARAMETERS, ...)` and its schedule."""
    head, *others = call(f"optimizer = torch.optim.{optimizer_class(training)}(", optimizer_arguments(training), indent)
    schedule = f"{indent}schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_factor)"
    return [head, f"{indent}    {parameters},", *others, schedule]


def constants(training: PlannedTraining, imports: Iterable[str], *, clips: bool = True) -> Iterator[Row]:
    """The imports, and the constants BATCH_SIZE (of each device), MAX_NORM, CLIPPED_UPDATES and those of `lr_factor`.

    `lr_factor(update)` computes as `rates_at` does, bit by bit.
    """
    schedule, clipping = training.recipe.schedule, training.recipe.clipping
    yield from (*(["import math", ""] if schedule.decay == "cosine" else []), *imports, "")
    yield TextLine(f"BATCH_SIZE = {training.device_batch_size}", training.batch_reason)
    yield TextLine(f"UPDATES = {training.updates}", training.reason("schedule.updates"))
    if clips and clipping is not None:
        yield TextLine(f"MAX_NORM = {clipping.max_norm!r}", training.reason("clipping.max_norm"))
        yield TextLine(f"CLIPPED_UPDATES = {clipping.updates or training.updates}", training.reason("clipping.updates"))
    if schedule.decay == "milestones":
        reason = "factors of the rate from these updates on: " + training.reason("schedule.milestones")
        yield TextLine(f"MILESTONES = {training.lr_factors}", reason if training.lr_factors else "none")
    else:
        yield TextLine(f"FINAL_LR_FACTOR = {schedule.final_lr_factor or 0.0!r}", AS_IS)
    if schedule.warmup_updates is not None:
        yield TextLine(f"WARMUP_UPDATES = {schedule.warmup_updates}", training.warmup_reason)
    yield from ("", "", "def lr_factor(update):")
    yield '    """The learning rate of an update, the first being 0, as a factor of the optimizer\'s."""'
    yield {
        "milestones": "    factor = ([1.0] + [MILESTONES[start] for start in MILESTONES if start <= update])[-1]",
        "cosine": "    curve = 1 + math.cos(math.pi * (update / UPDATES))\n"
        "    factor = FINAL_LR_FACTOR + (1 - FINAL_LR_FACTOR) * curve / 2",
        "linear": "    factor = 1 - (1 - FINAL_LR_FACTOR) * (update / UPDATES)",
        "exponential": "    factor = FINAL_LR_FACTOR ** (update / UPDATES)",
    }[schedule.decay]
    if schedule.warmup_updates is not None:
        start = schedule.warmup_lr_factor
        yield "    if update < WARMUP_UPDATES:"
        yield f"        factor *= {start!r} + (1 - {start!r}) * (update + 1) / WARMUP_UPDATES"
    yield "    return factor"


def function(head: str, doc: str = "") -> list[Row]:
    """The opening of a function or class at the left margin."""
    return ["", "", head, *([f'    """{doc}"""'] if doc else [])]


def ghost_rows(training: PlannedTraining, model: str, indent: str = "    ") -> list[Row]:
    """The statements that convert the batch norm in `model` to ghosts; none without ghosts."""
    statistics = training.recipe.batch_norm
    if statistics.ghost_batch_size is None:
        return []
    named = "" if statistics.running_statistics == "sequential" else f", {statistics.running_statistics!r}"
    conversion = f"{indent}lbadvisor.convert_ghost_batchnorm({model}, {statistics.ghost_batch_size}{named})"
    return [f"{indent}import lbadvisor", "", TextLine(conversion, training.reason("batch_norm.ghost_batch_size"))]
