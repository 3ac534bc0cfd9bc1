"""Claims about `lbadvisor compare`, over a real database."""

import csv
import io
import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lbadvisor.advisor.recipe import AdaptedFrom, Batch, Data, Model, Part, Recipe, Schedule, Sgd
from lbadvisor.advisor.records import Environment, Measurement, RunStatus
from lbadvisor.cli.app import app
from lbadvisor.errors import StoreError, UnknownRunError, UsageError
from lbadvisor.store import Store

CPU = Environment("cpu", "a processor", "0.1.0", "3.11.0", "2.15.0", "0" * 40, False)


def a_recipe(batch: int, parts: tuple[Part, ...] | None) -> Recipe:
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
        batch=Batch(size=batch),
        optimizer=Sgd(name="sgd", lr=0.05),
        schedule=Schedule(updates=20),
        adapted_from=adapted,
    )


def measured(update: int, batch: int, accuracy: float) -> Measurement:
    return Measurement(
        update, update * batch / 1024, update * batch, 0.5, 0.05, 1.0, 0.0, 3.0, 0.25, accuracy, update * 0.1
    )


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Three complete runs: sb ends at 98.5%, lb at 97.5%, and one whose name has a bar at 98.25%."""
    path = tmp_path / "runs.db"
    with Store.open(path, create=True) as store:
        for name, batch, parts, final in (
            ("sb", 32, None, 98.5),
            ("lb", 512, (), 97.5),
            ("a|[b]", 512, ("lr",), 98.25),
        ):
            run = store.add_run(name, a_recipe(batch, parts), 1, 20, CPU)
            store.record(run.number, [measured(10, batch, 50.0), measured(20, batch, final)])
            store.set_status(run.number, RunStatus.COMPLETE, None)
    return path


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colour that the machine running the tests might force."""
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def compare(database: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["compare", *words, "--db", str(database)])


def test_json_has_the_documented_keys_and_the_gap(database: Path) -> None:
    """97.5 is 1 point below 98.5, and 98.25 a quarter of one: three quarters are closed."""
    body = json.loads(compare(database, "sb", "lb", "a|[b]", "--json").stdout)
    assert list(body) == ["schema", "runs", "groups", "changed", "metrics", "gap", "notes"]
    assert body["schema"] == 1
    gap = body["gap"]
    assert (gap["points"], gap["closed_percent"], gap["interval"], gap["seeds"]) == (1.0, 75.0, None, 1)
    assert [group["points"] for group in gap["groups"]] == [0.0, 1.0, 0.25]
    assert {"field": "batch.size", "values": [32, 512, 512]} in body["changed"]
    assert body["runs"][1]["parts"] == []
    assert body["metrics"][0]["differences"] == [0.0, -1.0, -0.25]


def test_json_stays_json_where_training_diverged_to_nan(database: Path) -> None:
    with Store.open(database, create=False) as store:
        run = store.add_run("broken", a_recipe(512, ()), 1, 20, CPU)
        nan = math.nan
        store.record(run.number, [Measurement(10, 5.0, 5120, nan, 0.05, nan, nan, nan, nan, 10.0, 1.0)])
        store.set_status(run.number, RunStatus.DIVERGED, "the loss is not finite")

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    body = json.loads(compare(database, "sb", "broken", "--json").stdout, parse_constant=refuse)
    loss = next(metric for metric in body["metrics"] if metric["name"] == "final_training_loss")
    assert loss["values"] == [0.5, None]
    assert body["notes"] == ["broken stands at update 10 of 20 (diverged: the loss is not finite)"]


def test_runs_are_found_by_number_too(database: Path) -> None:
    assert compare(database, "1", "2", "--json").stdout == compare(database, "sb", "lb", "--json").stdout


