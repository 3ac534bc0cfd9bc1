"""The plan: golden numbers of the paper's main recipe, and what a plan may never do."""

import json
import math

import pytest
from pydantic import ValidationError

from lbadvisor.errors import PlanError, RefusedError
from lbadvisor.planning.baseline import baseline_of_numbers
from lbadvisor.planning.caveats import caveats_of_adapted
from lbadvisor.planning.plan import advise, advise_numbers, plan_body, plan_json, plan_of_json
from lbadvisor.planning.request import Request
from lbadvisor.planning.rules import FINITE_POPULATION, LINEAR, parse_lr_rule
from lbadvisor.recipe.parts import PARTS, parse_parts
from lbadvisor.recipe.recipe import Recipe, recipe_hash
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.running_statistics import DEFINITIONS, horizon_examples

BODY = {
    "schema": 1,
    "name": "resnet44",
    "data": {"name": "cifar10", "train_examples": 50_000},
    "model": {"name": "resnet44"},
    "batch": {"size": 128},
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4},
    "schedule": {
        "epochs": 200,
        "milestones": [
            {"epoch": 81, "lr_factor": 0.1},
            {"epoch": 122, "lr_factor": 0.01},
            {"epoch": 164, "lr_factor": 0.001},
        ],
    },
}
RESNET44 = Recipe.model_validate(BODY)
ADAM = Recipe.model_validate(BODY | {"optimizer": {"name": "adam", "lr": 1e-3}})


def lines(plan):
    return {line.field: line for line in plan.adjustments}


def chosen(plan):
    (option,) = [option for option in plan.forecast if option.chosen]
    return option


def codes(plan):
    return {caveat.code for caveat in plan.warnings}


def test_the_golden_plan():
    plan = advise(RESNET44, Request(4096, PARTS))
    adapted, line = plan.adapted, lines(plan)
    assert plan.batch_ratio == 32
    assert adapted.optimizer.lr == pytest.approx(0.5656854, abs=1e-7)
    assert adapted.schedule.updates == 78_125
    assert tuple(m.update for m in adapted.schedule.milestones) == (31_641, 47_656, 64_062)
    assert (line["schedule.epochs"].before, line["schedule.epochs"].after) == (200, 6400)
    assert adapted.batch_norm.ghost_batch_size == 128
    assert adapted.clipping.max_norm == pytest.approx(0.8838835)  # 5 / sqrt(32)
    assert adapted.clipping.updates == 391
    assert line["momentum_horizon_examples"].after == pytest.approx(40_960)
    assert line["weight_decay_horizon_updates"].before == pytest.approx(10_000)  # (1 - .9)/(.1 * 1e-4)
    assert "0.589628" in next(c.message for c in plan.warnings if c.code == "finite-population")
    assert "64062.5 to 64062" in next(c.message for c in plan.warnings if c.code == "rounding")


def flat(value, path=""):
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in flat(inner, f"{path}.{key}" if path else key).items()}
    return {path: value}


