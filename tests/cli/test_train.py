"""`lbadvisor train` as a user runs it: whole processes, a real set, real signals."""

import math
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from lbadvisor.records.run import RunStatus
from lbadvisor.store import Store
from lbadvisor.store.run_folder import checkpoint_folder
from lbadvisor.training.state import checkpoints

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")


def rows(measurements):
    return [tuple(getattr(m, f) for f in m.__slots__ if f != "seconds") for m in measurements]


def test_the_main_job_closes_the_gap_on_the_digits(place):
    done = place.run("train", DIGITS, "--to", "1024")
    assert done.returncode == 0, done.stderr
    run, measurements = place.stored("digits-1024-all-s0")
    assert run.status is RunStatus.COMPLETE
    assert (run.update, run.updates) == (405, 405)
    assert run.recipe.batch_norm.ghost_batch_size == 32
    assert measurements[-1].evaluation_accuracy_percent > 97
    assert f"accuracy {measurements[-1].evaluation_accuracy_percent:.2f}%" in done.stdout
    again = place.run("train", DIGITS, "--to", "1024")
    assert again.returncode == 0
    assert "is already complete" in again.stdout
    assert len(place.stored("digits-1024-all-s0")[1]) == len(measurements)


LONG = ("train", DIGITS, "--set", "measurements.every_updates=7")
SAVING = ("--set", "checkpoints.every_seconds=0.1")


def test_a_stopped_run_ends_as_one_that_was_not(place):
    """Stopped in mid-epoch, politely or not, and gone on with: the same weights bit for bit, each row once."""
    words = (*LONG, *SAVING)
    assert place.run(*words, "--name", "straight").returncode == 0
    straight, expected = place.stored("straight")[1], place.weights("straight")
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL):
        name = f"broken-{stop.name}"
        process = place.start(*words, "--name", name, saving_share=math.inf, held_at=100)
        process.wait_until_held()
        time.sleep(0.1)  # it is due to be saved when it goes on
        process.go_on(to=150)
        if stop is signal.SIGKILL:
            process.kill()
            process.wait(300)
        else:
            err = place.stopped(stop, process)
            run, _ = place.stored(name)
            assert run.status is RunStatus.STOPPED
            assert f"saved {name} at update 150 of 405; the same command resumes it" in err
            assert run.ended_because == "stopped on request at update 150"
        ended = place.run(*words, "--name", name)
        assert ended.returncode == 0, ended.stderr
        from_update = int(re.search(r"resuming from update (\d+)", ended.stderr)[1])
        assert from_update == 150 or (stop is signal.SIGKILL and 100 <= from_update < 150)

        run, measurements = place.stored(name)
        assert (run.status, run.resumes) == (RunStatus.COMPLETE, 1)
        assert rows(measurements) == rows(straight)
        got = place.weights(name)
        assert got.keys() == expected.keys()
        assert all(torch.equal(got[key], expected[key]) for key in got)


