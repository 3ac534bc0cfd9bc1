"""`lbadvisor probe potential` and `probe sharpness`, as typed."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.store import Store
from lbadvisor.training.checkpoints.checkpoint_file import prune_checkpoints
from lbadvisor.training.models import build_model

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
SHORT = ("--schedule-scale", "0.2")
FEW = ("--examples", "100")


def test_a_ladders_minima_are_measured_at_their_checkpoints_and_compared(place, digits):
    made = place.run("ladder", DIGITS, "--to", "256", "--arms", "sb,lb", "--seeds", "2", *SHORT, "--name", "few", "-q")
    assert made.returncode == 0, made.stderr
    words = ("probe", "sharpness", "few", "--examples", "200")
    page, picture = place.folder / "s.html", place.folder / "s.png"
    probed = place.run(*words, "--json", "--html", str(page), "--png", str(picture))
    assert probed.returncode == 0, probed.stderr
    body = json.loads(probed.stdout)
    assert (body["schema"], body["examples"], body["epsilon"]) == (1, 200, 1e-3)
    minima = body["minima"]
    assert [(m["arm"], m["seed"], m["batch_size"], m["normalized_over"]) for m in minima] == [
        *(("SB", seed, 32, 32) for seed in range(2)),
        *(("LB", seed, 256, 200) for seed in range(2)),
    ]
    assert body["contrast"]["worse"] == "LB"
    for m in minima:
        run, measured = place.stored(m["run"])
        assert m["loss"] == pytest.approx(loss_of(place.weights(m["run"]), digits, m["normalized_over"]), rel=1e-5)
        assert m["update"] == run.updates
        assert (m["final_lr"], m["largest_lr"]) == (measured[-1].lr, 0.05)
        assert m["final_lr"] == pytest.approx(0.0005)
        assert m["accuracy_percent"] == measured[-1].evaluation_accuracy_percent
        assert m["stable_lr"] == pytest.approx(2 * 1.9 / m["largest_eigenvalue"])
        assert m["sharpness_percent"] > 0
        assert m["averaged"] is False
    assert page.stat().st_size > 1000 < picture.stat().st_size
    assert "LB is the least accurate arm" in body["conclusion"]
    assert any("Dinh et al. 2017" in caveat for caveat in body["caveats"])
    # Repeated, it finds the same.
    shown = place.run(*words)
    assert shown.stdout.rstrip().endswith(body["conclusion"])


def loss_of(weights, digits, normalized_over):
    """Of a plain network in training on 200 examples, slice by slice."""
    model = build_model("digits_mlp", digits.shape, digits.classes)
    model.load_state_dict(weights)
    recipe = in_updates(load_recipe(Path(DIGITS)))
    images, labels = digits.training_batch(recipe.model_copy(update={"batch": type(recipe.batch)(size=200)}), 0, 0)
    # The remainder of 8 is less than half a slice, and joins the last one.
    sizes = {32: [32] * 5 + [40], 200: [200]}[normalized_over]
    with torch.no_grad():
        slices = zip(images.split(sizes), labels.split(sizes), strict=True)
        return sum(cross_entropy(model(x), y, reduction="sum").item() for x, y in slices) / 200


def test_averaged_weights_are_probed_if_the_recipe_averages(place):
    trained = place.run("train", DIGITS, *SHORT, "--set", "weight_ema.decay=0.95", "--name", "averaged", "-q")
    assert trained.returncode == 0, trained.stderr
    (m,) = json.loads(place.run("probe", "sharpness", "averaged", *FEW, "--json").stdout)["minima"]
    assert m["averaged"] is True


def test_what_cannot_be_probed_is_said_before_anything_is_computed(place):
    for name, *more in (
        ("good",),
        ("wild", "--set", "optimizer.lr=1e30"),
        ("held", "--set", "data.validation_examples=100", "--set", "data.train_examples=1197"),
    ):
        place.run("train", DIGITS, *SHORT, *more, "--name", name, "-q")
    cases = {
        ("wild",): (2, "the run wild diverged and has no minimum: leave it out with --where status!=diverged"),
        ("good", "held"): (2, "the runs train on different examples, digits (1197 examples), digits (1297 examples)"),
        ("good", "--examples", "5000"): (2, "--examples 5000: give a number from 2 to the 1297 training examples"),
        ("good", "--where", "batch=7"): (2, "no run matches"),
        ("good", "--data-dir", "."): (2, "--data-dir has no effect"),
        ("good", "--dry-run", "--json"): (2, "--json has no effect: --dry-run"),
        ("nobody",): (2, "no run is named 'nobody'"),
    }
    for words, (code, message) in cases.items():
        ended = place.run("probe", "sharpness", *words)
        assert (ended.returncode, ended.stdout) == (code, "")
        assert message in ended.stderr
    chosen = place.run("probe", "sharpness", "good", "wild", "--where", "status!=diverged", "--dry-run")
    assert chosen.returncode == 0
    assert "probing 1 run on 1,000 training examples" in chosen.stderr
    with Store.open(place.database, create=False) as store:
        prune_checkpoints(store.checkpoint_folder(store.run("good")))
    ended = place.run("probe", "sharpness", "good")
    assert ended.returncode == 1
    assert "the checkpoints of the run good were pruned" in ended.stderr


POTENTIAL = ("probe", "potential", DIGITS, "--directions", "4", "--seeds", "1", *FEW)


def test_the_potential_is_walked_as_far_as_asked_or_as_a_stored_run_went(place):
    asked = place.run(*POTENTIAL, "--distance", "0.5", "--json")
    assert asked.returncode == 0, asked.stderr
    body = json.loads(asked.stdout)
    assert (body["schema"], body["recipe"], body["parameters"]) == (1, "digits", 13_514)
    assert body["reach"] == {"distance": 0.5, "source": "as asked"}
    growth = body["growth"]
    assert [one["distance"] for one in growth["bins"]] == pytest.approx([0.5 * k / 12 for k in range(1, 13)])
    assert growth["alpha"]["value"] == pytest.approx(2 * growth["gamma"]["value"])
    assert not place.database.exists()
    dry = place.run(*POTENTIAL, "--dry-run")
    assert (dry.returncode, dry.stdout) == (0, "nothing was done\n")
    assert "probing digits: 200 updates, then 48 times the loss of 100 examples" in dry.stderr
    assert not place.database.exists()

    assert place.run("train", DIGITS, "--name", "long", "-q").returncode == 0
    farthest = max(m.weight_distance for m in place.stored("long")[1])
    shown = place.run(*POTENTIAL)
    assert f"up to d = {farthest:.3g} (as far as the run long went)" in shown.stdout
    assert "the gradient at the start alone gives" in shown.stdout
    other = place.run(*POTENTIAL, "--set", "optimizer.lr=0.1", "--dry-run")
    assert "200 updates" in other.stderr


def test_too_few_examples_for_a_loss_or_directions_for_an_interval_are_refused(place):
    for words in (("--directions", "3"), ("--examples", "1"), ("--distance", "0"), ("--seeds", "0")):
        ended = place.run("probe", "potential", DIGITS, *words)
        assert (ended.returncode, ended.stdout) == (2, "")