@pytest.mark.parametrize("parts", [PARTS, (), ("lr",), ("ghost",), ("regime",), ("clip",), ("lr", "ghost", "clip")])
@pytest.mark.parametrize("baseline", [RESNET44, Recipe.model_validate(BODY | {"weight_ema": {"decay": 0.99}})])
def test_nothing_changes_but_what_a_line_says(parts, baseline):
    """The difference between the baseline (in updates) and the adapted recipe is exactly the lines that differ."""
    plan = advise(baseline, Request(4096, parts))
    before, after = flat(in_updates(baseline).model_dump()), flat(plan.adapted.model_dump())
    moved = {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
    moved = {k for k in moved if not k.startswith("adapted_from") and k != "clipping"}
    told = {a.field for a in plan.adjustments if a.kind == "recipe" and a.before != a.after}
    assert moved == told
    assert plan.adapted.adapted_from.parts == parts
    assert plan.adapted.adapted_from.recipe_hash == recipe_hash(baseline)


def test_without_the_regime_the_epochs_stay_and_the_updates_shrink():
    plan = advise(RESNET44, Request(4096, ("lr", "ghost", "clip")))
    assert plan.adapted.schedule.updates == 2441  # 78125 / 32 = 2441.4
    assert tuple(m.update for m in plan.adapted.schedule.milestones) == (989, 1489, 2002)
    assert plan.adapted.clipping.updates == 244
    assert "sqrt-without-regime" in codes(plan)
    assert "regime-price" not in codes(plan)


@pytest.mark.parametrize(("examples", "left"), [(None, 1.0), (50_000, (50_000 - 4096) / (50_000 - 128))])
def test_the_alternatives_conserve_diffusion_where_the_theory_says_so(examples, left):
    """T lr^2 times the noise: 1/M, and of batches drawn without replacement (N - M)/(M (N - 1))."""
    plan = advise_numbers(baseline_of_numbers(128, 0.1, 200, examples), Request(4096, PARTS))
    got = {(o.rule, o.regime): o for o in plan.forecast}
    assert got["none", False].diffusion == pytest.approx(left / 32**2)
    assert got["sqrt", False].diffusion == pytest.approx(left / 32)
    assert got["sqrt", True].diffusion == pytest.approx(left)
    assert got["linear", False].diffusion == pytest.approx(left)
    assert got["linear", True].diffusion == pytest.approx(32 * left)
    assert got["linear", False].lr == pytest.approx(3.2)
    assert [o.name for o in plan.forecast if o.chosen] == ["square root and regime (the paper)"]


def test_the_finite_population_rule_conserves_diffusion_and_the_full_batch_has_none():
    exact = advise(RESNET44, Request(4096, PARTS, FINITE_POPULATION))
    assert chosen(exact).diffusion == pytest.approx(1, rel=1e-12)
    assert chosen(advise(RESNET44, Request(50_000, PARTS))).diffusion == 0


def test_multiplicative_noise_makes_up_for_the_batch_in_the_price():
    """By hand at r = 32, fixed epochs: noise as of batches of 128, in 1/32 as many updates; not 1/1024."""
    plan = advise(RESNET44, Request(4096, ("ghost", "clip"), noise="gaussian"))
    assert chosen(plan).diffusion == pytest.approx(1 / 32, rel=1e-4)
    assert (chosen(plan).name, chosen(plan).lr) == ("learning rate kept, noise, fixed epochs", 0.1)
    # Nor is "nothing adapted" the name of the other parts alone.
    assert chosen(advise(RESNET44, Request(4096, ("ghost", "clip")))).name == "learning rate kept, fixed epochs"
    assert chosen(advise(RESNET44, Request(4096, ()))).name == "nothing adapted"
    assert next(o.diffusion for o in plan.forecast if o.name == "nothing adapted") < 1 / 1000
    with_regime = advise(RESNET44, Request(4096, ("ghost", "regime"), noise="bernoulli"))
    assert chosen(with_regime).diffusion == pytest.approx(1, rel=1e-4)


def test_another_rule_joins_the_alternatives():
    plan = advise(RESNET44, Request(4096, PARTS, FINITE_POPULATION))
    assert plan.adapted.optimizer.lr == pytest.approx(0.5896280, abs=1e-7)
    assert [o.rule for o in plan.forecast if o.chosen] == ["finite-population"]
    assert "finite-population" not in codes(plan)


def test_an_adapted_recipe_is_refused():
    plan = advise(RESNET44, Request(4096, PARTS))
    with pytest.raises(RefusedError, match="already adapted, from `resnet44` at batch size 128"):
        advise(plan.adapted, Request(8192, PARTS))


def test_adam_follows_malladis_rule_and_mareks_where_that_breaks_down():
    plan = advise(ADAM, Request(1024, PARTS))
    assert plan.adapted.optimizer.lr == pytest.approx(1e-3 * 8**0.5)
    assert plan.adapted.optimizer.beta1 == pytest.approx(0.2)
    assert plan.adapted.optimizer.beta2 == pytest.approx(0.992)
    assert plan.adapted.optimizer.epsilon == pytest.approx(1e-8 / 8**0.5)
    assert {"regime-with-adaptive", "betas-near-limit"} <= codes(plan)
    beyond = advise(ADAM, Request(4096, PARTS))
    assert beyond.adapted.optimizer.lr == pytest.approx(1e-3 * 32**0.5)
    assert beyond.adapted.optimizer.beta1 == 0.9
    assert beyond.adapted.optimizer.beta2 == pytest.approx(0.968491, abs=1e-6)
    assert beyond.adapted.optimizer.epsilon == 1e-8
    assert "betas-beyond-sde" in codes(beyond)
    sources = {line.field: line.source for line in beyond.adjustments}
    assert "Malladi" in sources["optimizer.lr"]
    assert "Marek" in sources["optimizer.beta2"]
    with pytest.raises(PlanError, match="--betas sde breaks down"):
        advise(ADAM, Request(4096, PARTS, betas="sde"))


@pytest.mark.parametrize("target", [256, 512, 1024, 1279, 1280, 4096, 50_000])
def test_adamw_has_a_plan_at_any_ratio_and_no_warning_of_sgds(target):
    adamw = Recipe.model_validate(BODY | {"optimizer": {"name": "adamw", "lr": 3e-4}})
    plan = advise(adamw, Request(target, PARTS))
    assert plan.adapted.optimizer.lr == pytest.approx(3e-4 * (target / 128) ** 0.5)
    assert plan.adapted.optimizer.beta1 >= 0.1
    assert ("betas-near-limit" in codes(plan)) == (640 <= target < 1153)
    of_sgd = {"sqrt-without-regime", "finite-population", "clips-whole-run", "linear-without-warm-up"}
    assert not of_sgd & codes(plan)
    assert plan.adapted.clipping is None
    assert "no-clipping-warm-up" in codes(plan)
    assert all("Hoffer" not in line.source for line in plan.adjustments if line.field.startswith("optimizer."))


def test_the_alternatives_of_adamw_show_the_betas_with_their_price():
    """T lr^2, for a normalized step has the same variance at any batch size while noise rules."""
    plan = advise_numbers(baseline_of_numbers(256, 3e-4, optimizer="adamw"), Request(2048, ("lr",)))
    rows = {o.name: (o.lr, o.beta1, o.beta2, o.diffusion) for o in plan.forecast}
    lr = pytest.approx(3e-4 * 8**0.5)
    one = pytest.approx(1)
    assert rows == {
        "baseline": (3e-4, 0.9, 0.999, 1),
        "nothing adapted": (3e-4, 0.9, 0.999, 1 / 8),
        "square root, betas scaled (Malladi)": (lr, pytest.approx(0.2), pytest.approx(0.992), one),
        "square root, beta2's half-life (Marek)": (lr, 0.9, pytest.approx(0.999**8), one),
        "square root, betas kept": (lr, 0.9, 0.999, one),
        "square root, half the stretch": (lr, pytest.approx(0.2), pytest.approx(0.992), pytest.approx(4)),
        "square root and regime": (lr, pytest.approx(0.2), pytest.approx(0.992), pytest.approx(8)),
        "learning rate kept, regime": (3e-4, 0.9, 0.999, 1),
    }
    assert chosen(plan).name == "square root, betas scaled (Malladi)"
    beyond = advise_numbers(baseline_of_numbers(256, 3e-4, optimizer="adamw"), Request(4096, ("lr",)))
    assert "square root, betas scaled (Malladi)" not in {o.name for o in beyond.forecast}
    assert chosen(beyond).name == "square root, beta2's half-life (Marek)"


def test_adagrad_has_no_published_rule_and_the_plan_says_so():
    plan = advise_numbers(baseline_of_numbers(128, 0.1, optimizer="adagrad"), Request(4096, ("lr",)))
    assert "no-rule-for-optimizer" in codes(plan)
    assert chosen(plan).diffusion is None


@pytest.mark.parametrize(
    ("parts", "rule", "expected"),
    [
        (PARTS, "sqrt", 1e-4 / 32**0.5),  # updates kept: lr * decay constant
        (("lr",), "sqrt", 1e-4 * 32**0.5),  # epochs kept: decay grows with sqrt(B), as nanochat has it
        (("lr",), "linear", 1e-4),  # epochs kept, linear: unchanged, Goyal
    ],
)
def test_the_weight_decay_horizon_is_kept_on_demand(parts, rule, expected):
    plan = advise(RESNET44, Request(4096, parts, parse_lr_rule(rule), weight_decay="horizon"))
    assert plan.adapted.optimizer.weight_decay == pytest.approx(expected)
    assert "weight-decay-horizon" not in codes(plan)


def test_the_weight_decays_of_the_milestones_scale_by_the_same_rule():
    """At r = 16 and the regime every decay falls to a quarter: the drop from 4e-4 to 2e-4 stays a halving."""
    schedule = {
        "epochs": 200,
        "milestones": [
            {"epoch": 81, "lr_factor": 0.1, "weight_decay": 2e-4},
            {"epoch": 122, "lr_factor": 0.01},
            {"epoch": 164, "lr_factor": 0.001, "weight_decay": 0.0},
        ],
    }
    optimizer = {"name": "sgd", "lr": 0.1, "weight_decay": 4e-4}
    recipe = Recipe.model_validate(BODY | {"optimizer": optimizer, "schedule": schedule})
    plan = advise(recipe, Request(2048, PARTS, weight_decay="horizon"))
    assert plan.adapted.optimizer.weight_decay == pytest.approx(1e-4)
    assert [m.weight_decay for m in plan.adapted.schedule.milestones] == [pytest.approx(5e-5), None, 0]
    line = lines(plan)["schedule.milestones.weight_decay"]
    assert (line.before, line.rule) == ((2e-4, None, 0.0), "horizon")
    assert plan_of_json(plan_json(plan)) == plan
    kept = advise(recipe, Request(2048, PARTS))
    assert [m.weight_decay for m in kept.adapted.schedule.milestones] == [2e-4, None, 0]


@pytest.mark.parametrize(
    ("numbers", "horizon", "unit", "adapted"),
    [
        ({"momentum": 0.9, "weight_decay": 1e-4}, (10_000, 2_500), "updates", 1e-4),
        ({"weight_decay": 1e-4}, (100_000, 25_000), "updates", 1e-4),
        ({"optimizer": "adamw"}, (1_000, 1_000), "updates", 0.01 / 4),
        ({"optimizer": "adam", "weight_decay": 1e-4}, (1, 1 / 16), "x baseline", 1e-4),
    ],
)
def test_the_horizon_of_weight_decay_is_the_optimizers(numbers, horizon, unit, adapted):
    """By hand at lr .1, r = 16, updates kept: SGD (1 - m)/(lr decay), AdamW 1/(lr decay), Adam sqrt(v) of that."""
    plan = advise_numbers(baseline_of_numbers(128, 0.1, **numbers), Request(2048, PARTS))
    line = lines(plan)["weight_decay_horizon_updates"]
    assert (line.before, line.after, line.unit) == (pytest.approx(horizon[0]), pytest.approx(horizon[1]), unit)
    assert lines(plan)["optimizer.weight_decay"].after == pytest.approx(adapted)


def test_momentum_makes_weight_decay_forget_sooner():
    """An oracle: SGD's own updates without any gradient; after one horizon about 1/e of a weight is left."""
    weight, velocity, lr, decay, momentum = 1.0, 0.0, 0.1, 1e-4, 0.9
    for _ in range(10_000):
        velocity = momentum * velocity + decay * weight
        weight -= lr * velocity
    assert weight == pytest.approx(math.exp(-1), rel=1e-3)


def test_the_weight_average_spans_the_same_share_of_the_run():
    averaged = Recipe.model_validate(BODY | {"weight_ema": {"decay": 0.999}})
    assert advise(averaged, Request(4096, PARTS)).adapted.weight_ema.decay == 0.999
    fixed = advise(averaged, Request(4096, ("lr",)))
    assert fixed.adapted.weight_ema.decay == pytest.approx(0.968491, abs=1e-6)


def test_clipping_of_the_whole_run_is_kept_and_said():
    clipped = Recipe.model_validate(BODY | {"clipping": {"max_norm": 1.0}})
    plan = advise(clipped, Request(4096, PARTS))
    assert plan.adapted.clipping == clipped.clipping
    assert "clips-whole-run" in codes(plan)


@pytest.mark.parametrize("parts", [PARTS, (), ("regime", "ghost", "clip")])
def test_multiplicative_noise_survives_adaptation_and_is_listed(parts):
    noisy = Recipe.model_validate(BODY | {"gradient_noise": {"kind": "bernoulli", "ratio": 32.0}})
    plan = advise(noisy, Request(4096, parts))
    assert plan.adapted.gradient_noise == noisy.gradient_noise
    line = lines(plan)["gradient_noise.ratio"]
    assert (line.before, line.after, line.rule) == (32, 32, "kept")
    assert "batches of 128" in line.validity
    assert ("noise-and-learning-rate" in codes(plan)) == ("lr" in parts)


@pytest.mark.parametrize(
    ("definition", "examples", "formula"),
    [
        ("sequential", 2432, "g (2 - m) / m: n updates with m"),
        ("per-update", 81_792, "g (2 - m/n) / (m/n): n updates with m / n"),
        ("mean", 77_824, "B (2 - m) / m: one update with the mean over ghosts of mean and unbiased variance"),
        ("mean-biased", 77_824, "B (2 - m) / m: one update with the mean over ghosts of mean and biased variance"),
        ("total", 77_824, "B (2 - m) / m: one update with mean and variance of the whole batch"),
    ],
)
def test_the_definition_of_the_running_statistics_is_kept_and_stated(definition, examples, formula):
    """By hand, momentum .1: 19 ghosts of 128, 19 batches of 4096; with m/32 per ghost 639 ghosts of 128."""
    tables = {"batch_norm": {"ghost_batch_size": 128, "running_statistics": definition}}
    plan = advise(Recipe.model_validate(BODY | tables), Request(4096, PARTS))
    line = lines(plan)["running_statistics_horizon_examples"]
    assert (line.before, line.after, line.rule, line.formula) == (2432, examples, definition, formula)
    assert plan.adapted.batch_norm.running_statistics == definition
    assert ("running-statistics-horizon" in codes(plan)) == (definition == "sequential")


def test_the_running_statistics_follow_the_batch_where_ghosts_are_left_out():
    plain = Recipe.model_validate(BODY | {"batch_norm": {"momentum": 0.5}})
    line = lines(advise(plain, Request(4096, ("lr",))))["running_statistics_horizon_examples"]
    assert (line.before, line.after, line.rule) == (384, 12_288, "plain batch norm")
    ghosts = advise(plain, Request(256, PARTS))
    assert lines(ghosts)["running_statistics_horizon_examples"].after == 384
    assert ghosts.adapted.batch_norm.momentum == 0.5
    horizon = next(c.message for c in ghosts.warnings if c.code == "running-statistics-horizon")
    assert "2 times (momentum 0.5): evaluation uses an average of about 3 ghosts, or 1.5 batches" in horizon


def test_evaluation_sees_as_many_batches_as_the_horizon_says():
    """By hand, momentum .1: (2 - .1)/.1 = 19 ghosts, at a ratio of 2 that is 9.5 batches."""
    plan = advise(RESNET44, Request(256, PARTS))
    said = next(c.message for c in plan.warnings if c.code == "running-statistics-horizon")
    assert "about 19 ghosts, or 9.5 batches" in said
    assert lines(plan)["running_statistics_horizon_examples"].after == 9.5 * 256


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_the_horizon_is_that_of_the_plain_mean_with_the_same_variance(definition):
    """An oracle: the weights that the definition gives to old ghosts, independent and of variance 1."""
    momentum, ghosts = 0.1, 4
    old_weight, weights = {
        "sequential": ((1 - momentum) ** ghosts, [momentum * (1 - momentum) ** k for k in range(ghosts)]),
        "per-update": (
            (1 - momentum / ghosts) ** ghosts,
            [momentum / ghosts * (1 - momentum / ghosts) ** k for k in range(ghosts)],
        ),
    }.get(definition, (1 - momentum, [momentum / ghosts] * ghosts))
    variance = sum(weight**2 for weight in weights) / (1 - old_weight**2)
    assert horizon_examples(definition, momentum, 4 * 128, 128) == pytest.approx(128 / variance)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request(4096, ()), {"few-updates-per-epoch", "regularization-kept"}),
        (Request(256, ("ghost",)), {"running-statistics-horizon", "regularization-kept", "rounding"}),
        (Request(300, ("ghost",)), {"running-statistics-horizon", "regularization-kept", "ghost-remainder"}),
        (Request(256, ("lr",), LINEAR), {"linear-without-warm-up", "lr-and-stability", "rounding"}),
        (Request(8192, ("clip",)), {"few-updates-per-epoch", "batch-near-data", "regularization-kept"}),
        (
            Request(256, ("ghost",), ghost_batch_size=8),
            {"running-statistics-horizon", "small-ghost", "regularization-kept", "rounding"},
        ),
    ],
)
def test_only_the_warnings_that_apply_are_given(request_, expected):
    """Worked by hand: 81, 122 and 164 epochs at 256 are 15820.3, 23828.1 and 32031.25 updates, none a half."""
    plan = advise(RESNET44, request_)
    assert codes(plan) == expected - {"rounding"}


