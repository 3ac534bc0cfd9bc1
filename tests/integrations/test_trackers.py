"""Runs in TensorBoard's event files and in MLflow: written and read back by these libraries themselves."""

import math
import subprocess
import sys

import pytest

import lbadvisor
from lbadvisor.errors import LbadvisorError, UsageError
from lbadvisor.recipe.settings import recipe_of_settings
from lbadvisor.runs.importing import import_measured, measured_in, sources_of
from lbadvisor.store import Store
from lbadvisor.trackers.event_files import events_sheet, write_events
from lbadvisor.trackers.mlflow_runs import tracking_uri_of, write_to_mlflow

pytestmark = pytest.mark.filterwarnings("ignore")  # of these libraries' own
SETTINGS = {"batch_size": 50, "examples": 1000, "optimizer": "sgd", "lr": 0.1, "updates": 40, "layers": 3}


@pytest.fixture
def store(tmp_path):
    with lbadvisor.record("mine", SETTINGS, 7, tmp_path / "runs.db", program="my loop") as run:
        run.log(10, loss=2.5, seconds=1.5)
        run.log(20, loss=1.25, accuracy=87.5, group_norm={"linear 1": 3.0}, seconds=3)
    with Store.open(tmp_path / "runs.db", create=False) as opened:
        yield opened


def log_in(store):
    with lbadvisor.record("mine", SETTINGS, 7, store.address, program="my loop", resume=True) as run:
        run.log(30, loss=0.75)


@pytest.fixture
def tensorboard():
    pytest.importorskip("tensorboard")


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """The folder of one MLflow for all tests: it takes seconds to make its database."""
    pytest.importorskip("mlflow")
    return tmp_path_factory.mktemp("tracked")


def scalars_in(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    files = EventAccumulator(str(folder))
    files.Reload()
    return {tag: [(one.step, one.value) for one in files.Scalars(tag)] for tag in files.Tags()["scalars"]}


@pytest.mark.usefixtures("tensorboard")
def test_event_files_hold_the_measurements_once_however_often_they_are_written(store, tmp_path):
    for more in (False, False, True):
        if more:
            log_in(store)
        advances = list(write_events(store, store.run("mine"), tmp_path / "logs"))
    assert [(one.done, one.total) for one in advances] == [(1, 3), (2, 3), (3, 3)]
    assert len(list((tmp_path / "logs" / "mine").iterdir())) == 1
    scalars = scalars_in(tmp_path / "logs" / "mine")
    assert scalars["loss"] == [(10, 2.5), (20, 1.25), (30, 0.75)]
    assert scalars["evaluation_accuracy_percent"] == [(20, 87.5)]
    assert scalars["group_norm/linear 1"] == [(20, 3.0)]
    assert scalars["epoch"] == [(10, 0.5), (20, 1.0), (30, 1.5)]
    assert "gradient_norm" not in scalars


@pytest.mark.usefixtures("tensorboard")
def test_event_files_of_other_programs_stay_and_a_name_leaves_no_folder(store, tmp_path):
    own = tmp_path / "logs" / "mine"
    own.mkdir(parents=True)
    (own / "events.out.tfevents.1.other").touch()
    list(write_events(store, store.run("mine"), tmp_path / "logs"))
    assert (own / "events.out.tfevents.1.other").exists()
    store.rename_run(1, "../mine")
    list(write_events(store, store.run("1"), tmp_path / "logs"))
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["--mine-1", "mine"]


@pytest.mark.usefixtures("tensorboard")
def test_what_was_exported_is_imported_again_as_it_was(store, tmp_path):
    list(write_events(store, store.run("mine"), tmp_path / "logs"))
    recipe = recipe_of_settings(SETTINGS, "again", "my loop")
    sheet = events_sheet(tmp_path / "logs" / "mine")
    measured = measured_in(sheet, sources_of(sheet, ["update=step"]), recipe)
    again = import_measured(store, "again", recipe, 7, measured, sheet.path)
    assert store.measurements(again.number) == store.measurements(1)


@pytest.mark.usefixtures("tensorboard")
@pytest.mark.parametrize("new_style", [False, True], ids=["scalar", "tensor"])
def test_what_torchs_summary_writer_wrote_is_imported(store, tmp_path, new_style):
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(tmp_path / "their"))
    for step in range(3):
        writer.add_scalar("train/loss", 2.0 - step / 2, step, walltime=100.0 + step, new_style=new_style)
    writer.add_scalar("val/acc", 0.75, 2, walltime=102.0, new_style=new_style)
    writer.add_histogram("weights", __import__("torch").arange(4.0), 0)
    writer.close()
    sheet = events_sheet(tmp_path / "their")
    with pytest.raises(UsageError, match=r"Its columns: train/loss, val/acc, step, wall_time"):
        sources_of(sheet, [])
    given = ["update=step+1", "loss=train/loss", "accuracy=100*val/acc", "seconds=wall_time"]
    recipe = recipe_of_settings(SETTINGS, "their", "their loop")
    measured = measured_in(sheet, sources_of(sheet, given), recipe)
    import_measured(store, "their", recipe, 0, measured, sheet.path)
    assert [(one.update, one.loss, one.evaluation_accuracy_percent, one.seconds) for one in store.measurements(2)] == [
        (1, 2.0, None, 0.0),
        (2, 1.5, None, 1.0),
        (3, 1.0, 75.0, 2.0),
    ]


