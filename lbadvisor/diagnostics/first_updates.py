"""The first updates of a training, for what looks at its beginning."""

from collections.abc import Iterator

from lbadvisor.recipe.early_milestones import without_distances
from lbadvisor.training.data.dataset import Dataset
from lbadvisor.training.loop import train
from lbadvisor.training.memory import naming_what_fits
from lbadvisor.training.state import TrainState


def first_updates(state: TrainState, dataset: Dataset, updates: int) -> Iterator[int]:
    """The first updates of a training, by number, without evaluation, which comes at the end."""
    # Keep the whole schedule as planned, but measure nothing on the way.
    cadence = type(state.recipe.measurements)()
    state.recipe = without_distances(state.recipe).model_copy(update={"measurements": cadence})
    for _ in naming_what_fits(train(state, dataset), state):
        yield state.update
        if state.update == updates:
            return
