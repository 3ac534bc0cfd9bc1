"""The program imports the command that is called, and its help tells the truth about the others."""

import subprocess
import sys

import pytest

from lbadvisor.cli.lazy import COMMANDS, loaded


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_of_a_command_is_the_first_paragraph_of_its_help(name):
    assert COMMANDS[name] == " ".join(loaded(name).help.split("\n\n")[0].split())


@pytest.mark.parametrize(
    ("words", "own"),
    [
        (["--help"], set()),
        (["--version"], set()),
        (["plan", "--from", "128", "--to", "4096"], {"plan"}),
        (["train", "--help"], {"train"}),
        (["runs", "show", "--help"], {"runs"}),
        (["verify-resume", "--help"], {"verify_resume"}),
    ],
    ids=" ".join,
)
def test_only_the_command_that_is_called_is_imported(words, own):
    program = (
        "import sys\n"
        "from lbadvisor.cli.app import app\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "own = [m.rpartition('.')[2] for m in sys.modules if m.startswith('lbadvisor.cli.commands.')]\n"
        "print(*own, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules = {name.replace("-", "_") for name in COMMANDS}
    assert set(done.stderr.split()) & modules == own


def test_a_plan_from_numbers_needs_no_pydantic():
    program = (
        "import sys\n"
        "from lbadvisor.cli.app import app\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert 'pydantic' not in sys.modules"
    )
    words = ["plan", "--from", "128", "--to", "4096"]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_mistyped_command_gets_a_suggestion():
    done = subprocess.run([sys.executable, "-m", "lbadvisor", "pln"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Did you mean" in done.stderr
    assert "'plan'" in done.stderr


def test_a_paragraph_of_help_is_one_line_that_the_terminal_wraps():
    """The source's line ends, at 120 columns, would leave ragged lines on a terminal of 80."""
    for name in COMMANDS:
        own = loaded(name)
        for one in (getattr(own, "commands", None) or {name: own}).values():
            assert all("\n" not in paragraph for paragraph in one.help.split("\n\n")), name
