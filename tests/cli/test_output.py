"""Where results go: a standard output that is full, a file that would be lost, a folder that is missing."""

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from lbadvisor.store import Store

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")  # noqa: PTH110


@needs_full
@pytest.mark.parametrize(
    "words",
    [("plan", "--from", "128", "--to", "4096"), ("schema",), ("models", "--json"), ("--help",), ("--version",)],
    ids=" ".join,
)
def test_a_full_standard_output_is_said_in_a_line(words):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "lbadvisor", *words], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == "error: standard output cannot be written: No space left on device\n"


@needs_full
def test_a_full_standard_error_leaves_the_exit_code():
    words = [sys.executable, "-m", "lbadvisor", "plan", "--from", "128", "--to", "64"]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        assert subprocess.run(words, stderr=full).returncode == 2


def test_a_closed_standard_output_prints_nowhere():
    command = ["bash", "-c", '"$@" >&-', "-", sys.executable, "-m", "lbadvisor", "schema"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "a", "b", "--html", "none/page.html"),
        ("compare", "a", "b", "--png", "none/picture.png"),
        ("ladder", DIGITS, "--to", "256", "--html", "none/page.html"),
        ("plan", DIGITS, "--to", "256", "--out", "none/new.toml"),
        ("refine", DIGITS, "--to", "256", "--out", "none/new.toml"),
        ("runs", "export", "--out", "none/runs.csv"),
    ],
    ids=lambda words: " ".join((words[0], *words[-2:])),
)
def test_a_missing_folder_is_wrong_input_and_is_not_made(place, words):
    done = place.run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be written: the folder none does not exist" in done.stderr
    assert list(place.folder.iterdir()) == []


def test_an_export_does_not_replace_the_database(place):
    assert place.run("train", DIGITS, "--schedule-scale", "0.1").returncode == 0
    done = place.run("runs", "export", "--out", "db/lbadvisor.db", "--force")
    assert done.returncode == 2
    assert "db/lbadvisor.db is the input file" in done.stderr
    assert place.run("runs").returncode == 0


def test_a_refinement_does_not_replace_the_baseline(place):
    (place.folder / "r.toml").write_text(Path(DIGITS).read_text())
    done = place.run("refine", "r.toml", "--to", "256", "--out", "r.toml", "--force")
    assert (done.returncode, done.stdout) == (2, "")
    assert "r.toml is the input file" in done.stderr
    assert (place.folder / "r.toml").read_text() == Path(DIGITS).read_text()


@pytest.mark.parametrize("words", [("--to", "32"), ("--to", "256", "--seed", str(2**63 - 1))], ids=" ".join)
def test_a_refinement_without_anything_to_search_or_with_absurd_seeds_is_refused(place, words):
    done = place.run("refine", DIGITS, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "every exponent gives the same" in done.stderr or "'--seed'" in done.stderr
    assert list(place.folder.iterdir()) == []


def test_an_export_goes_to_standard_output_or_to_a_file(place):
    assert place.run("train", DIGITS, "--schedule-scale", "0.1", "--name", "a", "-q").returncode == 0
    for form in ((), ("--json",)):
        done = place.run("runs", "export", *form)
        assert (done.returncode, done.stderr) == (0, "")
        assert place.run("runs", "export", *form, "--out", "out").returncode == 0
        assert (place.folder / "out").read_text() == done.stdout
        (place.folder / "out").unlink()
    assert done.stdout.startswith('{\n  "schema": 1')


def test_an_error_breaks_between_words_on_a_narrow_terminal():
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "lbadvisor", "plan", "--from", "128", "--to", "64"]
    environment = os.environ | {"COLUMNS": "40", "TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=theirs, env=environment) as process:
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # Linux ends a terminal that nobody holds any more with an error
            while part := os.read(ours, 65536):
                said += part
        os.close(ours)
    assert process.returncode == 2
    lines = said.decode().splitlines()
    assert lines[0] == "error: the target batch size 64 is below"
    assert max(map(len, lines)) <= 40
    assert " ".join(lines).endswith("to a larger one")


@pytest.mark.parametrize(("words", "begins"), [((), "run,arm,seed,update"), (("--json",), "{")])
def test_an_export_is_written_to_standard_output(place, words, begins):
    """That one is guarded against a full disk, and takes text alone."""
    Store.open(place.database, create=True).close()
    done = place.run("runs", "export", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(begins)
