"""Claims about `lbadvisor runs`, `models` and `schema`."""

import csv
import io
import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lbadvisor.cli.app import app
from lbadvisor.errors import RefusedError, StoreError, UnknownRunError, UsageError
from lbadvisor.recipe.catalog import DATASETS, NETWORKS, TORCHVISION_NETWORKS
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import AdaptedFrom, Batch, Data, Model, Sgd
from lbadvisor.recipe.schedule_tables import Schedule
from lbadvisor.records.run import Environment, Measurement, RunStatus
from lbadvisor.store import Store
from lbadvisor.store.run_folder import checkpoint_folder, only_process

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


@pytest.fixture
def folders(database: Path) -> dict[str, Path]:
    """The runs' folders, each with a checkpoint's file; that of `done` has its name, as the first versions made it."""
    with Store.open(database, create=False) as store:
        done, stopped = store.runs()
    own = checkpoint_folder(database, done)
    made = {
        "done": own.with_name(own.name.replace(f"{done.number}-", f"{done.name}-", 1)),
        "stopped": checkpoint_folder(database, stopped),
    }
    for folder in made.values():
        folder.mkdir(parents=True)
        (folder / "update-0000000005.ckpt").write_bytes(b"weights")
    return made


def test_filters_choose_the_runs_that_are_listed(database: Path) -> None:
    with Store.open(database, create=False) as store:
        ladder = store.add_ladder("rungs", RECIPE, 512)
        store.add_to_ladder(ladder.number, "ra", 1)

    def listed(*words: str) -> list[int]:
        body = json.loads(invoke("runs", *words, "--json", "--db", str(database)).stdout)
        return [run["number"] for run in body["runs"]]

    assert listed("--recipe", "small") == [1, 2]
    assert listed("--recipe", "large") == []
    assert listed("--ladder", "rungs") == [1]
    assert listed("--where", "accuracy>96", "--where", "batch=512") == [1]
    assert listed("--where", "accuracy=none", "--status", "stopped") == [2]
    assert listed("--limit", "1") == [2]


def test_a_filter_that_names_nothing_there_is_a_usage_error(database: Path) -> None:
    for words in (["--ladder", "rnugs"], ["--where", "statsu=done"]):
        result = invoke("runs", *words, "--db", str(database))
        assert isinstance(result.exception, UsageError)
        assert result.stdout == ""


@pytest.mark.parametrize("name", ["done", "[red]stopped"])
def test_a_renamed_run_keeps_its_number_its_measurements_and_its_checkpoints(
    database: Path, folders: dict[str, Path], name: str
) -> None:
    result = invoke("runs", "rename", name, "better", "--db", str(database))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"{name} is now better\n"
    with Store.open(database, create=False) as store:
        run = store.run("better")
        assert run.number == {"done": 1, "[red]stopped": 2}[name]
        assert len(store.measurements(run.number)) == {"done": 12, "[red]stopped": 0}[name]
        assert store.find_run(name) is None
    assert checkpoint_folder(database, run) == folders[name.removeprefix("[red]")]


@pytest.mark.parametrize(
    ("name", "error"), [("done", StoreError), ("7", UsageError), ("a b", UsageError), ("rungs", UsageError)]
)
def test_a_name_that_is_taken_or_none_changes_nothing(database: Path, name: str, error: type[Exception]) -> None:
    with Store.open(database, create=False) as store:
        store.add_ladder("rungs", RECIPE, 512)
    assert isinstance(invoke("runs", "rename", "2", name, "--db", str(database)).exception, error)
    with Store.open(database, create=False) as store:
        assert store.run_names() == ["done", "[red]stopped"]


def test_a_deleted_run_takes_its_measurements_and_its_checkpoints_along(
    database: Path, folders: dict[str, Path]
) -> None:
    result = invoke("runs", "delete", "done", "--yes", "--db", str(database))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "deleted done\n")
    assert [folder.exists() for folder in folders.values()] == [False, True]
    with Store.open(database, create=False) as store:
        assert store.run_names() == ["[red]stopped"]
        with pytest.raises(UnknownRunError):
            store.measurements(1)
        assert store.add_run("next", RECIPE, 0, 12, CPU).number == 3


