"""The training loop."""

import itertools
import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lbadvisor.nn.clipping import ClippingWarmup, gradient_norm
from lbadvisor.nn.moments import pooled
from lbadvisor.nn.population import population_moments, set_statistics, whole_batches
from lbadvisor.nn.weight_distance import distance_of
from lbadvisor.planning.parameter_groups import set_rates
from lbadvisor.recipe.early_milestones import checked_milestone, moved_to, with_milestones
from lbadvisor.recipe.recipe import Recipe, metric_name
from lbadvisor.recipe.schedule import epochs_of, rates_at
from lbadvisor.records.quantities import METRIC
from lbadvisor.records.run import Measured, Measurement, Reading
from lbadvisor.training.allocator import keep_freed_memory
from lbadvisor.training.batch_gradients import BatchGradients
from lbadvisor.training.data.dataset import Dataset
from lbadvisor.training.evaluation import Evaluation, evaluated_weights, evaluation_of
from lbadvisor.training.layer_readings import layer_readings
from lbadvisor.training.noise_readings import noise_readings, reads_noise
from lbadvisor.training.precision import autocast, set_tf32
from lbadvisor.training.seeds import derived_seed, seed_torch
from lbadvisor.training.spanning_ghosts import apart, span_ghosts
from lbadvisor.training.state import TrainState
from lbadvisor.training.update_batch import update_batch


def train(state: TrainState, dataset: Dataset) -> Iterator[Measured | None]:
    """Train `state` to the end of its recipe (in updates); yields after each update what was measured, None if nothing.

    Between two steps of the iterator the state is consistent: it may be saved, and the iterator dropped. Sets torch's
    number of CPU threads and whether CUDA uses TF32, has the process keep freed memory, and seeds torch's global
    generator at each update.
    """
    span_ghosts(state)
    recipe, model, parameters = with_milestones(state.recipe, state.milestones), state.model, state.parameters
    cadence = recipe.measurements
    average = get_ema_multi_avg_fn(recipe.weight_ema.decay) if recipe.weight_ema else None
    torch.set_num_threads(state.threads)
    keep_freed_memory()
    set_tf32(recipe.compute)
    began = time.perf_counter() - state.seconds
    model.train()
    clip = ClippingWarmup(parameters, recipe, update=state.update, clipped=state.interval[1])
    gradients = BatchGradients(state)
    while state.update < (updates := state.last_update):
        rates = rates_at(recipe, state.update)
        evaluates = _is_due(cadence.evaluate_every_updates, state.update + 1, updates)
        measures = evaluates or _is_due(cadence.every_updates, state.update + 1, updates)

        batch = update_batch(state, dataset, state.update)
        loss = gradients.add(batch)
        readings: tuple[Reading, ...] = ()
        if measures and reads_noise(cadence, state.update + 1):
            readings = noise_readings(state, dataset, batch)
        norm = clip.step()
        if norm is None and measures:
            norm = gradient_norm(parameters)
        set_rates(state.optimizer.param_groups, rates.lr, rates.weight_decay)
        state.optimizer.step()
        if average is not None:
            average(state.averages, parameters, state.update)
        state.interval[0].add_(loss)
        state.interval[2].add_(1)
        state.update += 1
        recipe = _with_checked_milestone(state, recipe)

        if state.update == updates and recipe.batch_norm.recompute_at_end:
            recompute_statistics(state, dataset)
        measured = None
        if measures and norm is not None:
            readings += layer_readings(state) if "layers" in cadence.also else ()
            evaluation = evaluation_of(state, dataset) if evaluates else None
            if evaluation is not None and evaluation.metric is not None:
                readings += (Reading(state.update, METRIC.key, metric_name(recipe), evaluation.metric),)
            measured = Measured(_measurement(state, rates.lr, norm.item(), evaluation, began), readings)
        state.seconds = time.perf_counter() - began
        yield measured


def _with_checked_milestone(state: TrainState, recipe: Recipe) -> Recipe:
    """The recipe with its milestones where they are after the check of the weight distance, if one is due."""
    due = checked_milestone(recipe, state.update)
    # Rank 0 decides: on unlike devices the others may be a rounding away.
    if due is None or not state.ranks.decided(weight_distance(state) >= due[1]):
        return recipe
    state.milestones = moved_to(state.milestones, due[0], state.update)
    return with_milestones(state.recipe, state.milestones)


def _measurement(state: TrainState, lr: float, norm: float, evaluation: Evaluation | None, began: float) -> Measurement:
    """What is known after the last update, of gradient norm `norm`; begins a new interval."""
    recipe = state.recipe
    loss_sum, clipped, count = state.interval.tolist()
    state.interval.zero_()
    return Measurement(
        update=state.update,
        epoch=epochs_of(state.update, recipe.data.train_examples, recipe.batch.size),
        examples=state.update * recipe.batch.size,
        loss=loss_sum / count,
        lr=lr,
        gradient_norm=norm,
        clipped_share=clipped / count,
        weight_distance=weight_distance(state),
        evaluation_loss=None if evaluation is None else evaluation.loss,
        evaluation_accuracy_percent=None if evaluation is None else evaluation.accuracy_percent,
        seconds=time.perf_counter() - began,
    )


def _is_due(every: int | None, update: int, updates: int) -> bool:
    return update == updates or (every is not None and update % every == 0)


def recompute_statistics(state: TrainState, dataset: Dataset) -> None:
    """Set batch norm's statistics to those of the whole training set, for the weights that `evaluate` uses.

    The batches are those of the first epoch, with their augmentation: each example once, a function of the seed. They
    are dealt to the ranks in turn, and every rank has all ghosts of its own. The recipe's dropout comes after every
    batch norm, so it has no part in this; the network's own draws masks for each batch. Seeds torch's global
    generators. For what is computed see `set_population_statistics`.
    """
    recipe, ranks = state.recipe, state.ranks
    stream = (dataset.training_batch(recipe, state.seed, update)[0] for update in itertools.count())
    batches = whole_batches(stream, recipe.batch.size, recipe.data.train_examples)
    own = itertools.islice(_seeded(state, batches), ranks.rank, None, ranks.size)
    with evaluated_weights(state), autocast(recipe.compute, state.interval.device), apart(state.model):
        moments = population_moments(state.model, own)
    set_statistics({layer: pooled(ranks.gathered(row)) for layer, row in moments.items()})


def _seeded(state: TrainState, batches: Iterator[Tensor]) -> Iterator[Tensor]:
    for number, batch in enumerate(batches):
        seed_torch(derived_seed(state.seed, "population", number), state.interval.device)
        yield batch


def mean_loss(state: TrainState) -> float:
    """Mean training loss of the updates since the last measurement; nan directly after one."""
    loss_sum, _, updates = state.interval.tolist()
    return loss_sum / updates if updates else math.nan


def weight_distance(state: TrainState) -> float:
    """L2 norm of w_t - w_0 over all parameters, unitless."""
    return distance_of(state.parameters, state.initial)