def test_tables_show_what_differs_the_signed_differences_and_the_gap(database: Path) -> None:
    result = compare(database, "sb", "lb", "a|[b]", "--no-curve")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "field sb lb a|[b]" in lines
    assert "batch.size 32 512 512" in lines
    assert "accuracy, % 98.50 97.50 -1.00 98.25 -0.25" in lines
    assert "examples 640 10 240 +9 600 10 240 +9 600" in lines
    assert "a|[b] +0.25 75%" in lines
    assert "closes 75% of that gap" in " ".join(lines)
    assert not any("optimizer.lr" in line for line in lines)


def test_output_that_is_no_terminal_has_no_escape_codes(database: Path) -> None:
    assert "\x1b" not in compare(database, "sb", "lb").stdout


def test_a_colourless_curve_tells_runs_apart_by_their_characters(database: Path) -> None:
    output = compare(database, "sb", "lb", "--by", "update").stdout
    drawing = output[output.index("evaluation accuracy, %") :]
    assert "1 sb  2 lb" in drawing
    assert "update" in drawing
    assert "┤1" in drawing or "┤2" in drawing
    assert "evaluation accuracy" not in compare(database, "sb", "lb", "--no-curve").stdout


def test_a_coloured_terminal_gets_a_coloured_curve_and_no_color_takes_the_colours_away(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[94m" in compare(database, "sb", "lb").stdout
    monkeypatch.setenv("NO_COLOR", "1")
    uncoloured = compare(database, "sb", "lb").stdout
    assert not any(f"\x1b[{code}" in uncoloured for code in ("3", "9", "4"))


def test_lengths_far_apart_are_drawn_over_a_logarithm(database: Path) -> None:
    """The runs are 0.6 and 10 epochs long, and both of 20 updates."""
    assert "epoch (logarithmic)" in compare(database, "sb", "lb", "--by", "epoch").stdout
    assert "(logarithmic)" not in compare(database, "sb", "lb", "--by", "update").stdout


def test_runs_without_an_evaluation_have_no_curve(database: Path) -> None:
    with Store.open(database, create=False) as store:
        store.add_run("new", a_recipe(32, None), 1, 20, CPU)
        store.add_run("newer", a_recipe(32, None), 2, 20, CPU)
    result = compare(database, "new", "newer")
    assert result.exit_code == 0
    assert "evaluation accuracy, %" not in result.stdout
    assert "new has no measurement" in result.stdout


def test_markdown_is_three_tables_whose_cells_escape_the_bar(database: Path) -> None:
    lines = compare(database, "sb", "a|[b]", "--md").stdout.splitlines()
    assert "| field | sb | a\\|[b] |" in lines
    assert "| accuracy, % | 98.50 | 98.25 (-0.25) |" in lines
    assert "| a\\|[b] | +0.25 | - |" in lines
    assert lines.count("| --- | ---: | ---: |") == 3


def test_csv_has_one_row_per_run_with_unrounded_numbers(database: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(compare(database, "sb", "lb", "a|[b]", "--csv").stdout)))
    assert [row["name"] for row in rows] == ["sb", "lb", "a|[b]"]
    assert [float(row["final_accuracy_percent"]) for row in rows] == [98.5, 97.5, 98.25]
    assert [row["gap_closed_percent"] for row in rows] == ["", "", "75.0"]
    assert rows[2]["adapted_from.parts"] == "lr"


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["sb"], UsageError, "two runs or more: 1 given"),
        (["sb", "lb", "sb"], UsageError, "given twice"),
        (["sb", "1"], UsageError, "given twice"),
        (["sb", "lbb"], UnknownRunError, "did you mean 'lb'"),
        (["sb", "lb", "--json", "--csv"], UsageError, "exclude one another"),
    ],
)
def test_wrong_requests_are_usage_errors_and_print_nothing(
    database: Path, words: list[str], error: type[Exception], message: str
) -> None:
    result = compare(database, *words)
    assert isinstance(result.exception, error)
    assert result.exception.exit_code == 2
    assert message in str(result.exception)
    assert result.stdout == ""


def test_a_missing_database_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    result = compare(tmp_path / "none" / "runs.db", "1", "2")
    assert isinstance(result.exception, StoreError)
    assert list(tmp_path.iterdir()) == []