def test_numbers_alone_give_a_relative_plan():
    plan = advise_numbers(baseline_of_numbers(128, None, None, None, "sgd"), Request(4096, PARTS))
    line = lines(plan)
    assert [plan_body(plan)[key] for key in ("schema", "baseline", "adapted")] == [1, None, None]
    assert line["optimizer.lr"].unit == "x baseline"
    assert line["optimizer.lr"].after == pytest.approx(5.656854, abs=1e-6)
    assert line["schedule.epochs"].after == 32
    assert line["schedule.updates"].after == 1
    assert line["batch_norm.ghost_batch_size"].after == 128


def test_numbers_alone_give_an_absolute_plan_where_they_suffice():
    plan = advise_numbers(baseline_of_numbers(128, 0.1, 200, 50_000, "sgd"), Request(4096, PARTS))
    line = lines(plan)
    assert (line["schedule.updates"].before, line["schedule.updates"].after) == (78_125, 78_125)
    assert line["schedule.epochs"].after == 6400
    assert line["clipping.updates"].after == 391
    without_examples = advise_numbers(baseline_of_numbers(128, 0.1, 200, None, "sgd"), Request(4096, PARTS))
    assert lines(without_examples)["schedule.epochs"].after == 6400


@pytest.mark.parametrize(
    "numbers",
    [(128, -0.1, 1, 1000, "sgd"), (128, 0.1, 0, 1000, "sgd"), (128, 0.1, 1, 100, "sgd"), (128, None, None, None, "x")],
)
def test_numbers_that_cannot_be_are_errors(numbers):
    with pytest.raises(PlanError):
        baseline_of_numbers(*numbers)