def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(place):
    place.stopped(signal.SIGINT, place.held(300, *LONG, *SAVING, "--name", "a"))
    newest = checkpoints(checkpoint_folder(place.database, place.stored("a")[0]))[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    done = place.run(*LONG, *SAVING, "--name", "a")
    assert done.returncode == 0
    assert f"{newest.name} is damaged" in " ".join(done.stderr.split())
    assert place.stored("a")[0].status is RunStatus.COMPLETE


def test_a_run_without_a_sound_checkpoint_does_not_begin_again_unasked(place):
    assert place.run("train", DIGITS, "--schedule-scale", "0.1", "--name", "a").returncode == 0
    with Store.open(place.database, create=False) as store:
        store.set_status(1, RunStatus.STOPPED, "as if it had been stopped")
    run, measurements = place.stored("a")
    for path in checkpoints(checkpoint_folder(place.database, run)):
        path.write_bytes(path.read_bytes()[:100])
    done = place.run("train", DIGITS, "--schedule-scale", "0.1", "--name", "a")
    assert done.returncode == 1
    assert "no sound checkpoint is left: restore one, or train anew with --name" in done.stderr
    assert place.stored("a")[1] == measurements


def test_another_recipe_or_seed_under_the_same_name_is_refused(place):
    assert place.run("train", DIGITS, "--name", "a", "--schedule-scale", "0.1").returncode == 0
    for words, fields in (
        (("--schedule-scale", "0.2"), ["schedule.updates: 41 there, 81 here"]),
        (("--schedule-scale", "0.1", "--seed", "1"), ["seed: 0 there, 1 here"]),
        (("--schedule-scale", "0.1", "--to", "64"), ["batch.size: 32 there, 64 here", "optimizer.lr"]),
    ):
        refused = place.run("train", DIGITS, "--name", "a", *words)
        assert refused.returncode == 3
        assert all(field in refused.stderr for field in fields)
        assert refused.stdout == ""


def test_two_processes_do_not_train_one_run(place):
    first = place.held(50, *LONG, "--name", "a")
    second = place.run(*LONG, "--name", "a")
    first.kill()
    assert second.returncode == 3
    assert "another process is training the run a" in second.stderr


def test_a_database_made_anew_does_not_meet_old_checkpoints(place):
    words = ("train", DIGITS, "--name", "a", "--schedule-scale", "0.1")
    assert place.run(*words).returncode == 0
    for file in place.database.parent.glob("lbadvisor.db*"):
        file.unlink()
    assert place.run(*words).returncode == 0
    assert len(place.stored("a")[1]) > 0


def test_recomputed_statistics_are_a_part_of_the_run(place):
    words = ("train", DIGITS, "--to", "256", "--name", "a", "--schedule-scale", "0.2")
    assert place.run(*words, "--recompute-statistics").returncode == 0
    run, measurements = place.stored("a")
    assert run.recipe.batch_norm.recompute_at_end
    refused = place.run(*words)
    assert refused.returncode == 3
    assert "batch_norm.recompute_at_end: True there, False here" in refused.stderr
    assert place.run(*words[:-4], "--name", "b", *words[-2:]).returncode == 0
    assert place.stored("b")[1][-1].evaluation_loss != measurements[-1].evaluation_loss
    assert place.stored("b")[1][-1].weight_distance == measurements[-1].weight_distance


def test_multiplicative_noise_is_set_on_the_command_line(place):
    noise = ("--set", "gradient_noise.kind=bernoulli", "--set", "gradient_noise.ratio=8")
    done = place.run("train", DIGITS, "--to", "256", "--adapt", "ghost,regime", "--schedule-scale", "0.2", *noise)
    assert done.returncode == 0, done.stderr
    run, _ = place.stored("digits-256-ghost+regime-s0")
    assert (run.recipe.gradient_noise.kind, run.recipe.gradient_noise.ratio) == ("bernoulli", 8.0)
    assert run.recipe.optimizer.lr == 0.05
    refused = place.run("train", DIGITS, *noise[:3], "gradient_noise.ratio=1")
    assert refused.returncode == 2
    assert "gradient_noise.ratio: must be greater than 1, is 1" in refused.stderr


@pytest.mark.parametrize("updates", [(), ("--set", "clipping.updates=10")], ids=["whole run", "warm-up"])
def test_clipping_that_does_the_work_of_the_learning_rate_is_warned_of(place, updates):
    words = ("train", DIGITS, "--schedule-scale", "0.2", *updates)
    low = place.run(*words, "--name", "low", "--set", "clipping.max_norm=0.01")
    assert "warning clipped-share: " in low.stderr
    assert "(0.01) after update " in low.stderr
    assert "lower it (--set optimizer.lr=...)" in low.stderr
    assert "warning" not in low.stdout
    high = place.run(*words, "--name", "high", "--set", "clipping.max_norm=50")
    assert "clipped-share" not in high.stderr
    quiet = place.run(*words, "--name", "quiet", "--quiet", "--set", "clipping.max_norm=0.01")
    assert (quiet.returncode, quiet.stderr) == (0, "")


def test_a_dry_run_writes_nothing(place):
    done = place.run("train", DIGITS, "--to", "1024", "--dry-run")
    assert done.returncode == 0
    assert "would train digits-1024-all-s0 from the start on" in done.stdout
    assert list(place.folder.iterdir()) == []


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged(place):
    done = place.run("train", DIGITS, "--name", "a", "--set", "optimizer.lr=1e30", "--set", "batch.size=1297")
    assert done.returncode == 1
    assert "diverged" in done.stderr
    assert "lower optimizer.lr" in done.stderr
    assert place.stored("a")[0].status is RunStatus.DIVERGED


def test_quiet_says_only_the_result(place):
    done = place.run("train", DIGITS, "--schedule-scale", "0.1", "--quiet")
    assert done.stderr == ""
    assert done.stdout.startswith("digits-32-s0 complete: 41 updates")


def dots(place, monkeypatch, count):
    """The words that train on `count` class-folder images of 96x96; the cache is the place's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(place.folder / "cache"))
    for split, images in (("train", count // 2), ("test", 5)):
        for deviation in (50, 20):
            folder = place.folder / "data" / "dots" / split / f"noise{deviation}"
            folder.mkdir(parents=True)
            Image.effect_noise((96, 96), deviation).convert("RGB").save(folder / "0.png")
            for i in range(1, images):
                (folder / f"{i}.png").hardlink_to(folder / "0.png")
    values = ("data.name=dots", f"data.train_examples={count}", "model.name=f1", "batch.size=10")
    short = ("schedule.updates=2", "schedule.milestones=[]")
    return ("train", DIGITS, *(word for value in (*values, *short) for word in ("--set", value)))


def test_a_stop_while_the_data_are_packed_leaves_nothing_and_says_so(place, monkeypatch):
    process = place.start(*dots(place, monkeypatch, 10_000))
    lines = []
    while "packing dots/train: 0 of 10000 images\n" not in lines:
        lines.append(process.stderr.readline())
        assert lines[-1], lines
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 75, err
    assert "SIGINT: stopped while preparing the data set; no update was made, and nothing half-written is left" in err
    assert "Traceback" not in err
    assert out == ""
    assert not place.database.exists()
    assert [path for path in (place.folder / "cache").rglob("*") if path.is_file()] == []


def test_packing_is_shown_once_and_not_where_it_is_quiet(place, monkeypatch):
    words = dots(place, monkeypatch, 20)
    shown = place.run(*words, "--name", "a")
    assert shown.returncode == 0, shown.stderr
    assert "packing dots/train: 20 of 20 images" in shown.stderr
    assert "packing" not in shown.stdout
    again = place.run(*words, "--name", "b")
    assert (again.returncode, "packing" in again.stderr) == (0, False)
    (place.folder / "data" / "dots" / "train" / "noise50" / "9.png").touch()
    silent = place.run(*words, "--name", "c", "--quiet")
    assert (silent.returncode, silent.stderr) == (0, "")


def test_what_is_loading_is_said_at_once_and_the_loss_from_the_first_update_on(place):
    """On a busy machine there are ten seconds and more before the first measurement."""
    done = place.run("train", DIGITS, "--schedule-scale", "0.5")
    lines = done.stderr.splitlines()
    assert lines[1:4] == ["loading PyTorch", "reading digits", "building digits_mlp"]
    assert re.fullmatch(r"update 1/203 loss \d\.\d{4} \d+\.\d s, about \d+ s left", lines[4])
    assert re.fullmatch(r"update 203/203 epoch 5.* loss .* accuracy \d\d\.\d\d% \d+\.\d s", lines[-1])


def test_a_terminal_shows_the_time_left_by_its_name(place):
    """In a terminal of its own, whose screen is what the program has written to it."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "lbadvisor", "train", DIGITS, "--schedule-scale", "20"]
    settings = {"cwd": place.folder, "env": os.environ | {"COLUMNS": "150"}}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, **settings)
    os.close(theirs)
    screen, progress, row = b"", None, None
    while not (progress and row):
        # Once the process has ended this is an error.
        screen += os.read(ours, 4096)
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.decode(errors="ignore"))
        progress = re.search(r"update \d+/8106 +[\d.,]+/s +\d:\d\d:\d\d left", shown)
        row = re.search(r"loss [0-9.]+ .* accuracy", shown)
    process.kill()
    process.wait()
    os.close(ours)
    assert shown.index("loading PyTorch") < shown.index("reading digits") < progress.start()


