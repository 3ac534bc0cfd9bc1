"""Claims about `lbadvisor compare`, over a real database."""

import csv
import io
import json
import math
from pathlib import Path

import pytest
from scipy import stats
from typer.testing import CliRunner, Result

from lbadvisor.cli.app import app
from lbadvisor.errors import StoreError, UnknownRunError, UsageError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import AdaptedFrom, Batch, Data, Model, Part, Sgd
from lbadvisor.recipe.schedule_tables import Schedule
from lbadvisor.records.run import Environment, Measurement, RunStatus
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
    """No colour that the machine running the tests might force, and room for the widest table."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def ladder(tmp_path: Path) -> Path:
    """Arms sb and lb over seeds 0 to 2, errors 2, 3, 4 and 12, 14, 16 percent; lb diverged with a seed 3."""
    path = tmp_path / "ladder.db"
    with Store.open(path, create=True) as store:
        rungs = store.add_ladder("rungs", a_recipe(32, None), 512)
        for arm, batch, parts, accuracies in (
            ("lb", 512, (), (88.0, 86.0, 84.0)),
            ("sb", 32, None, (98.0, 97.0, 96.0)),
        ):
            for seed, accuracy in enumerate(accuracies):
                run = store.add_run(f"{arm}-s{seed}", a_recipe(batch, parts), seed, 20, CPU)
                store.record(run.number, [measured(10, batch, 50.0), measured(20, batch, accuracy)])
                store.set_status(run.number, RunStatus.COMPLETE, None)
                store.add_to_ladder(rungs.number, arm, run.number)
        diverged = store.add_run("lb-s3", a_recipe(512, ()), 3, 20, CPU)
        store.record(diverged.number, [measured(10, 512, 20.0)])
        store.set_status(diverged.number, RunStatus.DIVERGED, "the loss is not finite")
        store.add_to_ladder(rungs.number, "lb", diverged.number)
    return path


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
    assert body["notes"] == ["broken is at update 10 of 20 (diverged: the loss is not finite)"]


def test_runs_are_found_by_number_too(database: Path) -> None:
    assert compare(database, "1", "2", "--json").stdout == compare(database, "sb", "lb", "--json").stdout


def test_tables_show_what_differs_the_signed_differences_and_the_gap(database: Path) -> None:
    result = compare(database, "sb", "lb", "a|[b]", "--no-curve")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "field sb lb a|[b]" in lines
    assert "batch.size 32 512 512" in lines
    assert "accuracy, % 98.50 97.50 98.25" in lines
    assert "best accuracy, % 98.50 97.50 -1.00 98.25 -0.25" in lines
    assert "examples 640 10,240 +9,600 10,240 +9,600" in lines
    assert "a|[b] +0.25 75%" in lines
    assert "closes 75% of that gap" in " ".join(lines)
    assert not any("step:" in line for line in lines)
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
    assert "| best accuracy, % | 98.50 | 98.25 (-0.25) |" in lines
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
        (["sb"], UsageError, "at least two runs: 1 given"),
        (["sb", "lb", "sb"], UsageError, "given twice"),
        (["sb", "1"], UsageError, "given twice"),
        (["sb", "lbb"], UnknownRunError, "did you mean 'lb'"),
        (["sb", "lb", "--json", "--csv"], UsageError, "cannot be combined with another format"),
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


def test_a_ladder_is_compared_by_its_name_in_groups_of_seeds(ladder: Path) -> None:
    """Gaps 10, 11, 12 by seed: mean 11, and 4.303 * 1 / sqrt(3) = 2.48 on each side."""
    body = json.loads(compare(ladder, "rungs", "--json").stdout)
    assert [(group["label"], group["seeds"]) for group in body["groups"]] == [("SB", [0, 1, 2]), ("LB", [0, 1, 2, 3])]
    gap = body["gap"]["groups"][1]
    assert (gap["points"], gap["pairs"]) == (11.0, 3)
    assert gap["points_interval"] == pytest.approx([11 - 2.484, 11 + 2.484], abs=1e-3)
    assert body["groups"][1]["accuracy"] == {"n": 3, "mean": 86.0, "std": 2.0}
    assert "Diverged, and in no mean: lb-s3." in body["gap"]["conclusion"]
    lines = [" ".join(line.split()) for line in compare(ladder, "rungs", "--no-curve").stdout.splitlines()]
    assert "accuracy, % 97.00 ± 1.00 86.00 ± 2.00" in lines
    assert "LB 4, 1 diverged 20 86.00 ± 2.00 +11.00 +8.52 to +13.48 -" in lines


def test_a_run_that_diverged_enters_no_difference_in_any_form(ladder: Path) -> None:
    """lb-s3 diverged at 20%, and differs by no 78 points from anything; nor does anything from it."""
    accuracy = json.loads(compare(ladder, "rungs", "--json").stdout)["metrics"][0]
    assert (accuracy["values"][-1], accuracy["differences"]) == (20.0, [0.0] * 3 + [-10.0, -11.0, -12.0, None])
    row = list(csv.DictReader(io.StringIO(compare(ladder, "rungs", "--csv").stdout)))[-1]
    assert (row["name"], row["final_accuracy_percent"]) == ("lb-s3", "20.0")
    assert [name for name, value in row.items() if name.endswith("_difference") and value] == []

    against = ("lb-s3", "sb-s0")
    metrics = json.loads(compare(ladder, *against, "--json").stdout)["metrics"]
    assert {metric["differences"][1] for metric in metrics} == {None}
    row = list(csv.DictReader(io.StringIO(compare(ladder, *against, "--csv").stdout)))[1]
    assert [name for name, value in row.items() if name.endswith("_difference") and value] == []
    assert "| best accuracy, % | 20.00 | 98.00 |" in compare(ladder, *against, "--md").stdout.splitlines()
    lines = [" ".join(line.split()) for line in compare(ladder, *against, "--no-curve").stdout.splitlines()]
    assert "best accuracy, % 20.00 98.00" in lines
    page = ladder.parent / "report.html"
    assert compare(ladder, *against, "--html", str(page)).exit_code == 0
    assert "78.00" not in page.read_text()


def test_one_seed_beside_several_is_warned_of(ladder: Path) -> None:
    output = " ".join(compare(ladder, "sb-s0", "sb-s1", "lb-s0", "--no-curve").stdout.split())
    assert "note: groups of one seed (lb-s0) beside groups of several" in output
    assert "lb-s0: no two seeds in common with sb, so nothing may be concluded about the gap" in output


def test_conditions_choose_the_runs_that_are_compared(ladder: Path) -> None:
    body = json.loads(compare(ladder, "--where", "batch=512", "--where", "status=complete", "--json").stdout)
    assert [run["name"] for run in body["runs"]] == ["lb-s0", "lb-s1", "lb-s2"]
    assert "one recipe with 3 seeds, so there is no gap" in body["gap"]["conclusion"]
    seeds = json.loads(compare(ladder, "rungs", "--where", "seed<1", "--json").stdout)
    assert [run["name"] for run in seeds["runs"]] == ["sb-s0", "lb-s0"]


def test_columns_choose_the_metrics_and_at_counts_on_the_axis(ladder: Path) -> None:
    """15 updates are 7.5 epochs at batch 512; the runs at batch 32 end after 0.6, and the diverged one after 5."""
    columns = "best accuracy, update of best, accuracy at 15"
    metrics = json.loads(compare(ladder, "rungs", "--columns", columns, "--json").stdout)["metrics"]
    assert [metric["name"] for metric in metrics] == [
        "best_accuracy_percent",
        "best_accuracy_update",
        "accuracy_percent_at_15_updates",
    ]
    assert metrics[0]["values"] == [98.0, 97.0, 96.0, 88.0, 86.0, 84.0, 20.0]
    assert metrics[2]["values"] == [50.0] * 6 + [None]
    by_epoch = json.loads(compare(ladder, "rungs", "--columns", "accuracy at 7.5", "--by", "epoch", "--json").stdout)
    assert by_epoch["metrics"][0]["values"] == [None, None, None, 50.0, 50.0, 50.0, None]


def test_csv_of_groups_has_the_gap_with_its_interval(ladder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(compare(ladder, "rungs", "--csv").stdout)))
    assert [row["group"] for row in rows] == ["SB"] * 3 + ["LB"] * 4
    assert [row["gap_points"] for row in rows] == ["0.0"] * 3 + ["11.0"] * 4
    assert float(rows[-1]["gap_points_low"]) == pytest.approx(8.516, abs=1e-3)
    assert (rows[-1]["gap_pairs"], rows[0]["gap_points_low"]) == ("3", "")


def test_three_groups_have_steps_and_holms_correction_in_every_form(ladder: Path) -> None:
    """Errors 2, 3, 4; 12, 14, 16; 4, 5.5, 6: gaps 11 and 2.17, a step of 8.83, each of three pairs."""
    with Store.open(ladder, create=False) as store:
        rungs = store.find_ladder("rungs")
        assert rungs is not None
        for seed, accuracy in enumerate((96.0, 94.5, 94.0)):
            run = store.add_run(f"lr-s{seed}", a_recipe(512, ("lr",)), seed, 20, CPU)
            store.record(run.number, [measured(20, 512, accuracy)])
            store.set_status(run.number, RunStatus.COMPLETE, None)
            store.add_to_ladder(rungs.number, "lr", run.number)
    gap = json.loads(compare(ladder, "rungs", "--json").stdout)["gap"]
    lb, lr = gap["groups"][1:]
    p = [stats.ttest_1samp(by_seed, 0.0).pvalue for by_seed in ((10, 11, 12), (2, 2.5, 2), (8, 8.5, 10))]
    assert [lb["p_value"], lr["p_value"], lr["step_p_value"]] == pytest.approx(p)
    assert p[0] < p[2] < p[1] < 2 * p[2]
    assert [lb["holm_p_value"], lr["holm_p_value"], lr["step_holm_p_value"]] == pytest.approx(
        [3 * p[0], 2 * p[2], 2 * p[2]]
    )
    assert (gap["tested"], lr["step_points"], lr["step_pairs"]) == (3, pytest.approx(8.8333, abs=1e-4), 3)
    row = list(csv.DictReader(io.StringIO(compare(ladder, "rungs", "--csv").stdout)))[-1]
    assert float(row["step_holm_p_value"]) == lr["step_holm_p_value"]
    assert float(row["gap_holm_p_value"]) == lr["holm_p_value"]
    for form in ("--md", "--no-curve"):
        output = " ".join(compare(ladder, "rungs", form).stdout.split())
        assert "step: accuracy gained on the row above; *: holds after Holm's correction for 3 comparisons" in output
        assert "* +8.52 to +13.48" in output
        assert "After Holm's correction for 3 comparisons, there is still evidence that LB and +LR are worse" in output


def test_many_groups_have_a_row_each_and_no_curve(ladder: Path) -> None:
    with Store.open(ladder, create=False) as store:
        for place in range(12):
            recipe = a_recipe(32, None).model_copy(update={"optimizer": Sgd(name="sgd", lr=0.1 + place)})
            run = store.add_run(f"lr{place}", recipe, 0, 20, CPU)
            store.record(run.number, [measured(20, 32, 90.0 + place / 10)])
    output = compare(ladder, "sb-s0", *(f"lr{place}" for place in range(12))).stdout
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert "lr11 11.1" in lines
    assert any(line.startswith("lr11 91.10") for line in lines)
    assert "13 groups are too many curves for a terminal: use --html FILE" in lines


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rungs", "--columns", "acuracy"], "did you mean `accuracy`"),
        (["rungs", "--columns", "accuracy, accuracy"], "`accuracy` is listed twice"),
        (["rungs", "--where", "batch=big"], "batch is a number"),
        (["--where", "seed=77"], "at least two runs: 0 given"),
        ([], "name at least two runs"),
    ],
)
def test_wrong_words_are_usage_errors_and_print_nothing(ladder: Path, words: list[str], message: str) -> None:
    result = compare(ladder, *words)
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)
    assert result.stdout == ""
