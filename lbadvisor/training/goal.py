"""What a training minimizes and is judged by. B examples of a batch, K classes; "..." are an example's own dimensions.

Every example counts the same; of one with several targets, such as tokens, the mean counts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from lbadvisor.errors import DataError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.own_code import CodeFolders, Factory, described, factories_of, naming_own_code

Function = Callable[[Tensor, Tensor], Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """The loss of outputs and targets, its accuracy if it has classes, and the user's metric, if any.

    Classification: outputs (B, ..., K), and class numbers (B, ...); the loss is the cross-entropy in nats. Regression:
    outputs and targets of one shape; the loss is the mean squared error. Or it is the `own` loss of the user.
    """

    has_classes: bool = True
    own: Function | None = None
    metric: Function | None = None

    def mean(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss, shape ()."""
        if self.own is not None:
            return self._own(outputs, targets).mean()
        if self.has_classes:
            return _cross_entropy(outputs, targets, "mean")
        return mse_loss(*_alike(outputs, targets))

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example, shape (B,). Raises `DataError` if the user's loss only tells the mean."""
        if self.own is not None:
            losses_B = self._own(outputs, targets)
            if losses_B.ndim == 0:
                raise DataError(
                    "the loss of task.loss.factory gives the mean of its examples, but gradient noise weighs each: "
                    'make it return shape (B,), as torch\'s do with reduction = "none"'
                )
            return losses_B
        if self.has_classes:
            losses = _cross_entropy(outputs, targets, "none").view_as(targets)
        else:
            losses = mse_loss(*_alike(outputs, targets), reduction="none")
        return losses if losses.ndim == 1 else losses.flatten(1).mean(1)

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum of the examples' losses, shape ()."""
        if self.own is None and self.has_classes:
            return _cross_entropy(outputs, targets, "sum") / (targets.numel() / len(targets))
        return self.mean(outputs, targets) * len(targets)

    def right(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """How many of the examples have the largest output at their class, shape (); not of a regression."""
        return (outputs.argmax(-1) == targets).sum() / (targets.numel() / len(targets))

    def value(self, outputs: Tensor, targets: Tensor) -> float:
        """The user's metric of a whole evaluation. Raises `DataError` if it is no number."""
        if self.metric is None:
            raise ValueError("the recipe has no metric")
        with naming_own_code("task.metric"):
            value = self.metric(outputs, targets)
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if not isinstance(value, int | float):
            raise DataError(f"the metric of task.metric.factory must give one number, gives {described(value)}")
        return float(value)

    def _own(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The user's loss: of each example, shape (B,), or of all, shape ()."""
        with naming_own_code("task.loss"):
            loss = None if self.own is None else self.own(outputs, targets)
        if not isinstance(loss, Tensor) or (loss.ndim and len(loss) != len(targets)):
            raise DataError(
                f"the loss of task.loss.factory must give a tensor of each example's loss, shape ({len(targets)},), or "
                f"their mean, shape (); gives {described(loss)}"
            )
        return loss if loss.ndim < 2 else loss.flatten(1).mean(1)


CROSS_ENTROPY = Goal()

_LEAVES_OUT_NONE = torch.iinfo(torch.int64).min
"""By default torch leaves out targets of -100 in silence: their mean loss would be of other tokens than their sum."""


def goal_of(recipe: Recipe, device: torch.device, code: CodeFolders) -> Goal:
    """The recipe's goal, on `device`. Raises what `Factory.make` raises, and `RecipeError`."""
    made = {table: factory for table, factory in factories_of(recipe).items() if table.startswith("task.")}
    functions = {table: _function(factory, device, code) for table, factory in made.items()}
    return Goal(recipe.task.kind == "classification", functions.get("task.loss"), functions.get("task.metric"))


def _function(factory: Factory, device: torch.device, code: CodeFolders) -> Function:
    made = factory.make(code)
    hint = "return a function of outputs and targets"
    if not callable(made):
        raise factory.wrong(f"{factory.name} returned {described(made)}, which cannot be called", hint)
    if isinstance(made, nn.Module):
        if next(made.parameters(), None) is not None:
            raise factory.wrong(f"{factory.name} returned a module with parameters, which nothing would train", hint)
        made = made.to(device)
    function: Function = made
    return function


def _cross_entropy(outputs: Tensor, targets: Tensor, reduction: str) -> Tensor:
    """Of logits (B, ..., K) and class numbers (B, ...). Raises `DataError` if they do not fit."""
    if outputs.shape[:-1] != targets.shape or targets.is_floating_point():
        raise DataError(
            f"the network's outputs, {described(outputs)}, do not fit the targets, {described(targets)}: a "
            "classification needs outputs (B, ..., K) and class numbers (B, ...), int64; for numbers set "
            'task.kind = "regression"'
        )
    try:
        flat = outputs.flatten(0, -2), targets.flatten()
        return cross_entropy(*flat, reduction=reduction, ignore_index=_LEAVES_OUT_NONE)
    except IndexError as error:  # a GPU does not look
        raise DataError(
            f"the network has {outputs.shape[-1]} outputs for each target, but a target is not one of the classes 0 to "
            f"{outputs.shape[-1] - 1} ({error}): change the network's outputs; targets to leave out, such as padding, "
            "take a loss of your own, task.loss.factory"
        ) from error


def _alike(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    if outputs.shape != targets.shape:
        raise DataError(
            f"the network's outputs, {described(outputs)}, do not have the shape of the targets, "
            f"{described(targets)}: torch would compare each with each; add or drop a dimension"
        )
    return outputs, targets.to(outputs.dtype)
