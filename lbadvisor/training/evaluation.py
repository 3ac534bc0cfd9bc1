"""How good the weights are on examples that they were not trained on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from lbadvisor.batch_cuts import EVERYTHING
from lbadvisor.training.data.dataset import Dataset, LabelledImages
from lbadvisor.training.micro_batches import outputs_of
from lbadvisor.training.own_code import naming_own_network
from lbadvisor.training.state import TrainState


class Evaluation(NamedTuple):
    """The mean loss, the accuracy in percent (None of a regression), and the user's metric, if the recipe has one."""

    loss: float
    accuracy_percent: float | None
    metric: float | None = None


def evaluate(state: TrainState, dataset: Dataset, *, test: bool = False) -> tuple[float, float | None]:
    """Mean loss, and accuracy in percent (None of a regression), as `evaluation_of` has them."""
    return evaluation_of(state, dataset, test=test)[:2]


def evaluation_of(state: TrainState, dataset: Dataset, *, test: bool = False) -> Evaluation:
    """The evaluation on the evaluation examples; with `test` on the test split.

    The two are the same unless the recipe holds out validation examples.
    Uses the averaged weights, if any, and batch norm's running statistics. Leaves the state unchanged. The examples are
    cut into shares like a batch; each rank evaluates its own, and all have the result.
    """
    examples = dataset.test_examples if test else dataset.evaluation_examples
    # The user's metric is one of all outputs: every rank then computes all of them.
    parts = [EVERYTHING] if state.goal.metric is not None else state.ranks.own_parts(examples)
    batches = [dataset.evaluation_batches(test=test, own=own) if range(examples)[own] else iter(()) for own in parts]
    return _evaluation(state, batches, examples)


def check_fit(state: TrainState, dataset: Dataset) -> None:
    """Raise what the user's own code raises on the first two examples, or `DataError` if its parts do not fit."""
    batch = next(dataset.evaluation_batches())
    one, two = (part[:2] for part in batch), (part[:2] for part in dataset.training_batch(state.recipe, state.seed, 0))
    for inputs, targets in (one, two):
        _evaluation(state, [iter([(inputs, targets)])], len(targets))


def _evaluation(state: TrainState, parts: Sequence[Iterator[LabelledImages]], examples: int) -> Evaluation:
    """The evaluation on the parts, in order: this rank's shares, or everything if there is a metric."""
    goal, kept = state.goal, list[LabelledImages]()
    state.model.eval()
    totals_S2 = torch.zeros(len(parts), 2, dtype=torch.float64, device=state.interval.device)
    with evaluated_weights(state), torch.inference_mode():
        for totals, batches in zip(totals_S2, parts, strict=True):
            for inputs, targets in _in_slices(batches, state.micro_size):
                with naming_own_network(state.recipe):
                    outputs = outputs_of(state.model, inputs, state.recipe.compute)
                totals[0].add_(goal.total(outputs, targets))
                if goal.has_classes:
                    totals[1].add_(goal.right(outputs, targets))
                if goal.metric is not None:
                    kept.append((outputs, targets))
        metric = goal.value(*map(torch.cat, zip(*kept, strict=True))) if kept else None
        if metric is None:
            totals_S2 = state.ranks.of_shares(totals_S2)
    state.model.train()
    loss, correct = (totals_S2.sum(0) / examples).tolist()
    return Evaluation(loss, 100 * correct if goal.has_classes else None, metric)


def _in_slices(batches: Iterator[LabelledImages], size: int | None) -> Iterator[LabelledImages]:
    for inputs, targets in batches:
        yield from zip(inputs.split(size or len(targets)), targets.split(size or len(targets)), strict=True)


@contextmanager
def evaluated_weights(state: TrainState, *, averaged: bool = True) -> Iterator[None]:
    """While entered, the model has the weights that evaluations use: the averages, if any and if `averaged`."""
    if state.averages is None or not averaged:
        yield
        return
    current = [p.detach().clone() for p in state.parameters]
    _put_weights(state, state.averages)
    try:
        yield
    finally:
        _put_weights(state, current)


def _put_weights(state: TrainState, weights: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, weight in zip(state.parameters, weights, strict=True):
            parameter.copy_(weight)
