"""The house stands as its plan says: who may import what, and what a light command may load."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = (
    "torch",
    "torchvision",
    "sqlalchemy",
    "alembic",
    "optuna",
    "sklearn",
    "scipy",
    "plotext",
    "numpy",
    "plotly",
    "jinja2",
    "matplotlib",
)


def test_each_module_imports_only_to_its_right():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["plan", "--from", "128", "--to", "4096"],
        ["plan", str(ROOT / "recipes/resnet44.toml"), "--to", "4096", "--json"],
        ["schema"],
        ["models"],
        ["train", "--help"],
        ["resume", "--help"],
        ["verify-resume", "--help"],
        ["compare", "--help"],
        ["runs", "--help"],
        ["runs", "delete", "--help"],
        ["db", "query", "--help"],
        ["ladder", "--help"],
        ["ladders", "--help"],
        ["refine", "--help"],
        ["calibrate", "--help"],
    ],
    ids=" ".join,
)
def test_a_light_command_loads_nothing_heavy(words):
    program = (
        "import sys\n"
        "from lbadvisor.cli.app import app\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_the_top_level_holds_only_the_named_folders():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    tops = {line.split("/")[0] for line in listed.stdout.splitlines()}
    named = {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", ".gitignore", ".ci"}
    assert tops <= named | {"lbadvisor", "tests", "recipes", "db"}


def test_every_public_name_is_there_and_importing_the_package_loads_nothing():
    program = (
        "import sys, lbadvisor\n"
        "assert not [m for m in sys.modules if m.startswith('lbadvisor.')]\n"
        "for name in lbadvisor.__all__:\n    assert getattr(lbadvisor, name).__name__ == name\n"
        "assert set(lbadvisor._HOMES) == set(lbadvisor.__all__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
