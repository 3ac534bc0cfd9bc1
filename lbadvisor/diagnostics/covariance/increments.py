"""Many increments of the weights at the same weights: of batches of the baseline, and of the target in each variant.

K batches, Q buckets of a sketch.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from lbadvisor.diagnostics.advance import Advance
from lbadvisor.diagnostics.covariance.covariance import CovarianceProbe, Gradients, Variant, point_of
from lbadvisor.diagnostics.covariance.sketch import Sketch, sketch_of
from lbadvisor.diagnostics.first_updates import first_updates
from lbadvisor.errors import LbadvisorError, UsageError
from lbadvisor.planning import rules
from lbadvisor.planning.baseline import baseline_of
from lbadvisor.planning.batch_division import micro_slices
from lbadvisor.planning.plan import advise
from lbadvisor.planning.request import Request
from lbadvisor.recipe.catalog import OPTIMIZERS
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import GradientNoise
from lbadvisor.recipe.schedule import in_updates, rates_at
from lbadvisor.training.data.dataset import Dataset, Preparing
from lbadvisor.training.machine import Machine
from lbadvisor.training.memory import naming_what_fits
from lbadvisor.training.micro_batches import whole_batch
from lbadvisor.training.precision import set_tf32
from lbadvisor.training.seeds import derived_seed, seed_torch
from lbadvisor.training.state import TrainState, is_finite
from lbadvisor.training.update_batch import add_gradients, connections_dropped, update_batch

FEWEST_BATCHES = 8
DEFAULT_TENTH = 1000
"""By default the baseline trains for a tenth of its updates, but no more than this, before it is looked at again."""


@dataclass(frozen=True, slots=True)
class CovarianceRequest:
    """A baseline, a target batch size and its ghost batches, the weights to look at, and how many batches to draw.

    `updates` are those of the baseline after which to look, in order; 0 is the initial weights. Raises `UsageError`,
    and `PlanError` if there is no such target.
    """

    baseline: Recipe
    request: Request
    updates: tuple[int, ...]
    batches: int
    seed: int

    def __post_init__(self) -> None:
        recipe, target = self.baseline, self.request.target_batch_size
        rules.lr_factor(rules.FINITE_POPULATION, recipe.batch.size, target, recipe.data.train_examples)
        if target == recipe.batch.size:
            raise UsageError(f"the target batch size {target} is the baseline's own, so there is nothing to match")
        if OPTIMIZERS[recipe.optimizer.name].divides_by != "nothing":
            raise UsageError(
                f"{recipe.optimizer.name} divides each gradient by an average over the run, so its increments are not "
                "lr times a batch's gradient: only those of sgd can be compared here"
            )
        if self.batches < FEWEST_BATCHES:
            raise UsageError(f"--batches {self.batches}: give at least {FEWEST_BATCHES}, or the intervals say nothing")
        length = in_updates(recipe).schedule.updates or 0
        if not self.updates or list(self.updates) != sorted(set(self.updates)) or not 0 <= self.updates[-1] <= length:
            asked = ",".join(map(str, self.updates))
            raise UsageError(f"--at {asked}: give rising numbers of updates from 0 to {length:,}, the whole training")

    @property
    def examples(self) -> int:
        """Examples that the probe uses."""
        each = sum(recipe.batch.size for recipe in self.variants.values())
        return self.updates[-1] * self.baseline.batch.size + len(self.updates) * self.batches * each

    @property
    def variants(self) -> dict[Variant, Recipe]:
        """The recipe of each variant of batches, in updates; the baseline's first.

        The target's are with the plan's ghost batches and with plain batch norm, if the network has any; and each with
        and without multiplicative noise, unless the baseline has some already.
        """
        baseline = in_updates(self.baseline)
        target = advise(self.baseline, replace(self.request, parts=("ghost", "regime"))).adapted
        plain = {"batch_norm": target.batch_norm.model_copy(update={"ghost_batch_size": None})}
        targets: dict[Variant, Recipe] = {Variant("none"): target}
        if baseline_of(baseline).has_batch_norm:
            targets = {Variant("ghost"): target, Variant("plain"): target.model_copy(update=plain)}
        if baseline.gradient_noise is None:
            noise = GradientNoise(kind="gaussian", ratio=target.batch.size / baseline.batch.size)
            targets |= {
                replace(variant, noise=True): recipe.model_copy(update={"gradient_noise": noise})
                for variant, recipe in targets.items()
            }
        return {Variant("baseline"): baseline} | targets


def default_points(recipe: Recipe) -> tuple[int, ...]:
    """The initial weights, and those after a tenth of the training."""
    return 0, max(1, min((in_updates(recipe).schedule.updates or 0) // 10, DEFAULT_TENTH))


def probe_covariance(
    machine: Machine, request: CovarianceRequest
) -> Generator[Preparing | Advance, None, CovarianceProbe]:
    """Draw the batches; nothing is stored. The machine's micro-batches are those of ghosts at the target.

    Raises the errors of `errors.py`.
    """
    variants = request.variants
    baseline, target = list(variants.values())[:2]
    machine.check(target)
    dataset = yield from machine.prepare(baseline)
    state, done = machine.start(baseline, request.seed, dataset), 0
    sketch, points = sketch_of(state.model, request.seed), []
    micro_size = machine.micro_size(partial(machine.start, target, request.seed, dataset), dataset)
    for update in request.updates:
        for _ in first_updates(state, dataset, update) if update else ():
            done += baseline.batch.size
            yield Advance("drawing batches", done, request.examples, "examples")
        if not is_finite(state):
            raise LbadvisorError(f"{baseline.name} diverged within {update} updates: look at fewer with --at")
        drawn = {}
        for variant, recipe in variants.items():
            at = machine.start(recipe, request.seed, dataset)
            at.model.load_state_dict(state.model.state_dict())
            if variant.batch_norm in ("ghost", "none"):
                at.micro_size = micro_size
            rows = []
            for row_Q in naming_what_fits(drawn_gradients(at, dataset, sketch, update, request.batches), at):
                rows.append(row_Q)
                done += recipe.batch.size
                yield Advance("drawing batches", done, request.examples, "examples")
            drawn[variant] = Gradients(recipe.batch.size, torch.stack(rows))
        lr, examples = rates_at(baseline, update).lr, baseline.data.train_examples
        points.append(point_of(update, lr, drawn, sketch.groups, examples))
    return CovarianceProbe(
        baseline=baseline.name,
        batch_size=baseline.batch.size,
        target_batch_size=request.request.target_batch_size,
        ghost_batch_size=target.batch_norm.ghost_batch_size,
        train_examples=baseline.data.train_examples,
        momentum=baseline_of(baseline).momentum or 0.0,
        batches=request.batches,
        seed=request.seed,
        examples=done,
        points=tuple(points),
    )


def drawn_gradients(state: TrainState, dataset: Dataset, sketch: Sketch, update: int, batches: int) -> Iterator[Tensor]:
    """Sketches of the gradients of independent batches, each drawn as training draws its first one.

    Batches of one size are the same in every variant, so that two variants differ by what they do with them alone.
    """
    torch.set_num_threads(state.threads)
    set_tf32(state.recipe.compute)
    state.model.train()
    for number in range(batches):
        purpose = f"increment {state.recipe.batch.size} {update}"
        drawn = replace(state, update=0, seed=derived_seed(state.seed, purpose, number))
        seed_torch(derived_seed(drawn.seed, "update", 0), state.interval.device)
        state.optimizer.zero_grad(set_to_none=True)
        slices = micro_slices(whole_batch(state.recipe, state.model), state.micro_size)
        with connections_dropped(drawn):
            add_gradients(drawn, update_batch(drawn, dataset, 0), state.model, slices)
        yield sketch.of([torch.zeros_like(p) if p.grad is None else p.grad for p in state.parameters])