def test_targets_that_cannot_be_are_errors():
    with pytest.raises(PlanError, match="above the 50000 training examples"):
        advise(RESNET44, Request(50_001, PARTS))
    with pytest.raises(PlanError, match="ghost batch size of 9000"):
        advise(RESNET44, Request(4096, PARTS, ghost_batch_size=9000))
    with pytest.raises(PlanError, match="unknown part `gohst`"):
        parse_parts("lr,gohst")


def test_the_json_of_a_plan_is_whole_and_canonical():
    plan = advise(RESNET44, Request(4096, PARTS))
    body = plan_body(plan)
    assert body["schema"] == 1
    assert Recipe.model_validate_json(json.dumps(body["adapted"])) == plan.adapted
    assert set(body) == {"schema", "baseline", "adapted", "batch_ratio", "adjustments", "warnings", "forecast"}
    assert {"field", "before", "after", "rule", "formula", "source", "validity"} <= set(body["adjustments"][0])
    assert plan_json(plan) == plan_json(advise(RESNET44, Request(4096, PARTS)))
    assert plan_json(plan) != plan_json(advise(RESNET44, Request(2048, PARTS)))


def test_a_plan_comes_back_from_its_json():
    plan = advise(RESNET44, Request(4096, PARTS))
    assert plan_of_json(plan_json(plan)) == plan