def test_a_deleted_run_leaves_its_ladder(database: Path) -> None:
    with Store.open(database, create=False) as store:
        store.add_to_ladder(store.add_ladder("rungs", RECIPE, 512).number, "ra", 1)
    assert invoke("runs", "delete", "1", "--yes", "--db", str(database)).exit_code == 0
    with Store.open(database, create=False) as store:
        ladder = store.find_ladder("rungs")
        assert ladder is not None
        assert ladder.arms == ()


def test_deleting_asks_and_without_a_terminal_it_refuses(database: Path, folders: dict[str, Path]) -> None:
    result = invoke("runs", "delete", "done", "--db", str(database))
    assert isinstance(result.exception, RefusedError)
    assert "give --yes" in str(result.exception)
    dry = invoke("runs", "delete", "done", "2", "--dry-run", "--db", str(database))
    assert "would delete done (12 of 12 updates, complete), [red]stopped (0 of 12 updates, stopped)" in dry.stdout
    unknown = invoke("runs", "delete", "done", "doen", "--yes", "--db", str(database))
    assert isinstance(unknown.exception, UnknownRunError)
    with Store.open(database, create=False) as store:
        assert len(store.runs()) == 2
    assert all(folder.exists() for folder in folders.values())


def test_a_run_that_a_process_trains_is_neither_deleted_nor_renamed(database: Path, folders: dict[str, Path]) -> None:
    with only_process(folders["stopped"], "[red]stopped"):
        for words in (["delete", "2", "--yes"], ["rename", "2", "other"]):
            result = invoke("runs", *words, "--db", str(database))
            assert isinstance(result.exception, RefusedError)
            assert "another process is training the run" in str(result.exception)
    with Store.open(database, create=False) as store:
        assert store.run_names() == ["done", "[red]stopped"]
    assert folders["stopped"].exists()


def test_an_export_has_one_row_per_measurement_in_full_precision(database: Path, tmp_path: Path) -> None:
    with Store.open(database, create=False) as store:
        nan = float("nan")
        store.record(2, [Measurement(1, 0.1, 512, nan, 0.25, nan, nan, nan, None, None, 1 / 3)])
    text = invoke("runs", "export", "2", "1", "--db", str(database)).stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["run"], row["update"]) for row in rows[:2]] == [("[red]stopped", "1"), ("done", "1")]
    assert (rows[0]["loss"], rows[0]["evaluation_loss"], float(rows[0]["seconds"])) == ("nan", "", 1 / 3)
    assert (len(rows), rows[-1]["evaluation_accuracy_percent"], rows[-1]["seed"]) == (13, "96.5", "7")
    out = tmp_path / "out.csv"
    assert invoke("runs", "export", "2", "1", "--out", str(out), "--db", str(database)).stdout == ""
    assert out.read_text() == text
    assert isinstance(invoke("runs", "export", "1", "--out", str(out), "--db", str(database)).exception, UsageError)
    assert invoke("runs", "export", "1", "--out", str(out), "--force", "--db", str(database)).exit_code == 0
    assert len(out.read_text().splitlines()) == 13


def test_an_export_as_json_has_the_runs_with_their_measurements(database: Path) -> None:
    body = json.loads(invoke("runs", "export", "--where", "status=complete", "--json", "--db", str(database)).stdout)
    (run,) = body["runs"]
    assert (body["schema"], run["name"], run["arm"], len(run["measurements"])) == (1, "done", None, 12)
    assert Recipe.model_validate_json(json.dumps(run["recipe"])) == RECIPE


def test_models_lists_every_network_and_data_set() -> None:
    body = json.loads(invoke("models", "--json").stdout)
    assert [network["name"] for network in body["networks"]] == list(NETWORKS)
    assert [network["name"] for network in body["torchvision_networks"]] == list(TORCHVISION_NETWORKS)
    assert [dataset["name"] for dataset in body["datasets"]] == list(DATASETS)
    table = invoke("models").stdout
    assert "lbadvisor[timm]" in table
    torchvisions = (name.removeprefix("torchvision:") for name in TORCHVISION_NETWORKS)
    assert all(name in table for name in (*NETWORKS, *DATASETS, *torchvisions))
    assert "60,000" in table


def test_schema_is_a_json_schema_that_forbids_unknown_keys() -> None:
    body = json.loads(invoke("schema").stdout)
    assert body["additionalProperties"] is False
    assert {"data", "model", "batch", "optimizer", "schedule"} <= set(body["required"])
