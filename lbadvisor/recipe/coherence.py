"""What must hold between the tables of a recipe, and of the names in them: each rule yields what is wrong.

A recipe asks them whenever it is made, so that none can exist that breaks one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from lbadvisor.recipe.catalog import (
    DATASETS,
    NETWORKS,
    TIMM,
    TORCHVISION,
    TORCHVISION_NETWORKS,
    network_facts,
    why_not_trained,
)
from lbadvisor.recipe.faults import Fault, FieldPath
from lbadvisor.recipe.limits import MOST_COUNT
from lbadvisor.recipe.own_tables import Task
from lbadvisor.recipe.recipe_tables import Batch, BatchNorm, Data, Model, Recorded, Regularization
from lbadvisor.recipe.schedule_tables import Clipping, Schedule
from lbadvisor.recipe.suggestion import nearest


def data_known(data: Data) -> Iterator[Fault]:
    """A named data set does not have more examples than there are; those held out are of the same ones."""
    facts, held_out = DATASETS.get(data.name), data.validation_examples or 0
    if facts is None:
        return
    if data.factory is not None:
        yield Fault(("name",), f"{data.name} is a data set known by name", "give the factory's data another name")
        return
    if data.train_examples > facts.train_examples:
        yield Fault(
            ("train_examples",), f"must be at most {facts.train_examples} for {data.name}, is {data.train_examples}"
        )
    elif data.train_examples + held_out > facts.train_examples:
        yield Fault(
            ("validation_examples",),
            f"must be at most {facts.train_examples - data.train_examples}, what train_examples leaves of the "
            f"{facts.train_examples} of {data.name}; is {held_out}",
            f"to hold out {held_out}, set train_examples = {facts.train_examples - held_out}"
            if held_out < facts.train_examples
            else "",
        )


def image_size_needed(data: Data) -> Iterator[Fault]:
    """Only class folders are resized, and the recipe must then give the size."""
    facts, crops = DATASETS.get(data.name), data.augmentation == "random-resized-crop"
    if facts is not None:
        given = {"image_size": data.image_size is not None, "augmentation": crops}
        for field in (field for field, value in given.items() if value):
            yield Fault(
                (field,), f"the images of {data.name} are not resized: they are {facts.shape[1]}x{facts.shape[2]}"
            )
    elif crops and data.image_size is None and data.factory is None:
        yield Fault(("augmentation",), "random-resized-crop needs an image_size", "image_size = 224 is ImageNet's")


def own_data_as_they_are(data: Data) -> Iterator[Fault]:
    """A factory's data are used as they come."""
    for key in ("augmentation", "image_size") if data.factory is not None else ():
        if getattr(data, key) != type(data).model_fields[key].default:
            yield Fault((key,), "has no effect on a factory's data, used as they come", "do it in their Dataset")


def task_fits_data(task: Task, data: Data, recorded: Recorded | None) -> Iterator[Fault]:
    """The data sets known by name, and class folders, have classes."""
    if task.kind == "regression" and data.factory is None and recorded is None:
        yield Fault(("kind",), f"regression needs numbers, but {data.name} has classes", "give data.factory")


def network_known(model: Model, recorded: Recorded | None) -> Iterator[Fault]:
    """The network can be trained here: of the catalog, torchvision, timm or a factory; or it is trained elsewhere."""
    name = model.name
    if model.factory is not None:
        if network_facts(name) is not None or name.startswith(TIMM):
            yield Fault(("name",), f"{name} is another network's name", "give the factory's network another name")
        return
    if recorded is not None or network_facts(name) is not None or (name.startswith(TIMM) and name != TIMM):
        return
    if reason := why_not_trained(name):
        yield Fault(("name",), reason, "choose another network")
        return
    # A prefix that is missing, or one too many, is a typing error like any other; if both have the word, it decides.
    groups = [NETWORKS, TORCHVISION_NETWORKS] if name.startswith(TORCHVISION) else [TORCHVISION_NETWORKS, NETWORKS]
    names = {known.removeprefix(TORCHVISION): known for group in groups for known in group}
    near = nearest(name.removeprefix(TORCHVISION), names)
    hint = "`lbadvisor models` lists them" if near is None else f"did you mean `{names[near]}`?"
    yield Fault(("name",), f'no network is called "{name}"', hint)


def batch_fits(batch: Batch, data: Data) -> Iterator[Fault]:
    """A batch is not larger than the training set."""
    if batch.size > data.train_examples:
        yield Fault(("size",), f"must be at most data.train_examples = {data.train_examples}, is {batch.size}")


