"""What goes wrong around a training is said in a line, and what was kept before is kept."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lbadvisor.records.run import RunStatus
from lbadvisor.store import Store, revision
from lbadvisor.store.run_folder import checkpoint_folder
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints, update_of

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
ASSETS = Path(__file__).parents[1] / "store" / "assets"


def test_a_full_disk_stops_the_run_which_goes_on_once_there_is_room(place):
    """No file may grow above 160 kilobytes: the first state of the run fits, the one with Adam's moments does not."""
    recipe = place.folder / "adam.toml"
    recipe.write_text(Path(DIGITS).read_text().replace('"sgd"', '"adam"').replace("momentum = 0.9\n", ""))
    words = ("train", "adam.toml", "--name", "a")
    limited = ["bash", "-c", 'ulimit -f 160; exec "$@"', "-", sys.executable, "-m", "lbadvisor", *words]
    done = subprocess.run(limited, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be written (File too large): the run resumes from the previous one" in done.stderr
    assert "Traceback" not in done.stderr
    run, _ = place.stored("a")
    assert run.status is RunStatus.FAILED
    folder = checkpoint_folder(place.database, run)
    assert [update_of(path) for path in checkpoints(folder)] == [0]
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "update-0000000000.ckpt"]
    again = place.run(*words)
    assert again.returncode == 0, again.stderr
    run, measurements = place.stored("a")
    assert run.status is RunStatus.COMPLETE
    assert [m.update for m in measurements] == sorted({*range(10, 405, 10), *range(41, 405, 41), 405})


@pytest.mark.parametrize("words", [("train", DIGITS), ("resume", "1"), ("runs",), ("db", "check")], ids=" ".join)
def test_a_file_that_is_no_database_is_refused_and_kept(place, words):
    notes = place.folder / "notes.txt"
    notes.write_text("These are notes, and far from a database. " * 100)
    before = notes.read_bytes()
    done = place.run(*words, "--db", "notes.txt")
    assert (done.returncode, done.stdout) == (1, "")
    assert "notes.txt: it is not a SQLite database" in done.stderr
    assert notes.read_bytes() == before
    assert list(place.folder.iterdir()) == [notes]


@pytest.mark.parametrize("words", [("train", DIGITS), ("resume", "1"), ("runs",)], ids=" ".join)
def test_a_database_of_an_older_program_is_kept_until_it_is_upgraded(place, words):
    old = place.folder / "old.db"
    shutil.copy(ASSETS / "0001.db", old)
    before = old.read_bytes()
    done = place.run(*words, "--db", "old.db")
    assert (done.returncode, done.stdout) == (1, "")
    assert "it has the older schema 0001" in done.stderr
    assert "run `lbadvisor db upgrade`, which keeps a copy" in done.stderr
    assert old.read_bytes() == before
    assert list(place.folder.iterdir()) == [old]
    assert place.run("db", "upgrade", "--db", "old.db").returncode == 0
    # The backup of SQLite copies what is in it; a counter of changes in its head may differ.
    assert revision(place.folder / "old.db.before-0001.bak") == "0001"
    assert place.run("runs", "--db", "old.db").returncode == 0


def test_a_checkpoint_of_another_training_is_refused(place):
    for name, seed in (("a", "0"), ("b", "1")):
        assert place.run("train", DIGITS, "--schedule-scale", "0.1", "--name", name, "--seed", seed).returncode == 0
    files = [checkpoints(checkpoint_folder(place.database, place.stored(name)[0]))[0] for name in ("a", "b")]
    shutil.copy(files[1], files[0])
    with Store.open(place.database, create=False) as store:
        store.set_status(1, RunStatus.STOPPED, None)
    done = place.run("resume", "a")
    assert (done.returncode, done.stdout) == (3, "")
    assert "belongs to another training: recipe digits, seed 1" in done.stderr


def test_the_training_of_a_run_that_diverged_says_what_to_change_and_where_it_can_go_on(place):
    words = ("train", DIGITS, "--name", "a", "--set", "optimizer.lr=1e30")
    done = place.run(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the earlier state, of update 0, is kept; lower optimizer.lr, or clip" in done.stderr
    again = place.run(*words)
    assert again.returncode == 1
    assert "diverges again unless the hardware was at fault" in again.stderr
    assert [update_of(p) for p in checkpoints(checkpoint_folder(place.database, place.stored("a")[0]))] == [0]
