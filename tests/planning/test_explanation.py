"""The explanations: a text for every topic, a topic for every line of a plan, and the rules' own formulas in them."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

import lbadvisor.planning
from lbadvisor.errors import UsageError
from lbadvisor.planning.adjustments import Adjustment
from lbadvisor.planning.baseline import baseline_of
from lbadvisor.planning.distances import Distances
from lbadvisor.planning.explanation import TOPICS, WIDTH, explanation, topic_of
from lbadvisor.planning.plan import advise_numbers
from lbadvisor.planning.request import Request
from lbadvisor.planning.rules import HOFFER, LINEAR, MALLADI
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.parts import PARTS

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
TEXTS = Path(lbadvisor.planning.__file__).parent / "topics"


def test_every_topic_has_a_text_and_every_text_a_topic():
    assert {path.stem for path in TEXTS.iterdir()} == set(TOPICS)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_text_is_half_a_page_with_formula_source_and_failure(topic):
    text = explanation(topic)
    assert text.startswith(f"# {topic}: {TOPICS[topic]}\n\n")
    assert 700 < len(text) < 3000
    assert all(len(line) <= WIDTH for line in text.splitlines())
    assert "{" not in text
    if topic not in ("batch", "updates", "open-questions"):
        assert all(part in text for part in ("**Formula:**", "**Source:**", "**Fails:**"))


@pytest.mark.parametrize("topic", TOPICS)
def test_a_text_refers_only_to_topics_that_exist(topic):
    words = explanation(topic).replace("\n", " ").split("lbadvisor explain ")[1:]
    assert {word.split("`")[0].strip() for word in words} <= set(TOPICS)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_each_line_of_a_plan_has_a_topic(path):
    recipe = load_recipe(path)
    baseline = baseline_of(recipe)
    whole = Request(2 * recipe.batch.size, PARTS)
    added = replace(
        whole, lr_rule=LINEAR, warmup_epochs=5.0, noise="gaussian", dropout=0.5, label_noise=0.1, drop_connect=0.5
    )
    if baseline.milestones:
        added = replace(added, distances=Distances((1.0,) * len(baseline.milestones), "run"))
    for request in (whole, added, replace(whole, parts=())):
        lines = advise_numbers(replace(baseline, ema_decay=0.99), request).adjustments
        assert {topic_of(line) for line in lines} <= set(TOPICS)


def test_every_field_of_a_recipe_table_that_a_plan_moves_leads_to_its_own_topic():
    expected = {
        "optimizer.lr": "lr", "optimizer.beta2": "betas", "optimizer.epsilon": "betas",
        "optimizer.weight_decay": "weight-decay", "weight_decay_horizon_updates": "weight-decay",
        "schedule.milestones": "regime", "schedule.milestones.weight_decay": "weight-decay",
        "schedule.milestones.distance": "distance", "schedule.warmup_lr_factor": "warm-up",
        "batch_norm statistics": "ghost", "running_statistics_horizon_examples": "running-statistics",
    }  # fmt: skip
    for field, topic in expected.items():
        assert topic_of(Adjustment(field, 1, 2, "", "recipe", "", "", "", "")) == topic


def test_formulas_and_sources_are_the_rules_own():
    text = explanation("lr").replace("\n", " ")
    assert all(words in text for words in ("lr * sqrt(r)", "lr * r", HOFFER, MALLADI, "0.565685"))
    assert "1 - r (1 - beta)" in explanation("betas")
    assert "0.968491" in explanation("betas")


def test_the_two_questions_left_open_are_explained():
    text = explanation("open-questions").replace("\n", " ")
    assert "0.513 for 8 ghosts, 0.733 for 16 and 0.869 for 32" in text
    assert "gamma = alpha/2" in text
    for ghosts, printed in ((8, 0.513), (16, 0.733), (32, 0.869)):
        assert sum(0.9**i * 0.1 for i in range(1, ghosts + 1)) == pytest.approx(printed, abs=5e-4)
        assert 0.9**ghosts + sum(0.9 ** (ghosts - i) * 0.1 for i in range(1, ghosts + 1)) == pytest.approx(1)


def test_the_released_codes_further_updates_come_from_whole_epochs():
    """Of 50,000 examples: 391 updates an epoch at 128, and r epochs of ceil(N / B) each, r whole."""
    text = explanation("regime").replace("\n", " ")
    for size, told in ((4096, "6.4% more updates at 4,096"), (8192, "15% more at 8,192")):
        more = size / 128 * math.ceil(50_000 / size) / 391 - 1
        assert f"{100 * more:.2g}%" == told.split()[0]
        assert told in text


def test_the_square_root_at_fixed_epochs_keeps_one_rth_of_the_diffusion_and_not_of_the_distance():
    """Steps of lr g, g of variance 1/B: the mean squared distance after T/r of them, as a share of that after T."""
    ratio, updates = 16, 1600
    shares = {
        rule: (updates / ratio) * lr**2 / ratio / updates for rule, lr in (("sqrt", ratio**0.5), ("linear", ratio))
    }
    assert shares == {"sqrt": 1 / ratio, "linear": 1}
    text = explanation("lr").replace("\n", " ")
    assert "leaves 1/r of the noise's total diffusion (the mean squared distance" in text


def test_numbers_of_table_1_are_the_papers():
    """Hoffer et al. 2017, Table 1: SB, LB and +RA of F1, C1, ResNet-44, VGG, C3, WResNet16-4."""
    table = (
        (98.27, 97.05, 98.53), (87.80, 83.95, 88.20), (92.83, 86.10, 93.07), (92.30, 84.1, 93.03),
        (61.25, 51.50, 63.20), (73.70, 68.15, 73.57),
    )  # fmt: skip
    below, above = [round(sb - lb, 2) for sb, lb, _ in table], [round(ra - sb, 2) for sb, _, ra in table]
    text = explanation("gap").replace("\n", " ")
    assert f"LB is {min(below)} (F1) to {max(below)} (C3) points below SB" in text
    assert f"+RA from {-min(above)} below to {max(above)} above it" in text


def test_an_unknown_topic_gets_a_suggestion():
    with pytest.raises(UsageError, match="did you mean `ghost`"):
        explanation("gost")
