"""What the diagnostics of stored runs are of: the runs, and the baseline and target batch size behind them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lbadvisor.errors import UsageError
from lbadvisor.planning.plan import plan_of_json
from lbadvisor.recipe.identity import digest_of
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.records.run import Run
from lbadvisor.runs.selection import Selection, select
from lbadvisor.store import Store


@dataclass(frozen=True, slots=True)
class Subject:
    """Stored runs of one baseline; `target_batch_size` is the largest that they were adapted to, None without any."""

    selection: Selection
    baseline: Recipe
    target_batch_size: int | None

    def of_each_recipe(self, at_most: int) -> tuple[Run, ...]:
        """The first runs of those that differ only in their seed, in the order of the runs."""
        counts: Counter[str] = Counter()
        chosen = []
        for run in self.selection.runs:
            counts[digest_of(run.recipe)] += 1
            if counts[digest_of(run.recipe)] <= at_most:
                chosen.append(run)
        return tuple(chosen)


def subject_of(store: Store, names: Sequence[str]) -> Subject:
    """The runs and ladders that `names` name, and what they came from.

    Raises `UnknownRunError`, and `UsageError` for runs of several baselines.
    """
    selection = select(store, names)
    baselines = {digest_of(baseline): baseline for baseline in (_baseline(store, run) for run in selection.runs)}
    if len(baselines) > 1:
        named = ", ".join(f"{recipe.name} (batch {recipe.batch.size})" for recipe in baselines.values())
        raise UsageError(f"these runs come from different baselines, {named}: name the runs of one")
    targets = [run.recipe.batch.size for run in selection.runs if run.plan_number is not None]
    return Subject(selection, next(iter(baselines.values())), max(targets, default=None))


def _baseline(store: Store, run: Run) -> Recipe:
    """The run's recipe, or the one that it was adapted from."""
    return run.recipe if run.plan_number is None else plan_of_json(store.plan_json(run.plan_number)).baseline
