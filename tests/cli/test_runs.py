"""Claims about `lbadvisor runs`, `models` and `schema`."""

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lbadvisor.advisor.catalog import DATASETS, NETWORKS
from lbadvisor.advisor.recipe import AdaptedFrom, Batch, Data, Model, Recipe, Schedule, Sgd
from lbadvisor.advisor.records import Environment, Measurement, RunStatus
from lbadvisor.cli.app import app
from lbadvisor.errors import StoreError, UnknownRunError, UsageError
from lbadvisor.store import Store

RECIPE = Recipe(
    schema=1,
    name="large",
    data=Data(name="digits", train_examples=1024),
    model=Model(name="digits_mlp"),
    batch=Batch(size=512),
    optimizer=Sgd(name="sgd", lr=0.25),
    schedule=Schedule(updates=20),
    adapted_from=AdaptedFrom(
        recipe="small",
        recipe_hash="0" * 64,
        batch_size=32,
        parts=("lr", "ghost"),
        lr_rule="sqrt",
        program="lbadvisor 0.1.0",
    ),
)
CPU = Environment("cpu", "a processor", "0.1.0", "3.11.0", "2.15.0", "abc", True)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A complete run of 12 measurements, the last evaluated, and one stopped before its first."""
    path = tmp_path / "runs.db"
    with Store.open(path, create=True) as store:
        done = store.add_run("done", RECIPE, 7, 12, CPU)
        store.record(
            done.number,
            [
                Measurement(
                    u, u / 2, u * 512, 0.5, 0.25, 1.0, 0.0, 3.0, *((0.125, 96.5) if u == 12 else (None, None)), u
                )
                for u in range(1, 13)
            ],
        )
        store.set_status(done.number, RunStatus.COMPLETE, None)
        stopped = store.add_run("[red]stopped", RECIPE, 8, 12, CPU)
        store.set_status(stopped.number, RunStatus.STOPPED, "SIGINT")
    return path


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_the_list_shows_each_run_in_one_row(database: Path) -> None:
    lines = [" ".join(line.split()) for line in invoke("runs", "--db", str(database)).stdout.splitlines()]
    assert any(line.startswith("1 done small 512 lr, ghost 7 complete 12/12 96.50 96.50 12.0") for line in lines)
    assert any(line.startswith("2 [red]stopped small 512 lr, ghost 8 stopped 0/12 - - -") for line in lines)


def test_the_list_as_json_has_the_summary_of_each_run(database: Path) -> None:
    body = json.loads(invoke("runs", "--json", "--db", str(database)).stdout)
    assert body["schema"] == 1
    done, stopped = body["runs"]
    assert (done["name"], done["seed"], done["final_accuracy_percent"]) == ("done", 7, 96.5)
    assert (stopped["status"], stopped["best_accuracy_percent"]) == ("stopped", None)


def test_a_status_chooses_the_runs_that_stand_so(database: Path) -> None:
    body = json.loads(invoke("runs", "--status", "stopped", "--json", "--db", str(database)).stdout)
    assert [run["number"] for run in body["runs"]] == [2]
    assert json.loads(invoke("runs", "--status", "failed", "--json", "--db", str(database)).stdout)["runs"] == []


def test_an_unknown_status_is_a_usage_error(database: Path) -> None:
    result = invoke("runs", "--status", "asleep", "--db", str(database))
    assert result.exit_code == 2
    assert result.stdout == ""


def test_show_gives_the_run_its_environment_its_origin_and_the_last_ten_measurements(database: Path) -> None:
    lines = [
        " ".join(line.split()) for line in invoke("runs", "show", "done", "--db", str(database)).stdout.splitlines()
    ]
    assert "run 1, done" in lines
    assert "adapted from small at batch size 32; parts: lr, ghost; learning rate: sqrt" in lines
    assert "versions lbadvisor 0.1.0, torch 2.15.0, Python 3.11.0" in lines
    assert "git abc with uncommitted changes" in lines
    assert "The last 10 of 12 measurements (--measurements: all)" in lines
    assert any(line.startswith("12 6.00 0.5000 0.25") and line.endswith("96.50 12.0") for line in lines)
    assert any(line.startswith("3 1.50") for line in lines)
    assert not any(line.startswith("2 1.00") for line in lines)


def test_show_says_why_a_run_ended(database: Path) -> None:
    lines = [" ".join(line.split()) for line in invoke("runs", "show", "2", "--db", str(database)).stdout.splitlines()]
    assert "run 2, [red]stopped" in lines
    assert "ended because SIGINT" in lines


def test_the_recipe_that_show_prints_is_toml_that_can_be_read_again(database: Path) -> None:
    text = invoke("runs", "show", "2", "--db", str(database)).stdout
    read = tomllib.loads(text[text.index("Recipe\n") + len("Recipe\n") :])
    assert read["batch"]["size"] == 512
    assert read["adapted_from"]["parts"] == ["lr", "ghost"]


def test_show_as_json_gives_back_the_recipe_and_on_demand_every_measurement(database: Path) -> None:
    body = json.loads(invoke("runs", "show", "1", "--json", "--measurements", "--db", str(database)).stdout)
    assert Recipe.model_validate_json(json.dumps(body["run"]["recipe"])) == RECIPE
    assert body["run"]["environment"]["git_dirty"] is True
    assert [m["update"] for m in body["measurements"]] == list(range(1, 13))
    assert body["measurements"][-1]["evaluation_accuracy_percent"] == 96.5
    fewer = json.loads(invoke("runs", "show", "1", "--json", "--db", str(database)).stdout)
    assert [m["update"] for m in fewer["measurements"]] == list(range(3, 13))


def test_an_unknown_run_is_named_with_the_nearest_one(database: Path) -> None:
    result = invoke("runs", "show", "dine", "--db", str(database))
    assert isinstance(result.exception, UnknownRunError)
    assert "did you mean 'done'" in str(result.exception)


def test_an_option_before_show_is_refused_rather_than_ignored(database: Path) -> None:
    result = invoke("runs", "--db", str(database), "show", "done")
    assert isinstance(result.exception, UsageError)
    assert result.stdout == ""


def test_listing_a_missing_database_is_an_error_and_makes_nothing(tmp_path: Path) -> None:
    result = invoke("runs", "--db", str(tmp_path / "runs.db"))
    assert isinstance(result.exception, StoreError)
    assert list(tmp_path.iterdir()) == []


def test_models_lists_every_network_and_data_set() -> None:
    body = json.loads(invoke("models", "--json").stdout)
    assert [network["name"] for network in body["networks"]] == list(NETWORKS)
    assert [dataset["name"] for dataset in body["datasets"]] == list(DATASETS)
    table = invoke("models").stdout
    assert all(name in table for name in (*NETWORKS, *DATASETS))
    assert "60 000" in table


def test_schema_is_a_json_schema_that_forbids_unknown_keys() -> None:
    body = json.loads(invoke("schema").stdout)
    assert body["additionalProperties"] is False
    assert {"data", "model", "batch", "optimizer", "schedule"} <= set(body["required"])
