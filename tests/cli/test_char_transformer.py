"""The recipe of a small transformer: its text, its network, and what the commands do with both."""

import importlib.util
import json
import math
import pydoc_data.topics
from collections import Counter
from pathlib import Path

import pytest
import torch

from lbadvisor.store import Store

RECIPES = Path(__file__).parents[2] / "recipes"
RECIPE = str(RECIPES / "char_transformer.toml")
SHORT = ("--set", "schedule.epochs=0.1", "--set", "schedule.warmup_epochs=0.01")  # 80 updates, 8 of them warm-up


@pytest.fixture(scope="module")
def own():
    spec = importlib.util.spec_from_file_location("char_transformer", RECIPES / "char_transformer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def beside_the_recipe(place, monkeypatch):
    """The working folder is the recipe's, so that a stored recipe finds its code; the database is not there."""
    monkeypatch.chdir(RECIPES)
    monkeypatch.setenv("LBADVISOR_DB", str(place.database))
    return place


def evaluated(place, run="1"):
    with Store.open(place.database, create=False) as store:
        return [m for m in store.measurements(store.run(run).number) if m.evaluation_loss is not None]


def adapted_by(place, *words):
    done = place.run("plan", RECIPE, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["adapted"]


def test_every_target_is_the_character_that_comes_next(own):
    (x, y), (held_out_x, held_out_y) = own.sequences(length=32, train=12_800, held_out=1_280)
    assert x.shape == y.shape == (12_800, 32)
    assert held_out_x.shape == held_out_y.shape == (1_280, 32)
    inputs, targets = torch.cat([x, held_out_x]).flatten(), torch.cat([y, held_out_y]).flatten()
    assert torch.equal(inputs[1:], targets[:-1])
    topics = pydoc_data.topics.topics
    assert bytes(inputs[:500].tolist()).decode() == "\n".join(topics[name] for name in sorted(topics))[:500]


def test_too_little_text_is_said(own):
    with pytest.raises(ValueError, match=r"help texts have \d+ characters, and 32000033 are needed"):
        own.sequences(length=32, train=1_000_000, held_out=1)


def test_no_prediction_sees_what_comes_after(own):
    torch.manual_seed(0)
    network = own.CharTransformer(length=8, layers=2, width=16, heads=2)
    one = torch.randint(128, (1, 8))
    other = torch.cat([one[:, :5], (one[:, 5:] + 1) % 128], 1)
    for mode in (network.train(), network.eval()):
        with torch.no_grad():
            there, here = mode(one), mode(other)
        torch.testing.assert_close(there[:, :5], here[:, :5])
        assert not torch.isclose(there[:, 5:], here[:, 5:]).all(-1).any()


def test_in_eighty_updates_it_learns_more_than_how_common_each_character_is(place):
    """The entropy of the evaluation text's characters is the best loss of a model that looks at no other."""
    done = place.run("train", RECIPE, *SHORT, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    topics = pydoc_data.topics.topics
    text = "\n".join(topics[name] for name in sorted(topics))[12_800 * 32 + 1 : (12_800 + 1_280) * 32 + 1]
    counts = Counter(c if c.isascii() else "?" for c in text)
    entropy = -sum(n / len(text) * math.log(n / len(text)) for n in counts.values())
    last = evaluated(place)[-1]
    assert last.update == 80
    assert 2 < last.evaluation_loss < entropy - 0.3


def test_it_resumes_bit_for_bit(place):
    done = place.run(
        "verify-resume", RECIPE, *SHORT, "--updates", "10", "--at", "6", "--device", "cpu", "--to", "32", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["identical"] is True


def test_at_a_ratio_of_16_its_ladder_has_adamws_rules_and_no_ghosts(place):
    """0.99^16 = 0.851458; 0.1 * 16 / 4 = 0.4 with as many epochs, 0.1 / 4 with as many updates."""
    done = place.run("ladder", RECIPE, "--to", "256", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert (
        "+GBN is skipped: it changes nothing in +LR: char_transformer:CharTransformer has no batch norm" in done.stderr
    )
    said = " ".join(done.stdout.split())
    assert "optimizer.lr 0.004 -> 0.016; optimizer.beta2 0.99 -> 0.851458; optimizer.weight_decay 0.1 -> 0.4" in said
    assert "schedule.updates 100 -> 1,600; schedule.warmup_updates 5 -> 80; optimizer.weight_decay 0.4 -> 0.025" in said
    assert "make beta1 1 - 16 (1 - 0.9) = -0.6 (Malladi et al. 2022" in said


def test_each_of_adamws_rules_can_be_chosen(place):
    """At a ratio of 8, Malladi's: 1 - 8 * 0.1 = 0.2, 1 - 8 * 0.01 = 0.92; Marek's: 0.99^8 = 0.922745."""
    betas = {
        rule: adapted_by(place, "--to", "128", "--adapt", "lr", "--betas", rule)["optimizer"]
        for rule in ("auto", "sde", "half-life", "keep")
    }
    assert betas["auto"] == betas["sde"]
    found = {rule: (optimizer["beta1"], optimizer["beta2"]) for rule, optimizer in betas.items()}
    assert found["sde"] == pytest.approx((0.2, 0.92))
    assert found["half-life"] == pytest.approx((0.9, 0.922745), rel=1e-6)
    assert found["keep"] == (0.9, 0.99)
    kept = adapted_by(place, "--to", "256", "--adapt", "lr", "--weight-decay", "keep")["optimizer"]
    assert kept["weight_decay"] == 0.1
    refused = place.run("plan", RECIPE, "--to", "256", "--betas", "sde")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "the largest target batch size that it allows is 159" in refused.stderr


def test_the_probes_measure_its_noise_and_its_sharpness(beside_the_recipe):
    place = beside_the_recipe
    narrow = ("--set", "model.arguments.width=16", "--set", "model.arguments.layers=1", "--device", "cpu")
    done = place.run("train", RECIPE, *SHORT, *narrow, "--measure", "noise,layers", "--name", "short")
    assert done.returncode == 0, done.stderr
    noise = place.run("probe", "noise", RECIPE, *narrow, "--to", "256", "--updates", "20", "--json")
    assert noise.returncode == 0, noise.stderr
    body = json.loads(noise.stdout)
    assert sum(window["readings"] for window in body["windows"]) == 20
    assert 0 < body["noise_scale"]["low"] < body["noise_scale"]["examples"] < body["noise_scale"]["high"]
    assert body["larger"]["stretch"]["value"] * body["larger"]["gain"]["value"] == pytest.approx(16)
    words = ("probe", "sharpness", "short", "--examples", "16", "--device", "cpu", "--json")
    assert place.run(*words).returncode == 3
    sharp = place.run(*words, "--allow-code")
    assert sharp.returncode == 0, sharp.stderr
    (minimum,) = json.loads(sharp.stdout)["minima"]
    assert (minimum["batch_size"], minimum["normalized_over"]) == (16, None)
    assert minimum["largest_eigenvalue"] > 0
    assert 2 < minimum["loss"] < math.log(128)
