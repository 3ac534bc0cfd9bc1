"""A training imports what it uses: each of these takes up to a second to import."""

import subprocess
import sys
from pathlib import Path

RECIPE = Path(__file__).parents[2] / "recipes" / "digits.toml"
UNUSED = ("sklearn", "scipy", "optuna", "torchvision", "torch._dynamo", "sympy", "plotly", "matplotlib", "jinja2")
PROGRAM = (
    "import sys\n"
    "from lbadvisor.cli.app import app\n"
    "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
    "print(*sys.modules, file=sys.stderr)"
)


def test_training_digits_imports_neither_torchs_compiler_nor_what_other_commands_use(tmp_path):
    """In a file that exists already, not even what makes one."""
    database = ["--db", str(tmp_path / "a.db"), "--quiet"]
    assert imported("train", str(RECIPE), *database, "--seed", "1").isdisjoint(UNUSED)
    again = imported("train", str(RECIPE), *database, "--seed", "2")
    assert "torch" in again
    assert again.isdisjoint({*UNUSED, "alembic"})


def imported(*words: str) -> set[str]:
    """The modules that the program has imported when it ends."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())
