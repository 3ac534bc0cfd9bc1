"""Small comparisons of runs that differ in their recipe, their seed and their last accuracy."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime

import pytest
from plain_results import result_of

from lbadvisor.comparison.compare import compare_runs
from lbadvisor.comparison.comparison import Comparison, RunResult
from lbadvisor.recipe.parts import Part
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import AdaptedFrom, Batch, Data, Model, Sgd
from lbadvisor.recipe.schedule_tables import Schedule
from lbadvisor.records.run import Environment, Measurement, Run, RunStatus

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CPU = Environment("cpu", "a processor", "0.1.0", "3.11.0", "2.15.0", None, None)
PARTS: dict[str, tuple[Part, ...] | None] = {
    "sb": None,
    "lb": (),
    "lr": ("lr",),
    "gbn": ("lr", "ghost"),
    "ra": ("lr", "ghost", "regime"),
    "ghost": ("ghost",),
    "clip": ("clip",),
}
"""What each group adapts: sb is the baseline of batch 32, lb the naive large batch of 512."""
Accuracies = Sequence[float] | dict[int, float | None]


def a_recipe(parts: tuple[Part, ...] | None) -> Recipe:
    adapted = None
    if parts is not None:
        adapted = AdaptedFrom(
            recipe="small", recipe_hash="0" * 64, batch_size=32, parts=parts, lr_rule="sqrt", program="lbadvisor"
        )
    return Recipe(
        schema=1,
        name="small",
        data=Data(name="digits", train_examples=1024),
        model=Model(name="digits_mlp"),
        batch=Batch(size=32 if parts is None else 512),
        optimizer=Sgd(name="sgd", lr=0.05),
        schedule=Schedule(updates=20),
        adapted_from=adapted,
    )


def compared(*groups: tuple[str, Accuracies], diverged: Collection[tuple[str, int]] = ()) -> Comparison:
    """Groups by name, each with the accuracies its runs ended with, of the seeds 0, 1, ... or by seed.

    An accuracy of None is a run without an evaluation; `diverged` are (group, seed), which keep their accuracy.
    """
    found: list[RunResult] = []
    for name, accuracies in groups:
        by_seed = accuracies if isinstance(accuracies, dict) else dict(enumerate(accuracies))
        for seed, accuracy in by_seed.items():
            number = 1 + len(found)
            status = RunStatus.DIVERGED if (name, seed) in diverged else RunStatus.COMPLETE
            run = Run(
                number, f"{name}-s{seed}", a_recipe(PARTS[name]), None, seed, status, None, 20, 20, CPU, NOON, NOON, 0
            )  # fmt: skip
            loss = None if accuracy is None else 0.1
            found.append(
                result_of(run, [Measurement(20, 1.0, 640, 0.5, 0.05, 1.0, 0.0, 1.0, loss, accuracy, 1)])
            )  # fmt: skip
    # As a ladder does: groups keep their names, whether of one run or of several.
    labels = [(result.run.number, result.run.name.partition("-")[0]) for result in found]
    return compare_runs(found, labels=labels)


@pytest.fixture(scope="session")
def comparison_of() -> Callable[..., Comparison]:
    """A function that compares groups: see `compared`."""
    return compared
