"""`lbadvisor plan` as its users type it."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lbadvisor.cli.app import app
from lbadvisor.errors import UsageError

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
