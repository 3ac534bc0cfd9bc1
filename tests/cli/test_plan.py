"""`lbadvisor plan` as its users type it."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lbadvisor.cli.app import app
from lbadvisor.diagnostics.noise.noise_estimate import stored_noise_scale
from lbadvisor.errors import UsageError
from lbadvisor.store import Store

RECIPES = Path(__file__).parents[2] / "recipes"
RESNET44 = str(RECIPES / "resnet44.toml")


def plan(*words):
    return CliRunner().invoke(app, ["plan", *words], catch_exceptions=False)


def test_the_command_the_project_is_named_for():
    done = plan("--from", "128", "--to", "4096")
    assert done.exit_code == 0
    for text in ("128 -> 4,096", "r = 32", "5.65685", "lr * sqrt(r)", "arXiv:1705.08741", "square root and regime"):
        assert text in done.stdout


def test_the_golden_plan_of_resnet44_in_json():
    body = json.loads(plan(RESNET44, "--to", "4096", "--json").stdout)
    adapted, lines = body["adapted"], {line["field"]: line for line in body["adjustments"]}
    assert body["batch_ratio"] == 32
    assert adapted["optimizer"]["lr"] == pytest.approx(0.565685, abs=1e-6)
    assert body["baseline"]["schedule"]["epochs"] == 200
    assert lines["schedule.updates"]["before"] == lines["schedule.updates"]["after"] == 78_125
    assert lines["schedule.milestones"]["after"] == [31_641, 47_656, 64_062]
    assert lines["schedule.epochs"]["after"] == 6400
    assert adapted["batch_norm"]["ghost_batch_size"] == 128
    warnings = {w["code"]: w["message"] for w in body["warnings"]}
    assert "0.589628" in warnings["finite-population"]
    assert "to the even number: 64062.5 to 64062" in warnings["rounding"]
    linear = json.loads(plan(RESNET44, "--to", "4096", "--lr-rule", "linear", "--json").stdout)
    assert linear["adapted"]["optimizer"]["lr"] == pytest.approx(3.2)


def test_numbers_on_the_command_line_give_absolute_numbers():
    words = ["--from", "128", "--to", "1024", "--lr", "0.001", "--epochs", "200", "--examples", "50000"]
    body = json.loads(plan(*words, "--optimizer", "adam", "--json").stdout)
    lines = {line["field"]: line["after"] for line in body["adjustments"]}
    assert lines["optimizer.lr"] == pytest.approx(0.001 * 8**0.5)
    assert lines["optimizer.beta1"] == pytest.approx(0.2)
    assert lines["schedule.updates"] == 78_125
    assert (body["baseline"], body["adapted"]) == (None, None)


def test_the_adapted_recipe_is_an_ordinary_recipe_that_plan_refuses_to_adapt_again(tmp_path):
    out = tmp_path / "adapted.toml"
    assert plan(RESNET44, "--to", "4096", "--out", str(out)).exit_code == 0
    text = out.read_text()
    table = tomllib.loads(text)
    assert table["adapted_from"]["recipe"] == "resnet44"
    assert table["schedule"]["updates"] == 78_125
    assert "sqrt: lr * sqrt(r)" in text
    again = CliRunner().invoke(app, ["plan", str(out), "--to", "8192"])
    assert type(again.exception).__name__ == "RefusedError"
    assert again.exception.exit_code == 3


def test_out_does_not_replace_a_file_unasked(tmp_path):
    out = tmp_path / "adapted.toml"
    out.write_text("mine")
    refused = CliRunner().invoke(app, ["plan", RESNET44, "--to", "4096", "--out", str(out)])
    assert "adapted.toml exists: give another --out, or --force" in str(refused.exception)
    assert out.read_text() == "mine"
    assert plan(RESNET44, "--to", "4096", "--out", str(out), "--force").exit_code == 0
    assert out.read_text() != "mine"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda p: p.stem)
def test_every_recipe_of_the_project_has_a_plan(path):
    done = plan(str(path), "--to", "1024")
    assert done.exit_code == 0
    assert "what it costs" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--adapt", "lr", "--ghost", "16"), "--ghost has no effect without `ghost`"),
        (("--adapt", "ghost", "--lr-rule", "linear"), "--lr-rule has no effect without `lr`"),
        (("--adapt", ""), "unknown part ``"),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(words, said):
    done = CliRunner().invoke(app, ["plan", RESNET44, "--to", "4096", *words])
    assert isinstance(done.exception, UsageError)
    assert said in str(done.exception)
    assert done.stdout == ""


def test_an_arm_is_named_as_it_is_typed_or_as_the_tables_write_it():
    typed, written = (plan(RESNET44, "--to", "4096", "--arm", arm, "--json").stdout for arm in ("gbn", "+GBN"))
    assert typed == written


def test_a_field_that_is_set_neither_before_nor_after_has_no_line():
    """Of a baseline whose length is not known: the object says so, the table for people does not."""
    words = ("--from", "128", "--to", "4096")
    lines = json.loads(plan(*words, "--json").stdout)["adjustments"]
    assert [line["field"] for line in lines if line["before"] is None and line["after"] is None] == ["clipping.updates"]
    assert "clipping.updates" not in plan(*words).stdout


def test_diffusion_is_explained_below_the_table_that_it_stands_in():
    lines = plan("--from", "128", "--to", "4096").stdout.splitlines()
    begin = next(place for place, line in enumerate(lines) if line.startswith("what it costs"))
    explained = next(place for place, line in enumerate(lines) if line.startswith("diffusion: "))
    assert begin < explained < begin + 10


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.toml").write_text((RECIPES / "digits.toml").read_text())
    (tmp_path / "link.toml").symlink_to("r.toml")
    return tmp_path


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("r.toml", "is the input file"),
        ("./link.toml", "is the input file"),
        ("none/new.toml", "the folder none does not exist"),
        (".", "is a folder"),
    ],
)
def test_the_adapted_recipe_replaces_no_baseline_and_needs_a_folder(here, out, said):
    before = (here / "r.toml").read_bytes()
    done = CliRunner().invoke(app, ["plan", "r.toml", "--to", "64", "--out", out, "--force"])
    assert done.exception.exit_code == 2
    assert said in str(done.exception)
    assert (here / "r.toml").read_bytes() == before
    assert len(list(here.iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "1", "--to", "64"), "would have 1 example and no variance: give --ghost G"),
        ((RESNET44, "--to", "64", "--set", "batch.size=1"), "would have 1 example and no variance"),
        (("--from", "32", "--to", "64", "--lr", "1e308", "--lr-rule", "linear"), "optimizer.lr would be inf"),
        # 1e308 * sqrt(2) is finite, the linear rule's 2e308 beside it is not.
        (("--from", "32", "--to", "64", "--lr", "1e308"), "lr of `linear, fixed epochs (Goyal)` would be inf"),
        ((RESNET44, "--to", "512", "--set", "optimizer.lr=1e308"), "optimizer.lr would be inf"),
        (
            (RESNET44, "--to", "512", "--set", "optimizer.lr=1e-200", "--set", "optimizer.weight_decay=1e-200"),
            "too large or too small for a plan: float division by zero",
        ),
        (("--from", "1", "--to", "2", "--epochs", "1e10"), "number of epochs must be above 0 and at most 1e+09"),
    ],
)
def test_a_plan_that_cannot_be_computed_is_refused(words, said):
    done = CliRunner().invoke(app, ["plan", *words])
    assert (done.exception.exit_code, done.stdout) == (2, "")
    assert said in str(done.exception)


def test_a_baseline_of_one_example_has_a_plan_without_ghosts_or_with_larger_ones():
    for words in (("--adapt", "lr,regime,clip"), ("--ghost", "16")):
        assert plan("--from", "1", "--to", "64", *words).exit_code == 0


def test_an_adapted_recipe_that_cannot_be_is_said_in_the_words_of_recipes():
    """12 updates of 32 are 0.4 of 1024: one update, and no place for two milestones."""
    words = (str(RECIPES / "digits.toml"), "--to", "1024", "--adapt", "lr", "--schedule-scale", "0.03")
    done = CliRunner().invoke(app, ["plan", *words])
    assert (done.exception.exit_code, done.stdout) == (2, "")
    said = str(done.exception)
    assert "schedule.milestones[0].update must come before the end of the schedule, 1 updates" in said
    assert said.endswith("; lengthen the schedule, or adapt `regime` to keep its updates")


def of_numbers(*words):
    body = json.loads(plan("--from", "256", *words, "--json").stdout)
    return {line["field"]: line for line in body["adjustments"]}, {w["code"]: w["message"] for w in body["warnings"]}


@pytest.mark.parametrize("target", ["512", "2048", "2559", "4096", "1000000"])
def test_adamw_without_a_recipe_has_a_plan_at_any_ratio(target):
    lines, warnings = of_numbers("--to", target, "--optimizer", "adamw", "--lr", "3e-4")
    ratio = int(target) / 256
    assert lines["optimizer.lr"]["after"] == pytest.approx(3e-4 * ratio**0.5)
    assert "Malladi" in lines["optimizer.lr"]["source"]
    assert lines["optimizer.beta1"]["after"] == pytest.approx(1 - ratio * 0.1 if ratio < 9 else 0.9)
    assert lines["optimizer.weight_decay"]["before"] == 0.01
    assert ("betas-beyond-sde" in warnings) == (ratio > 9)
    assert not any("SGD" in message and "paper" not in message for message in warnings.values())


def test_the_optimizers_numbers_can_be_given_without_a_recipe():
    words = ("--optimizer", "adamw", "--lr", "1e-3", "--beta1", "0.8", "--beta2", "0.95", "--epsilon", "1e-6")
    lines, _ = of_numbers("--to", "512", *words, "--weight-decay-value", "0.1")
    before = {field: line["before"] for field, line in lines.items() if field.startswith("optimizer.")}
    assert before == {
        "optimizer.lr": 1e-3,
        "optimizer.beta1": 0.8,
        "optimizer.beta2": 0.95,
        "optimizer.epsilon": 1e-6,
        "optimizer.weight_decay": 0.1,
    }
    assert lines["weight_decay_horizon_updates"]["before"] == pytest.approx(10_000)
    lines, _ = of_numbers("--to", "512", "--momentum", "0.9")
    assert lines["momentum_horizon_examples"]["before"] == 2560


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--beta1", "0.9"), "sgd has no beta1: only adam, adamw do"),
        (("--optimizer", "adam", "--momentum", "0.9"), "adam has no momentum: only sgd, rmsprop do"),
        (("--optimizer", "adam", "--beta2", "1"), "the beta2 must be below 1, is 1"),
        (("--optimizer", "adam", "--epsilon", "0"), "the epsilon must be above 0, is 0"),
        (("--weight-decay-value", "-1"), "the weight decay must be at least 0, is -1"),
        (("--optimizer", "adamw", "--betas", "sde"), "--betas sde breaks down here"),
    ],
)
def test_numbers_that_the_optimizer_cannot_have_are_refused(words, said):
    done = CliRunner().invoke(app, ["plan", "--from", "256", "--to", "4096", *words])
    assert isinstance(done.exception, UsageError)
    assert (done.exception.exit_code, done.stdout) == (2, "")
    assert said in str(done.exception)


def test_a_network_that_torchvision_lacks_is_refused_without_torch(tmp_path):
    """`plan` in a process of its own, where importing torch is an error."""
    recipe = tmp_path / "r.toml"
    text = Path(RESNET44).read_text().replace('name = "resnet44"', 'name = "torchvision:nope"')
    recipe.write_text(text.replace('"torchvision:nope"', '"nope"', 1))
    program = "import sys; sys.modules['torch'] = None; from lbadvisor.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "plan", str(recipe), "--to", "256"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert 'no network is called "torchvision:nope"' in done.stderr


RATES = ("--rate", "128=4900..5100,4096=20000..22000")
LENGTH = ("--lr", "0.1", "--epochs", "200", "--examples", "50000")


def test_the_price_in_time_stands_in_the_table_with_its_interval():
    """By hand: 78,125 updates of 25.6 ms are 33.3 min; 2,441 of 195.2 ms are 7.94 min."""
    shown = plan("--from", "128", "--to", "4096", *LENGTH, *RATES, "--noise-scale", "2500..3600").stdout
    (row,) = [line for line in shown.splitlines() if "linear, fixed epochs" in line]
    assert "7.94 min (7.57 min to 8.33 min)" in row
    assert "0.238 (0.223 to 0.255)" in row
    assert "by the noise scale" in shown
    assert "an update at 4,096 is worth 14.1 (12.7 to 15.5) of those at 128, not 32" in shown
    assert "the full regime would save no time" in shown
    assert "warning above-noise-scale: the batch of 4,096 is above the noise scale of 3,000 (2,500 to 3,600)" in shown


def test_the_price_in_time_is_documented_json():
    words = ("--from", "128", "--to", "4096", *LENGTH, *RATES, "--devices", "64", "--parameters", "660000")
    body = json.loads(plan(*words, "--noise-scale", "3000", "--json").stdout)
    option = {one["name"]: one for one in body["forecast"]}["by the noise scale"]
    assert option["seconds_low"] < option["seconds"] < option["seconds_high"]
    assert option["seconds_factor"] == pytest.approx(option["seconds"] / body["forecast"][0]["seconds"], rel=1e-3)
    outlook = body["outlook"]
    assert outlook["noise_scale"] == {"examples": 3000.0, "low": None, "high": None}
    assert [row["batch_size"] for row in outlook["scaled"]] == [128, 256, 512, 1024, 2048, 4096]
    assert len(outlook["assumptions"]) == 4
    assert json.loads(plan("--from", "128", "--to", "4096", "--json").stdout)["outlook"] is None


def test_the_best_number_of_devices_is_a_table_and_a_page(tmp_path):
    page, picture = tmp_path / "a.html", tmp_path / "a.png"
    words = ("--from", "128", "--to", "4096", *LENGTH, *RATES, "--devices", "1024", "--parameters", "660000")
    done = plan(*words, "--html", str(page), "--png", str(picture))
    assert "the best number of devices: more would add more communication than they save computing" in done.stdout
    assert "note: assumes a ring sums the gradients of 660,000 parameters in float32, 2.64 MB" in done.stdout
    assert "devices (logarithmic)" in done.stdout
    assert "devices (logarithmic)" not in plan(*words, "--no-chart").stdout
    assert "Time of a training on many devices" in page.read_text()
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_rate_measured_here_times_the_trainings_of_the_recipe():
    digits = str(RECIPES / "digits.toml")
    done = plan(digits, "--to", "128", "--rate", "measure", "--devices", "4", "--json")
    body = json.loads(done.stdout)
    assert "timing 20 updates at each of the batch sizes 32, 64, 128 on cpu" in done.stderr
    timed = body["outlook"]["update_time"]["timed"]
    assert [one["batch_size"] for one in timed] == [32, 64, 128]
    assert all(0 < one["seconds"]["low"] <= one["seconds"]["middle"] <= one["seconds"]["high"] for one in timed)
    assert body["outlook"]["cluster"]["parameters"] == 13_514
    assert all(option["seconds"] > 0 for option in body["forecast"])
    assert {"ghosts-on-devices", "sync-batch-norm"} <= {warning["code"] for warning in body["warnings"]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rate", "128=5000"), "one rate does not tell how the time of an update grows"),
        (("--rate", "128=1,128=2"), "a batch size has two rates: give one"),
        (("--rate", "128"), "--rate 128: give BATCH=EXAMPLES_PER_SECOND, such as 128=5000,4096=21000, or measure"),
        (("--rate", "128=5,x=6"), "--rate x=6: give BATCH"),
        (("--rate", "128=5,256=6..5"), "--rate 256=6..5: give BATCH"),
        (("--rate", "0=5,256=6"), "--rate 0=5: give BATCH"),
        (("--rate", "128=nan,256=6"), "--rate 128=nan: give BATCH"),
        (("--rate", "128=1e-300,256=6"), "--rate 128=1e-300: give BATCH"),
        (("--noise-scale", "-5"), "--noise-scale -5: give a number of examples above 0"),
        (("--noise-scale", "inf"), "--noise-scale inf: give a number of examples"),
        (("--noise-scale", "5..2"), "--noise-scale 5..2: give a number of examples"),
        (("--devices", "5000"), "5,000 devices cannot share a batch of 4,096 examples"),
    ],
)
def test_a_price_that_cannot_be_told_is_refused(words, said):
    done = CliRunner().invoke(app, ["plan", "--from", "128", "--to", "4096", *words])
    assert (done.exception.exit_code, done.stdout) == (2, "")
    assert said in str(done.exception)


def test_devices_without_batch_norm_or_a_rate_are_refused():
    words = ("--set", 'model.name="torchvision:vgg11"', "--devices", "4")
    done = CliRunner().invoke(app, ["plan", RESNET44, "--to", "512", *words])
    assert (done.exception.exit_code, done.stdout) == (2, "")
    assert "--devices has no effect without batch norm or --rate" in str(done.exception)


def test_a_given_rate_and_noise_scale_load_no_torch():
    words = ["plan", "--from", "128", "--to", "4096", *LENGTH, *RATES, "--noise-scale", "3000", "--devices", "64"]
    program = (
        "import sys\n"
        "from lbadvisor.cli.app import app\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert not {'torch', 'numpy', 'scipy', 'sqlalchemy', 'plotly'} & sys.modules.keys()"
    )
    command = [sys.executable, "-c", program, *words, "--parameters", "1000", "--no-chart"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_run_that_measured_its_gradients_noise_gives_the_noise_scale(place):
    """In words and numbers those of the stored readings, whose estimator has its own tests."""
    digits = str(RECIPES / "digits.toml")
    trained = place.run("train", digits, "--measure", "noise", "--name", "base", "--schedule-scale", "0.3", "--quiet")
    assert trained.returncode == 0, trained.stderr
    done = place.run("plan", digits, "--to", "256", "--noise-scale", "base", "--json")
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    with Store.open(place.database, create=False) as store:
        expected = stored_noise_scale(store, [store.run("base")])
    assert body["outlook"]["noise_scale"]["examples"] == pytest.approx(expected.examples)
    (option,) = [one for one in body["forecast"] if one["name"] == "by the noise scale"]
    assert option["epochs_factor"] == pytest.approx((expected.examples + 256) / (expected.examples + 32))
    unknown = place.run("plan", digits, "--to", "256", "--noise-scale", "nope")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "no run is named 'nope'" in unknown.stderr


def test_a_cpu_with_bfloat16_is_told_of_it_in_a_note(monkeypatch):
    monkeypatch.setattr("lbadvisor.cli.this_cpu.training_cpu_flags", lambda: frozenset({"avx512_bf16"}))
    assert "note bf16: this CPU computes in bfloat16 (avx512_bf16)" in plan(RESNET44, "--to", "4096").stdout
    assert "computes in bfloat16" in json.loads(plan(RESNET44, "--to", "4096", "--json").stdout)["bf16"]
    in_bf16 = plan(RESNET44, "--to", "4096", "--set", "compute.precision=bf16")
    assert "note bf16" not in in_bf16.stdout
    assert json.loads(plan("--from", "128", "--to", "4096", "--json").stdout)["bf16"] is None
