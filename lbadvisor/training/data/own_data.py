"""The user's own data, as the recipe's factory returns them. N examples, B of a batch; "..." an example's own shape."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset as MapStyle
from torch.utils.data import Subset, TensorDataset, default_collate

from lbadvisor.batch_cuts import EVERYTHING
from lbadvisor.errors import DataError, RecipeError, RecipeProblem
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.data.dataset import Dataset, LabelledImages
from lbadvisor.training.data.held_out import parted
from lbadvisor.training.data.order import batch_indices
from lbadvisor.training.own_code import (
    CodeFolders,
    Factory,
    described,
    factories_of,
    keeping_generators,
    naming_own_code,
    seed_all,
)
from lbadvisor.training.shape import Shape
from lbadvisor.training.transfer import sent

EVALUATION_BATCH = 250
FACTORY = "data.factory"
EXPECTED = (
    "return (training set, evaluation set), each a map-style torch Dataset or a pair of tensors (inputs, targets)"
)


@dataclass(frozen=True, slots=True)
class OwnTensors:
    """Examples in two tensors: inputs (N, ...) and targets (N, ...)."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def at(self, places_B: Tensor, _seed: int, _first: int) -> LabelledImages:
        """The examples at these places."""
        inputs, targets = (t.index_select(0, places_B.to(t.device)) for t in (self.inputs, self.targets))
        return inputs, targets

    def chosen(self, places: Tensor) -> "OwnTensors":
        """These of the examples."""
        return OwnTensors(self.inputs[places], self.targets[places])


@dataclass(frozen=True, slots=True)
class OwnExamples:
    """Examples of the user's map-style Dataset, each an (input, target)."""

    dataset: MapStyle[Any]

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def at(self, places_B: Tensor, seed: int, first: int) -> LabelledImages:
        """The examples at these places, which are those from `first` on of a stream.

        What the Dataset draws from the global generators of torch, Python and numpy is a function of (seed, place in
        the stream): neither the batch size nor a stop changes it. Raises `DataError` and `OwnCodeError`.
        """
        found = []
        with keeping_generators():
            for position, place in enumerate(places_B.tolist(), start=first):
                seed_all(seed, "example", position)
                with naming_own_code(f"example {place} of {FACTORY}'s Dataset"):
                    found.append(self.dataset[place])
                _check_example(found[-1], place)
        try:
            inputs, targets = default_collate(found)
        except (RuntimeError, TypeError) as error:
            raise DataError(
                f"examples of {FACTORY}'s Dataset do not make a batch, such as {described(found[0])} and "
                f"{described(found[-1])}: give tensors of one shape and type ({error})"
            ) from error
        return inputs, targets

    def chosen(self, places: Tensor) -> "OwnExamples":
        """These of the examples."""
        return OwnExamples(Subset(self.dataset, places.tolist()))


Own = OwnTensors | OwnExamples


@dataclass(frozen=True, slots=True)
class OwnData:
    """A `Dataset` of the user's own, whose inputs are used as they come: there is no mean and deviation.

    `has_draws` says that an example was not the same twice, though all global generators were: it draws from another.
    """

    train: Own
    test: Own
    shape: Shape
    classes: int | None
    has_classes: bool
    device: torch.device
    validation: Own | None = None
    has_draws: bool = False

    @property
    def train_examples(self) -> int:
        """Number of examples to train on."""
        return len(self.train)

    @property
    def test_examples(self) -> int:
        """Number of examples in the evaluation set."""
        return len(self.test)

    @property
    def evaluation_examples(self) -> int:
        """Number of examples to evaluate on."""
        return len(self.validation or self.test)

    @property
    def mean_C(self) -> Tensor:
        """Empty: nothing is subtracted."""
        return torch.empty(0)

    @property
    def deviation_C(self) -> Tensor:
        """Empty: nothing is divided by."""
        return torch.empty(0)

    def training_batch(self, recipe: Recipe, seed: int, update: int, own: slice = EVERYTHING) -> LabelledImages:
        """Inputs and targets of an update, (B, ...) each."""
        size = recipe.batch.size
        places_B, first = batch_indices(seed, update, size, len(self.train))[own], update * size + range(size)[own][0]
        return self._sent(self.train.at(places_B, seed, first))

    def evaluation_batches(self, *, test: bool = False, own: slice = EVERYTHING) -> Iterator[LabelledImages]:
        """The evaluation examples in order, or those of the factory's evaluation set, the same for every run."""
        split = self.test if test or self.validation is None else self.validation
        for places in torch.arange(len(split))[own].split(EVALUATION_BATCH):
            yield self._sent(split.at(places, 0, int(places[0])))

    def _sent(self, examples: LabelledImages) -> LabelledImages:
        inputs, targets = examples
        if self.has_classes and not targets.is_floating_point():
            targets = targets.to(torch.int64)
        elif targets.dtype == torch.float64:
            targets = targets.float()  # a Python number, or numpy's default
        return sent(inputs, self.device), sent(targets, self.device)


def own_draws_note(dataset: Dataset) -> str | None:
    """What to say if examples are not a function of the seed; None if they are."""
    if not isinstance(dataset, OwnData) or not dataset.has_draws:
        return None
    return (
        "an example of data.factory's Dataset was not the same twice: it draws from a generator of its own; a resumed "
        "run sees the same order of examples, but not the same bits: draw from torch's, Python's or numpy's global "
        "generator, which are seeded for each example"
    )