def schedule_fits(schedule: Schedule, data: Data, batch: Batch) -> Iterator[Fault]:
    """In updates: every length is at least one, milestones increase, and all ends before the schedule does."""
    end = _span(schedule, "epochs", "updates", data, batch)
    if end is None:  # said by the table itself
        return
    if end.updates > MOST_COUNT:
        yield Fault(end.path, f"must be at most 2**53 updates, is {end}")
    if end.updates < 1:
        yield _too_short(end)
        return
    warmup = _span(schedule, "warmup_epochs", "warmup_updates", data, batch)
    if warmup is not None and warmup.updates < 1:
        yield _too_short(warmup)
    elif warmup is not None and warmup.updates > end.updates:
        yield Fault(warmup.path, f"the warm-up must not be longer than the schedule, {end}; is {warmup}")
    previous = None
    for i, milestone in enumerate(schedule.milestones):
        point = _span(milestone, "epoch", "update", data, batch, "milestones", i)
        if point is None:  # said by the table itself
            continue
        if point.updates < 1:
            yield _too_short(point)
        elif point.updates >= end.updates:
            yield Fault(point.path, f"must come before the end of the schedule, {end}; is {point}")
        elif previous is not None and point.updates <= previous.updates:
            yield Fault(point.path, f"must come after the milestone before it, {previous}; is {point}")
        elif milestone.distance is not None and schedule.distance_every_updates >= point.updates:
            yield Fault(
                ("milestones", i, "distance"),
                f"is not checked before the milestone, at {point}: checks are {schedule.distance_every_updates} "
                "updates apart",
                f"set distance_every_updates = {max(1, point.updates // 20)}",
            )
        previous = point


def ghost_fits_batch(batch_norm: BatchNorm, batch: Batch) -> Iterator[Fault]:
    """A ghost batch is a slice of a batch."""
    ghost = batch_norm.ghost_batch_size
    if ghost is not None and ghost > batch.size:
        yield Fault(("ghost_batch_size",), f"must be at most batch.size = {batch.size}, is {ghost}")


def batch_norm_fits_network(batch_norm: BatchNorm, model: Model) -> Iterator[Fault]:
    """Settings of batch norm are for a network that has it."""
    if model.has_batch_norm is not False:
        return
    for key, field in type(batch_norm).model_fields.items():
        if getattr(batch_norm, key) != field.default:
            yield Fault((key,), f"has no meaning: {model.name} has no batch norm", "remove it")


def labels_are_classes(regularization: Regularization, task: Task) -> Iterator[Fault]:
    """Only class numbers are redrawn."""
    if regularization.label_noise and task.kind == "regression":
        yield Fault(("label_noise",), "has no meaning: a regression has no classes", "remove it")


def recomputes_ghosts(batch_norm: BatchNorm, data: Data, batch: Batch) -> Iterator[Fault]:
    """The training set can be cut into ghosts of more than one example."""
    ghost = batch_norm.ghost_batch_size or batch.size
    if batch_norm.recompute_at_end and ghost == 2 and data.train_examples % 2:
        yield Fault(
            ("recompute_at_end",),
            f"cuts {data.train_examples} examples into ghosts of 2 and one of 1, which has no variance",
            "use ghosts of 3 examples or more",
        )


def clipping_fits(clipping: Clipping | None, schedule: Schedule, data: Data, batch: Batch) -> Iterator[Fault]:
    """A clipping warm-up is at least one update and not longer than the schedule."""
    length = _span(clipping, "epochs", "updates", data, batch) if clipping is not None else None
    end = _span(schedule, "epochs", "updates", data, batch)
    if length is not None and length.updates < 1:
        yield _too_short(length)
    elif length is not None and end is not None and length.updates > end.updates:
        yield Fault(length.path, f"clipping must not last longer than the schedule, {end}; is {length}")


@dataclass(frozen=True, slots=True)
class _Span:
    """A length, or a point, of the schedule: its place, its epochs if given in epochs, and its updates."""

    path: FieldPath
    epochs: float | None
    updates: int

    def __str__(self) -> str:
        return f"{self.updates} updates" if self.epochs is None else f"{self.epochs:g} epochs ({self.updates} updates)"


def _span(
    table: BaseModel, epochs_key: str, updates_key: str, data: Data, batch: Batch, *at: str | int
) -> _Span | None:
    epochs, updates = getattr(table, epochs_key), getattr(table, updates_key)
    if epochs is not None:
        return _Span((*at, epochs_key), epochs, round(epochs * data.train_examples / batch.size))
    return None if updates is None else _Span((*at, updates_key), None, updates)


def _too_short(span: _Span) -> Fault:
    return Fault(span.path, f"is too short: {span.epochs:g} epochs round to 0 updates")


RULES: dict[str, tuple[tuple[Callable[..., Iterator[Fault]], tuple[str, ...]], ...]] = {
    "data": ((data_known, ()), (image_size_needed, ()), (own_data_as_they_are, ())),
    "task": ((task_fits_data, ("data", "recorded")),),
    "model": ((network_known, ("recorded",)),),
    "batch": ((batch_fits, ("data",)),),
    "schedule": ((schedule_fits, ("data", "batch")),),
    "batch_norm": (
        (ghost_fits_batch, ("batch",)),
        (batch_norm_fits_network, ("model",)),
        (recomputes_ghosts, ("data", "batch")),
    ),
    "regularization": ((labels_are_classes, ("task",)),),
    "clipping": ((clipping_fits, ("schedule", "data", "batch")),),
}
"""For each table of the recipe, the rules that relate it to earlier tables."""
