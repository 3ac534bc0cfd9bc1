"""Stored runs as runs of MLflow."""

import os
from collections.abc import Iterator
from pathlib import Path

from lbadvisor.diagnostics.advance import Advance
from lbadvisor.errors import LbadvisorError, reason_of
from lbadvisor.records.run import Run, RunStatus
from lbadvisor.store import Store
from lbadvisor.trackers.scalars import facts_of_run, scalars_of, settings_of

EXPERIMENT = "lbadvisor"
"""The experiment that the runs belong to."""

MARK, WRITTEN = "lbadvisor.run", "lbadvisor.changed"
"""Tags: which run it is, by its number and beginning; and, once it is written whole, when it had last changed."""

MOST_METRICS, MOST_PARAMETERS = 1000, 100
"""MLflow's own limits for one call: https://mlflow.org/docs/latest/api_reference/rest-api.html#log-batch"""

STATUS = {
    RunStatus.COMPLETE: "FINISHED",
    RunStatus.DIVERGED: "FAILED",
    RunStatus.FAILED: "FAILED",
    RunStatus.RUNNING: "RUNNING",
}
"""MLflow's word for a status; any other is KILLED."""


def tracking_uri_of(place: str) -> str:
    """MLflow's URI: `place` if it is one, else that of the database `mlflow.db` in the folder `place`."""
    return place if "://" in place or place == "databricks" else f"sqlite:///{Path(place).resolve() / 'mlflow.db'}"


def write_to_mlflow(store: Store, run: Run, place: str) -> Iterator[Advance]:
    """Write the run: the fields of its recipe as parameters, its measurements as metrics with the update as the step.

    A run that was written before and has not changed since is left alone; one that has changed replaces the earlier
    one, which MLflow then holds as deleted. Raises `LbadvisorError` without the package mlflow, or if it fails.
    """
    # MLflow would tell its makers that it is used.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise LbadvisorError(f"MLflow is not installed ({error}): pip install 'lbadvisor[mlflow]'") from error
    try:
        if "://" not in place:
            Path(place).mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=tracking_uri_of(place))
        experiment = client.get_experiment_by_name(EXPERIMENT)
        home = None if "://" in place else Path(place).resolve().as_uri()
        number = client.create_experiment(EXPERIMENT, home) if experiment is None else experiment.experiment_id
        mark, changed = f"{run.number} {run.created_at.isoformat()}", run.changed_at.isoformat()
        earlier = client.search_runs([number], f"tags.`{MARK}` = '{mark}'")
        if any(one.data.tags.get(WRITTEN) == changed for one in earlier):
            return
        began = round(1000 * run.created_at.timestamp())
        written = client.create_run(number, began, facts_of_run(run) | {MARK: mark}, run.name).info.run_id
        settings = [Param(*one) for one in settings_of(run).items()]
        for start in range(0, len(settings), MOST_PARAMETERS):
            client.log_batch(written, params=settings[start : start + MOST_PARAMETERS])
        measured = scalars_of(store, run)
        metrics = [
            Metric(name, value, began + round(1000 * (measurement.seconds or 0.0)), measurement.update)
            for measurement, scalars in measured
            for name, value in scalars.items()
        ]
        for start in range(0, len(metrics), MOST_METRICS):
            client.log_batch(written, metrics[start : start + MOST_METRICS])
            yield Advance(f"writing {run.name}", min(start + MOST_METRICS, len(metrics)), len(metrics), "numbers")
        client.set_tag(written, WRITTEN, changed)
        client.set_terminated(written, STATUS.get(run.status, "KILLED"), round(1000 * run.changed_at.timestamp()))
        for one in earlier:
            client.delete_run(one.info.run_id)
    except (MlflowException, OSError) as error:
        raise LbadvisorError(f"MLflow at {place}: {reason_of(error)}") from error