@pytest.mark.usefixtures("tensorboard")
def test_a_folder_without_event_files_says_so(tmp_path):
    with pytest.raises(UsageError, match="it has no scalars of TensorBoard"):
        events_sheet(tmp_path)


def runs_in(tracked, store):
    """The runs that MLflow has of this store's runs."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri_of(str(tracked)))
    (experiment,) = client.search_experiments(filter_string="name = 'lbadvisor'")
    begun = {run.created_at.isoformat() for run in store.runs()}
    runs = client.search_runs([experiment.experiment_id])
    return client, [run for run in runs if run.data.tags["lbadvisor.run"].split()[1] in begun]


def test_mlflow_holds_settings_measurements_and_facts_once(store, tracked):
    for _ in range(2):
        list(write_to_mlflow(store, store.run("mine"), str(tracked)))
    client, (found,) = runs_in(tracked, store)
    assert (found.info.run_name, found.info.status) == ("mine", "FINISHED")
    assert {key: found.data.params[key] for key in ("batch.size", "optimizer.lr", "recorded.layers")} == {
        "batch.size": "50",
        "optimizer.lr": "0.1",
        "recorded.layers": "3",
    }
    assert found.data.tags["seed"] == "7"
    history = client.get_metric_history(found.info.run_id, "loss")
    assert [(one.step, one.value, one.timestamp - found.info.start_time) for one in history] == [
        (10, 2.5, 1500),
        (20, 1.25, 3000),
    ]
    assert found.data.metrics["evaluation_accuracy_percent"] == 87.5
    assert found.data.metrics["group_norm/linear 1"] == 3.0

    log_in(store)
    list(write_to_mlflow(store, store.run("mine"), str(tracked)))
    _, (replaced,) = runs_in(tracked, store)
    assert replaced.info.run_id != found.info.run_id
    assert replaced.data.metrics["loss"] == 0.75


def test_what_was_written_in_part_is_replaced(store, tracked):
    """As after a kill: it has no tag that says it is whole."""
    events = write_to_mlflow(store, store.run("mine"), str(tracked))
    next(events)
    events.close()
    list(write_to_mlflow(store, store.run("mine"), str(tracked)))
    _, (found,) = runs_in(tracked, store)
    assert found.info.status == "FINISHED"


def test_a_diverged_run_keeps_its_infinite_loss(store, tracked):
    store.delete_run(1)
    with lbadvisor.record("gone", SETTINGS, 0, store.address) as run:
        run.log(1, loss=math.inf)
    list(write_to_mlflow(store, store.run("gone"), str(tracked)))
    _, (found,) = runs_in(tracked, store)
    assert found.info.status == "FAILED"
    assert found.data.metrics["loss"] > 1e300  # MLflow's infinity


@pytest.mark.usefixtures("tensorboard")
def test_the_command_writes_every_run_to_both_and_says_where(store, tracked, tmp_path):
    words = ("runs", "export", "--tensorboard", "logs", "--mlflow", str(tracked), "--db", str(store.address))
    command = (sys.executable, "-m", "lbadvisor", *words)
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stdout == ""
    assert "wrote 1 run to logs: `tensorboard --logdir logs` shows them" in ended.stderr
    assert f"wrote 1 run to MLflow at {tracked}: `mlflow ui --backend-store-uri sqlite:///{tracked}/" in ended.stderr
    assert scalars_in(tmp_path / "logs" / "mine")["loss"] == [(10, 2.5), (20, 1.25)]
    assert len(runs_in(tracked, store)[1]) == 1


@pytest.mark.usefixtures("tracked")
def test_a_server_that_is_not_there_is_named(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(LbadvisorError, match=r"MLflow at http://127\.0\.0\.1:9"):
        list(write_to_mlflow(store, store.run("mine"), "http://127.0.0.1:9"))