def own_data(recipe: Recipe, device: torch.device, code: CodeFolders) -> OwnData:
    """The data that the recipe's factory returns, with validation examples held out if the recipe says so.

    Of the training set are held out those that `parted` picks: evenly by class, if the targets are class numbers in a
    tensor. Raises `RecipeError`, `DataError`, `OwnCodeError`, and `RefusedError` if the code may not be run.
    """
    factory = factories_of(recipe)["data"]
    seed_all(0, "data", 0)  # what it draws is the same for every run
    made = factory.make(code)
    if not isinstance(made, tuple | list) or len(made) != 2:
        raise factory.wrong(f"{factory.name} returned {described(made)}", EXPECTED)
    train, test = (_own(factory, name, one) for name, one in zip(("training", "evaluation"), made, strict=True))
    has_classes, labels_N = recipe.task.kind == "classification", torch.zeros(len(train), dtype=torch.int64)
    classes = recipe.data.classes
    if isinstance(train, OwnTensors) and isinstance(test, OwnTensors) and has_classes:
        classes = _classes(recipe, train.targets, test.targets)
        if train.targets.ndim == 1:
            labels_N = train.targets.to(torch.int64)
    _check_length(recipe, factory, len(train))
    has_draws = isinstance(train, OwnExamples) and not _is_repeatable(train)
    validation = None
    if recipe.data.validation_examples is not None:
        kept_N, held_out_N = parted(labels_N, recipe.data.validation_examples)
        train, validation = train.chosen(kept_N), train.chosen(held_out_N)
    train, test, validation = _placed(device, train, test, validation)
    shape = tuple(train.at(torch.zeros(1, dtype=torch.int64), 0, 0)[0].shape[1:])
    return OwnData(train, test, shape, classes, has_classes, device, validation, has_draws)


def _placed(device: torch.device, *splits: Own | None) -> tuple[Any, ...]:
    """The same; tensors are on a GPU if they fit into half of its free memory."""
    tensors = [t for own in splits if isinstance(own, OwnTensors) for t in (own.inputs, own.targets)]
    if device.type != "cuda" or sum(t.nbytes for t in tensors) > torch.cuda.mem_get_info(device)[0] / 2:
        return splits
    return tuple(
        OwnTensors(own.inputs.to(device), own.targets.to(device)) if isinstance(own, OwnTensors) else own
        for own in splits
    )


def _own(factory: Factory, name: str, made: Any) -> Own:
    if isinstance(made, TensorDataset):
        made = made.tensors
    if isinstance(made, tuple | list) and all(isinstance(part, Tensor) for part in made):
        if len(made) != 2 or len({part.shape[:1] for part in made}) != 1 or made[0].ndim == 0:
            raise factory.wrong(f"the {name} set is {described(made)}, not inputs and targets of one length", EXPECTED)
        own: Own = OwnTensors(made[0].detach().cpu(), made[1].detach().cpu())
    elif isinstance(made, str | bytes | dict | tuple | list | Tensor) or not (
        hasattr(made, "__getitem__") and hasattr(made, "__len__")
    ):
        raise factory.wrong(f"the {name} set is {described(made)}", EXPECTED)
    else:
        own = OwnExamples(made)
    if len(own) == 0:
        raise factory.wrong(f"the {name} set is empty", EXPECTED)
    return own


def _classes(recipe: Recipe, *targets: Tensor) -> int | None:
    """The number of classes of class numbers. Raises `DataError` if they cannot be class numbers."""
    if any(t.is_floating_point() for t in targets):
        return recipe.data.classes  # the network's outputs tell whether they fit
    lowest, highest = min(int(t.min()) for t in targets), max(int(t.max()) for t in targets)
    if lowest < 0 or (recipe.data.classes is not None and highest >= recipe.data.classes):
        most = "" if recipe.data.classes is None else f" to {recipe.data.classes - 1} (data.classes)"
        raise DataError(f"class numbers of {FACTORY} go from {lowest} to {highest}: number the classes from 0{most}")
    return recipe.data.classes or highest + 1


def _check_length(recipe: Recipe, factory: Factory, found: int) -> None:
    """Raise `RecipeError` if the training set's length is not what the recipe says."""
    held_out = recipe.data.validation_examples or 0
    if found != recipe.data.train_examples + held_out:
        besides = f", besides {held_out} held out for validation" if held_out else ""
        message = f"is {recipe.data.train_examples}{besides}, but {factory.name} has {found} training examples"
        hint = f"give --set data.train_examples={found - held_out}"
        raise RecipeError(recipe.name, (RecipeProblem("data.train_examples", message, hint=hint),))


def _is_repeatable(examples: OwnExamples) -> bool:
    """Whether an example is the same twice if the global generators are."""
    first = torch.zeros(1, dtype=torch.int64)
    pairs = [examples.at(first, 0, 0) for _ in range(2)]
    return all(torch.equal(one.nan_to_num(), two.nan_to_num()) for one, two in zip(*pairs, strict=True))


def _check_example(example: Any, place: int) -> None:
    if not isinstance(example, tuple | list) or len(example) != 2:
        raise DataError(f"example {place} of {FACTORY}'s Dataset is {described(example)}, not (input, target)")
