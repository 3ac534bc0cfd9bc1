"""One table says what can be measured: a new quantity is everywhere once it stands there and is measured."""

import ast
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from lbadvisor.records.quantities import QUANTITIES, READINGS
from lbadvisor.records.run import Measurement

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "lbadvisor"
ROW = """
WEIGHT_NORM = Quantity(
    key="weight_norm",
    label="weight norm",
    unit="",
    format=",.3f",
    explanation="L2 norm of the weights",
    rank=7,
    drawing=Drawing("Weight norm"),
)

QUANTITIES = (
    WEIGHT_NORM,"""
MEASURED = "weight_norm=sum(p.detach().square().sum().item() for p in state.parameters) ** 0.5,"
LOSS = "evaluation_loss=None if evaluation is None else evaluation.loss,"
MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{before}"

def upgrade() -> None:
    op.add_column("measurements", sa.Column("weight_norm", sa.Float))
"""
COMMANDS = """
import contextlib, io, json, sys
from lbadvisor.cli.app import main
for line in sys.stdin:
    sys.argv, printed, ended = ["lbadvisor", *json.loads(line)], io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        try:
            main()
        except SystemExit as end:
            ended = end.code
    assert not ended, ended
    print(json.dumps(printed.getvalue()), flush=True)
"""
RECIPE = """
schema = 1
name = "tiny"
data = { name = "digits", train_examples = 1297 }
model = { name = "digits_mlp" }
batch = { size = 32 }
optimizer = { name = "sgd", lr = 0.05 }
schedule = { updates = 20 }
measurements = { every_updates = 5 }
"""


def test_the_table_and_the_measurement_have_the_same_fields() -> None:
    assert {quantity.key for quantity in QUANTITIES} == {field.name for field in fields(Measurement)}


def test_no_other_module_writes_a_quantitys_key() -> None:
    """Keys of one word are words of other things, too; released migrations and views are SQL that never changes."""
    allowed = {"records/quantities.py", "store/views.py"}
    keys = [quantity.key for quantity in (*QUANTITIES, *READINGS) if "_" in quantity.key]
    found = []
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if name in allowed or "migrations" in name:
            continue
        tree = ast.parse(path.read_text())
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found += [
            f"{name}: {key}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
            for key in keys
            if re.search(rf"\b{key}\b", node.value)
        ]
    assert found == []


@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda quantity: quantity.key)
def test_the_databases_page_explains_each_quantity_as_the_table_does(quantity) -> None:
    kind = "integer" if quantity.whole else "real"
    row = rf"\| `{quantity.key}` \| {kind}[^|]* \| {re.escape(quantity.explanation)}[^|]* \|"
    assert re.search(row, (ROOT / "db" / "README.md").read_text(), re.IGNORECASE)


@pytest.mark.parametrize("quantity", READINGS, ids=lambda quantity: quantity.key)
def test_the_databases_page_explains_what_can_also_be_measured(quantity) -> None:
    row = f"| `{quantity.key}` | {quantity.also or 'task.metric'} | {quantity.explanation} |"
    assert row in (ROOT / "db" / "README.md").read_text()


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, (path, old)
    path.write_text(text.replace(old, new, 1))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """What a command prints, of the program with one more quantity: a row, a field, what measures it, a migration.

    Two runs are trained.
    """
    folder = tmp_path_factory.mktemp("house")
    package = folder / "lbadvisor"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    replaced(package / "records/quantities.py", "\nQUANTITIES = (", ROW)
    replaced(
        package / "records/run.py", "    seconds: float | None\n", "    seconds: float | None\n    weight_norm: float\n"
    )
    replaced(package / "training/loop.py", LOSS, f"{MEASURED} {LOSS}")
    before = max(path.name[:4] for path in (package / "store/migrations/versions").glob("0*.py"))
    (package / "store/migrations/versions/9999_weight_norm.py").write_text(MIGRATION.format(before=before))
    replaced(package / "store/schema.py", f'"{before}")', f'"{before}", "9999")')
    (folder / "tiny.toml").write_text(RECIPE)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LBADVISOR_")}
    environment |= {"PYTHONPATH": str(folder), "LBADVISOR_DATA": str(folder / "data")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", COMMANDS], cwd=folder, env=environment, text=True, **pipes) as process:

        def tell(*words: str) -> str:
            process.stdin.write(json.dumps(words) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        for seed in ("0", "1"):
            tell("train", "tiny.toml", "--seed", seed, "--quiet")
        yield tell
        process.stdin.close()


def test_a_quantity_that_is_added_is_exported(told: Callable[..., str]) -> None:
    rows = list(csv.DictReader(io.StringIO(told("runs", "export", "1"))))
    assert [row["update"] for row in rows] == ["5", "10", "15", "20"]
    assert all(float(row["weight_norm"]) > 1 for row in rows)
    (run,) = json.loads(told("runs", "export", "1", "--json"))["runs"]
    assert run["measurements"][-1]["weight_norm"] == float(rows[-1]["weight_norm"])


def test_a_quantity_that_is_added_is_shown_compared_and_chosen_by(told: Callable[..., str]) -> None:
    exported = {
        (row["seed"], row["update"]): float(row["weight_norm"])
        for row in csv.DictReader(io.StringIO(told("runs", "export")))
    }
    text = told("compare", "1", "2", "--columns", "weight norm, weight norm at 10", "--json")
    last, at_ten = json.loads(text)["metrics"]
    assert (last["name"], last["label"], last["better"]) == ("weight_norm", "weight norm", "neither")
    assert last["values"] == [exported["0", "20"], exported["1", "20"]]
    assert (at_ten["name"], at_ten["values"][1]) == ("weight_norm_at_10_updates", exported["1", "10"])
    shown = told("runs", "show", "1")
    assert "weight norm" in shown
    assert f"{exported['0', '20']:.3f}" in shown
    between = f"weight_norm>{min(exported['0', '20'], exported['1', '20'])!r}"
    assert len(json.loads(told("runs", "--where", between, "--json"))["runs"]) == 1


def test_a_quantity_that_is_added_is_drawn(told: Callable[..., str], tmp_path: Path) -> None:
    told("compare", "1", "2", "--html", str(tmp_path / "page.html"), "--no-curve")
    page = (tmp_path / "page.html").read_text()
    assert 'id="chart-weight_norm"' in page
    assert "L2 norm of the weights." in page


def test_no_loss_is_told_in_nats_for_a_recipe_may_have_any() -> None:
    """A regression's loss is in squares of its targets' unit: only a cross-entropy is in nats."""
    losses = [quantity for quantity in QUANTITIES if "loss" in quantity.key]
    assert [quantity.key for quantity in losses] == ["evaluation_loss", "loss"]
    assert not any(quantity.unit for quantity in losses)
