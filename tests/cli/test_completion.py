"""The shell's completion, asked as bash asks it: the program itself, in a process of its own."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lbadvisor.recipe.file import load_recipe
from lbadvisor.records.run import Environment
from lbadvisor.store import Store

DIGITS = Path(__file__).parents[2] / "recipes" / "digits.toml"
PROGRAM = (
    "import sys\n"
    "sys.argv[0] = 'lbadvisor'\n"
    "from lbadvisor.cli.app import main\n"
    "try:\n    main()\nfinally:\n"
    "    print('torch' in sys.modules, file=sys.stderr)"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with recipes and a database of two runs and a ladder."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "recipes").mkdir()
    for name in ("digits.toml", "recipes/small.toml"):
        (folder / name).write_text(DIGITS.read_text())
    recipe = load_recipe(DIGITS)
    with Store.open(folder / "db" / "lbadvisor.db", create=True) as store:
        run = store.add_run("first", recipe, 0, 10, ENVIRONMENT)
        store.add_run("second", recipe, 1, 10, ENVIRONMENT)
        store.add_to_ladder(store.add_ladder("table", recipe, 1024).number, "sb", run.number)
    (folder / "other.db").write_text("not a database")
    with sqlite3.connect(folder / "foreign.db") as connection:
        connection.execute("CREATE TABLE runs (id INTEGER)")
    connection.close()
    return folder


ENVIRONMENT = Environment("cpu", "a processor", "1.0", "3.13", "2.14", None, None)


def offered(folder, line):
    """What bash would offer at the end of the line."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LBADVISOR_")}
    asked = {"_LBADVISOR_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    before = sorted(folder.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=folder, env=environment | asked, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "False\n")
    assert sorted(folder.rglob("*")) == before
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("lbadvisor train ", ["digits.toml", "recipes/small.toml"]),
        ("lbadvisor plan recipes/", ["recipes/small.toml"]),
        ("lbadvisor resume ", ["second", "first"]),
        ("lbadvisor runs show f", ["first"]),
        ("lbadvisor compare ", ["table", "second", "first"]),
        ("lbadvisor ladders show ", ["table"]),
        ("lbadvisor plan digits.toml --to 64 --distances-from s", ["second"]),
        ("lbadvisor train digits.toml --arm ra", ["ra", "ra-half"]),
        ("lbadvisor ladder digits.toml --arms sb,ra", ["sb,ra", "sb,ra-half"]),
        ("lbadvisor compare first --columns best", ["best accuracy", "best evaluation loss"]),
        ("lbadvisor explain gh", ["ghost"]),
        ("lbadvisor audit --format m", ["mmengine"]),
        ("lbadvisor resume --db missing.db ", [""]),
        ("lbadvisor resume --db other.db ", [""]),
        ("lbadvisor resume --db foreign.db ", [""]),
    ],
    ids=str,
)
def test_the_shell_offers_names_without_torch_or_traces(place, line, names):
    assert offered(place, line) == names


def test_every_shell_has_a_script_for_it():
    done = subprocess.run(
        [sys.executable, "-m", "lbadvisor", "--help"],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "100"},
    )
    assert "--install-completion" in done.stdout