def test_a_plan_of_numbers_is_no_plan_of_a_recipe():
    text = json.dumps(plan_body(advise_numbers(baseline_of_numbers(128), Request(512, PARTS))))
    with pytest.raises(PlanError, match="by another version of the program, or by hand"):
        plan_of_json(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "by another version of the program, or by hand"),
        ("[]", "by another version of the program, or by hand"),
        ('{"schema": 1}', "by another version of the program, or by hand: 'baseline'"),
        ('{"schema": 2}', "the plan has schema 2, but this program reads 1"),
    ],
)
def test_a_text_that_is_no_plan_is_an_error(text, message):
    with pytest.raises(PlanError, match=message):
        plan_of_json(text)


@pytest.mark.parametrize(
    ("network", "has_batch_norm"),
    [
        ("convnext_tiny", False),
        ("vit_b_16", False),
        ("squeezenet1_1", False),
        ("resnet50", True),
        ("regnet_y_8gf", True),
    ],
)
def test_ghosts_are_planned_for_networks_with_batch_norm_alone(network, has_batch_norm):
    tables = {"model": {"name": f"torchvision:{network}"}, "data": {"name": "pictures", "train_examples": 50_000}}
    plan = advise(Recipe.model_validate(BODY | tables), Request(4096, PARTS))
    told = {field for field in lines(plan) if "batch_norm" in field or "running_statistics" in field}
    assert bool(told) == has_batch_norm
    assert plan.adapted.batch_norm.ghost_batch_size == (128 if has_batch_norm else None)
    said = [c.message for c in plan.warnings if c.code == "no-batch-norm"]
    assert len(said) == (0 if has_batch_norm else 1)
    assert all("nothing for ghost batches to do" in message for message in said)


def test_a_network_that_torchvision_does_not_have_is_no_recipe():
    with pytest.raises(ValidationError, match='no network is called "torchvision:nope"'):
        Recipe.model_validate(BODY | {"model": {"name": "torchvision:nope"}})


@pytest.mark.parametrize("request_", [Request(8192, PARTS), Request(8000, ("ghost",)), Request(8192, ("lr",))])
def test_an_adapted_recipe_alone_still_tells_what_its_own_numbers_warn_of(request_):
    """In the plan's own words; of the baseline's learning rate and decay it knows nothing."""
    plan = advise(RESNET44, request_)
    own = {"regime-price", "running-statistics-horizon", "ghost-remainder", "batch-near-data", "few-updates-per-epoch"}
    assert caveats_of_adapted(plan.adapted) == tuple(c for c in plan.warnings if c.code in own)
    assert codes(plan) >= {"batch-near-data", "few-updates-per-epoch"}
    assert caveats_of_adapted(RESNET44) == ()
