"""A stored run as trackers take it: scalars by name at each update, and its settings as text."""

import re
from collections.abc import Iterator

from lbadvisor.recipe.recipe import fields_of
from lbadvisor.records.quantities import QUANTITIES, UPDATE
from lbadvisor.records.run import Measurement, Run
from lbadvisor.store import Store


def scalars_of(store: Store, run: Run) -> list[tuple[Measurement, dict[str, float]]]:
    """Each measurement of the run with its numbers by the keys of quantities; `quantity/part` of a part's reading."""
    measurements = store.measurements(run.number)
    scalars = {one.update: dict(_numbers(one)) for one in measurements}
    for reading in store.readings(run.number):
        name = f"{reading.quantity}/{reading.part}" if reading.part else reading.quantity
        scalars[reading.update][name] = reading.value
    return [(one, scalars[one.update]) for one in measurements]


def _numbers(measurement: Measurement) -> Iterator[tuple[str, float]]:
    for quantity in QUANTITIES:
        value = getattr(measurement, quantity.key)
        if quantity is not UPDATE and value is not None:
            yield quantity.key, float(value)


def settings_of(run: Run) -> dict[str, str]:
    """The fields of the run's recipe; `schedule.milestones[0].update` as `schedule.milestones.0.update`."""
    return {re.sub(r"\[(\d+)\]", r".\1", field): str(value) for field, value in fields_of(run.recipe)}


def facts_of_run(run: Run) -> dict[str, str]:
    """What else is known of the run, by name."""
    facts = {
        "seed": run.seed,
        "plan": run.plan_number,
        "guarantee": run.guarantee,
        "status": run.status,
        "ended_because": run.ended_because,
        "git_commit": run.environment.git_commit,
        "device": run.environment.device_name,
    }
    return {name: str(value) for name, value in facts.items() if value is not None}