def test_the_number_of_times_that_openmp_spins_is_left_to_the_user(place, monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert place.run("plan", DIGITS, "--to", "64").returncode == 0
    assert "GOMP_SPINCOUNT" not in os.environ


RECIPE_PROBLEMS = {
    "an unknown key": ("momentum = 0.9", "momentun = 0.9", "did you mean `momentum`"),
    "a wrong type": ("lr = 0.05", 'lr = "fast"', "optimizer.lr"),
    "out of range": ("lr = 0.05", "lr = -0.05", "must be greater than 0"),
    "a milestone after the end": ("epoch = 7.5", "epoch = 75", "milestones[1]"),
    "broken TOML": ("[optimizer]", "[optimizer", "digits.toml:"),
    "an unknown network": ('"digits_mlp"', '"digits_mpl"', "did you mean `digits_mlp`"),
    "an unknown optimizer": ('name = "sgd"', 'name = "sdg"', "sgd"),
    "a batch above the data": ("size = 32", "size = 5000", "1297"),
    "not a number": ("lr = 0.05", "lr = nan", "optimizer.lr"),
    "twice the same length": ("epochs = 10", "epochs = 10\nupdates = 405", "keep one"),
    "a missing table": ("[model]", "[modell]", "model"),
    "another format": ("schema = 1", "schema = 2", "schema"),
}


@pytest.mark.parametrize(("old", "new", "said"), RECIPE_PROBLEMS.values(), ids=RECIPE_PROBLEMS.keys())
def test_a_wrong_recipe_gets_its_error_and_touches_nothing(place, old, new, said):
    text = Path(DIGITS).read_text()
    assert old in text
    (place.folder / "digits.toml").write_text(text.replace(old, new, 1))
    done = place.run("train", "digits.toml")
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "digits.toml:" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert [p.name for p in place.folder.iterdir()] == ["digits.toml"]


def test_a_run_in_micro_batches_and_bf16_goes_on_with_both(place):
    """--micro is no part of the recipe: without it the run keeps its own, with another it says what that costs."""
    words = ("train", DIGITS, "--to", "128", "--precision", "bf16", "--schedule-scale", "0.1")
    straight = place.run(*words, "--micro", "64", "--name", "straight")
    assert straight.returncode == 0, straight.stderr
    assert "bfloat16 autocast" in straight.stderr
    assert "each update uses micro-batches of 64" in straight.stderr
    long = (*words, "--schedule-scale", "0.5", "--name", "a")
    place.stopped(signal.SIGINT, place.held(50, *long, "--micro", "64"))
    refused = place.run(*long, "--precision", "float32")
    assert refused.returncode == 3
    assert "compute.precision: bf16 there, float32 here" in refused.stderr
    other = place.run(*long, "--micro", "32")
    assert other.returncode == 0, other.stderr
    assert "used micro-batches of 64 and resumes with 32: equal up to rounding, not bit for bit" in other.stderr


WRONG_LINES = {
    "a ghost without a target": (("train", DIGITS, "--ghost", "16"), 2, "--ghost needs the target batch size"),
    "a rule without a target": (("train", DIGITS, "--lr-rule", "linear"), 2, "--lr-rule needs the target batch size"),
    "no such command": (["trian"], 2, "trian"),
    "no such recipe": (["train", "nowhere.toml"], 2, "nowhere.toml"),
    "no such option": (["train", DIGITS, "--too", "64"], 2, "--too"),
    "a batch that is no number": (["train", DIGITS, "--to", "big"], 2, "'big'"),
    "a smaller batch": (["train", DIGITS, "--to", "16"], 2, "below the baseline's 32"),
    "a batch above the data": (["train", DIGITS, "--to", "4096"], 2, "above the 1297 training examples"),
    "an unknown part": (["train", DIGITS, "--to", "64", "--adapt", "lr,gohst"], 2, "unknown part `gohst`"),
    "adapt without a target": (["train", DIGITS, "--adapt", "lr"], 2, "--to B"),
    "a micro-batch that cuts ghosts": (["train", DIGITS, "--to", "64", "--micro", "48"], 2, "a multiple, such as 32"),
    "a micro-batch of plain batch norm": (["train", DIGITS, "--micro", "16"], 2, "ghost batches"),
    "a micro-batch that is no number": (["train", DIGITS, "--micro", "half"], 2, "--micro half"),
    "an unknown precision": (["train", DIGITS, "--precision", "fp16"], 2, "compute.precision"),
    "TF32 on a CPU": (["train", DIGITS, "--device", "cpu", "--set", "compute.tf32=true"], 2, "no TF32"),
    "an unknown device": (["train", DIGITS, "--device", "tpu"], 2, "tpu"),
    "a name with a path": (["train", DIGITS, "--name", "../x"], 2, "cannot name a run"),
    "a number as a name": (["train", DIGITS, "--name", "7"], 2, "cannot name a run"),
    "a replacement of nothing": (["train", DIGITS, "--set", "optimizer.lrr=1"], 2, "did you mean `lr`"),
    "a replacement without a value": (["train", DIGITS, "--set", "optimizer.lr"], 2, "--set"),
    "a schedule of no length": (["train", DIGITS, "--schedule-scale", "0"], 2, "--schedule-scale 0"),
    "no data set": (["train", DIGITS, "--set", "data.name=nowhere", "--data-dir", "."], 1, "no data set nowhere"),
    "no data folder": (["train", DIGITS, "--set", "data.name=mnist", "--data-dir", "typo"], 2, "typo cannot be read"),
    "too few examples": (["train", DIGITS, "--set", "data.train_examples=1000"], 2, "data.train_examples=1297"),
    "comparing nothing stored": (["compare", "a", "b"], 1, "no database"),
    "an unknown rule": (["plan", "--from", "128", "--to", "256", "--lr-rule", "sqr"], 2, "sqrt"),
    "a plan of nothing": (["plan", "--to", "256"], 2, "--from B"),
    "malladi's rule beyond its limit": (
        ["plan", "--from", "128", "--to", "4096", "--optimizer", "adam", "--betas", "sde"],
        2,
        "1279",
    ),
    "a smaller plan": (["plan", "--from", "128", "--to", "64"], 2, "below the baseline's 128"),
}


@pytest.mark.parametrize(("words", "code", "said"), WRONG_LINES.values(), ids=WRONG_LINES.keys())
def test_a_wrong_command_line_gets_its_error_and_touches_nothing(place, words, code, said):
    done = place.run(*words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(place.folder.iterdir()) == []


def test_errors_leave_a_database_as_it_is(place):
    assert place.run("train", DIGITS, "--schedule-scale", "0.1", "--name", "kept").returncode == 0
    before = place.database.read_bytes()
    (place.folder / "bad.toml").write_text(Path(DIGITS).read_text().replace("lr = 0.05", "lr = -1"))
    assert place.run("train", "bad.toml").returncode == 2
    for words, code, _ in WRONG_LINES.values():
        if words[0] == "train":
            assert place.run(*words).returncode == code
    assert place.database.read_bytes() == before
    assert len(list(place.database.parent.glob("checkpoints/*/*"))) == 1


def test_debug_shows_the_traceback(place):
    _, err = place.start("--debug", "plan", "--from", "128", "--to", "64").communicate(timeout=300)
    assert "Traceback" in err
    assert "PlanError" in err


def test_a_folder_that_cannot_be_written_is_an_error(place):
    (place.folder / "db").write_text("a file where the folder should be")
    done = place.run("train", DIGITS, "--schedule-scale", "0.1")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "lbadvisor.db" in done.stderr


def test_what_the_plan_warns_of_is_said_before_training(place):
    words = ("train", DIGITS, "--to", "1024", "--arm", "lb")
    done = place.run(*words)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning batch-near-data: B_L << N does not hold: the batch is 79% of the training") == 1
    assert "warning" not in done.stdout
    assert "warning" not in place.run(*words, "--quiet").stderr


def test_an_adapted_recipe_of_its_own_file_warns_too(place):
    assert place.run("plan", DIGITS, "--to", "1024", "--arm", "lb", "--out", "large.toml").returncode == 0
    said = place.run("train", "large.toml", "--dry-run").stderr
    assert said.count("warning batch-near-data: B_L << N does not hold: the batch is 79% of the training") == 1
    assert "warning" not in place.run("train", "large.toml", "--dry-run", "--quiet").stderr


def test_a_dry_run_warns_of_a_batch_above_the_noise_scale(place):
    done = place.run("train", DIGITS, "--to", "256", "--noise-scale", "80..120", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert (
        done.stderr.count("warning above-noise-scale: the batch of 256 is above the noise scale of 98 (80 to 120)") == 1
    )
    assert "above-noise-scale" not in place.run("train", DIGITS, "--to", "256", "--dry-run").stderr
