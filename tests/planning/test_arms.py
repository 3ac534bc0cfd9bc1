"""The arms of a ladder: what each changes, worked by hand for the paper's main recipe, and nothing else."""

import pytest

from lbadvisor.errors import PlanError
from lbadvisor.planning.arms import ARMS, PAPER_ARMS, arm_of, foundation, parse_arms, place_of
from lbadvisor.planning.plan import advise
from lbadvisor.planning.planned_arms import changes, planned, planned_arms
from lbadvisor.planning.request import Request
from lbadvisor.planning.rules import LINEAR
from lbadvisor.recipe.recipe import Recipe, differing_fields, recipe_hash
from lbadvisor.recipe.schedule import in_updates, rates_at

BODY = {
    "schema": 1,
    "name": "resnet44",
    "data": {"name": "cifar10", "train_examples": 50_000},
    "model": {"name": "resnet44"},
    "batch": {"size": 128},
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4},
    "schedule": {"epochs": 200, "milestones": [{"epoch": 81, "lr_factor": 0.1}]},
    "measurements": {"every_updates": 100},
}
RESNET44 = Recipe.model_validate(BODY)
ASKED = Request(4096, ())

CHANGES = {
    "lb": {
        "batch.size": (128, 4096),
        "schedule.updates": (78_125, 2441),  # 78125 / 32 = 2441.4
        "schedule.milestones": ((31_641,), (989,)),  # 81 * 50000 / 4096 = 988.8
        "measurements.every_updates": (100, 3),
    },
    "lr": {
        "optimizer.lr": (0.1, 0.1 * 32**0.5),
        "clipping.max_norm": (None, 5 / 32**0.5),
        "clipping.updates": (None, 244),  # a tenth of 2441, below 50000 / 128 = 391
    },
    "gbn": {"batch_norm.ghost_batch_size": (None, 128)},
    "ra": {
        "schedule.updates": (2441, 78_125),
        "schedule.milestones": ((989,), (31_641,)),
        "clipping.updates": (244, 391),
        "measurements.every_updates": (3, 100),
    },
    "ra-half": {
        "schedule.updates": (2441, 39_062),  # 39062.5, a half to the even number
        "schedule.milestones": ((989,), (15_820,)),  # 31640.625 / 2
        "clipping.updates": (244, 391),
        "measurements.every_updates": (3, 50),
    },
    "linear": {
        "optimizer.lr": (0.1, 3.2),
        "schedule.warmup_updates": (None, 61),  # five epochs of 12.2 updates, below a tenth of 2441
        "schedule.warmup_lr_factor": (0.0, 1 / 32),
        "batch_norm.ghost_batch_size": (None, 128),
    },
    "noise": {
        "optimizer.lr": (0.1 * 32**0.5, 0.1),
        "clipping.max_norm": (5 / 32**0.5, 5.0),
        "gradient_noise.kind": (None, "gaussian"),
        "gradient_noise.ratio": (None, 32.0),
    },
    "dropout": {"regularization.dropout": (0.0, 0.5)},
    "label-noise": {"regularization.label_noise": (0.0, 0.1)},
    "dropconnect": {"regularization.drop_connect": (0.0, 0.5)},
}


def flat(value):
    """An expected value in approximation, a tuple of whole numbers as it is."""
    return pytest.approx(value) if isinstance(value, float) else value


@pytest.mark.parametrize("name", CHANGES)
def test_an_arm_changes_next_to_the_one_before_what_its_lines_say_and_nothing_else(name):
    arm, upon = ARMS[name], foundation(ARMS[name], list(ARMS))
    there, here = planned(upon, RESNET44, ASKED), planned(arm, RESNET44, ASKED)
    lines = {c.field: (c.before, c.after) for c in changes(here.plan, there.plan) if c.kind == "recipe"}
    assert lines == {field: (flat(b), flat(a)) for field, (b, a) in CHANGES[name].items()}
    differing = {
        field.replace("[0].update", "")
        for field, *_ in differing_fields(there.recipe, here.recipe)
        if not field.startswith("adapted_from")
    }
    assert differing == set(lines)


def test_an_adapted_recipe_says_truly_what_was_adapted_and_added():
    said = {}
    for arm in ARMS.values():
        origin = planned(arm, RESNET44, ASKED).recipe.adapted_from
        if origin is not None:
            assert (origin.recipe, origin.batch_size) == ("resnet44", 128)
            assert origin.recipe_hash == recipe_hash(RESNET44)
            said[arm.name] = (origin.parts, origin.lr_rule, origin.stretch_share, origin.additions)
    everything = ("lr", "ghost", "regime", "clip")
    assert said == {
        "lb": ((), "none", 1.0, ()),
        "distance": (everything, "sqrt", 1.0, ()),
        "lr": (("lr", "clip"), "sqrt", 1.0, ()),
        "gbn": (("lr", "ghost", "clip"), "sqrt", 1.0, ()),
        "ra": (everything, "sqrt", 1.0, ()),
        "ra-half": (everything, "sqrt", 0.5, ()),
        "linear": (("lr", "ghost"), "linear", 1.0, ("warm-up",)),
        "noise": (("ghost", "clip"), "none", 1.0, ("noise",)),
        "dropout": ((), "none", 1.0, ("dropout",)),
        "label-noise": ((), "none", 1.0, ("label-noise",)),
        "dropconnect": ((), "none", 1.0, ("drop-connect",)),
    }


def test_the_baseline_is_an_arm_as_it_is():
    arm = planned(ARMS["sb"], RESNET44, ASKED)
    assert (arm.plan, arm.recipe) == (None, in_updates(RESNET44))
    assert (arm.updates, arm.examples) == (78_125, 10_000_000)
    assert changes(arm.plan, None) == ()


def test_what_an_arm_costs():
    """By hand: 2441 updates of 4096 are 9 998 336 examples, 78 125 of them 320 million."""
    assert planned(ARMS["lb"], RESNET44, ASKED).examples == 9_998_336
    assert planned(ARMS["ra"], RESNET44, ASKED).examples == 320_000_000


def test_an_arm_goes_on_from_the_nearest_one_that_the_ladder_has():
    assert [a.name if (a := foundation(ARMS[n], PAPER_ARMS)) else None for n in PAPER_ARMS] == [
        None, "sb", "lb", "lr", "gbn",
    ]  # fmt: skip
    assert foundation(ARMS["ra"], ["sb", "lb", "ra"]).name == "lb"
    assert foundation(ARMS["noise"], ["sb", "noise"]).name == "sb"
    assert foundation(ARMS["dropout"], ["dropout"]) is None


def test_without_the_arm_before_an_arm_is_shown_next_to_the_baseline():
    lines = {c.field: (c.before, c.after) for c in changes(planned(ARMS["ra"], RESNET44, ASKED).plan, None)}
    assert lines["batch.size"] == (128, 4096)
    assert "schedule.updates" not in lines  # 78 125 as before
    assert lines["schedule.epochs"] == (200, 6400)


def test_goyals_warm_up_leads_from_the_baselines_rate_to_the_scaled_one():
    """By hand, 61 updates from 0.1 to 3.2: the first is at 0.1 + 3.1 / 61, the last, and all behind it, at 3.2."""
    recipe = planned(ARMS["linear"], RESNET44, ASKED).recipe
    assert rates_at(recipe, 0).lr == pytest.approx(0.1 + 3.1 / 61)
    assert rates_at(recipe, 1).lr - rates_at(recipe, 0).lr == pytest.approx(3.1 / 61)
    assert rates_at(recipe, 60).lr == pytest.approx(3.2)
    assert rates_at(recipe, 100).lr == pytest.approx(3.2)


def test_a_warm_up_of_the_baselines_own_is_kept_and_none_is_added():
    warm = Recipe.model_validate(BODY | {"schedule": {"epochs": 200, "warmup_epochs": 16, "warmup_lr_factor": 0.2}})
    recipe = planned(ARMS["linear"], warm, ASKED).recipe
    assert recipe.schedule.warmup_updates == 195  # 16 * 50000 / 4096 = 195.3
    assert recipe.schedule.warmup_lr_factor == 0.2
    assert recipe.adapted_from.additions == ()


def test_the_rules_asked_for_hold_in_every_arm_that_they_concern():
    adam = Recipe.model_validate(BODY | {"optimizer": {"name": "adam", "lr": 1e-3}})
    with pytest.raises(PlanError, match="the arm lr: --betas sde breaks down"):
        planned(ARMS["lr"], adam, Request(4096, (), betas="sde"))
    asked = Request(4096, (), betas="half-life", ghost_batch_size=64)
    recipe = planned(ARMS["gbn"], adam, asked).recipe
    assert recipe.optimizer.beta2 == pytest.approx(0.999**32)
    assert recipe.batch_norm.ghost_batch_size == 64


def test_arms_are_read_from_a_list_each_with_its_seeds():
    assert [(arm.name, seeds) for arm, seeds in parse_arms("sb, lb ,ra:1", 3)] == [("sb", 3), ("lb", 3), ("ra", 1)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sb,gnb", "no arm `gnb`: did you mean `gbn`"),
        ("sb,", "no arm ``: choose from sb, lb"),
        ("sb,lb,sb", "the arm sb is given twice"),
        ("ra:0", "arm `ra:0`: give a number of seeds from 1 to 1000 after the colon, such as ra:1"),
        ("sb,lb:99999999", "arm `lb:99999999`: give a number of seeds from 1 to 1000 after the colon"),
        ("ra:one", "arm `ra:one`"),
        ("ra:", "arm `ra:`"),
    ],
)
def test_a_list_of_arms_that_is_none_is_an_error(text, said):
    with pytest.raises(PlanError, match=said):
        parse_arms(text, 3)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (Request(4096, ("lr",), stretch_share=0.5), "adapt regime as well"),
        (Request(4096, ("regime",), stretch_share=0.01), "between 1/r = 0.03125"),
        (Request(4096, ("regime",), stretch_share=1.5), "is not between"),
        (Request(4096, (), warmup_epochs=5), "adapt lr as well"),
        (Request(4096, ("lr",), LINEAR, warmup_epochs=0), "a warm-up of 0 epochs: give a length above 0"),
        (Request(128, (), noise="gaussian"), "the target is the baseline's own"),
        (Request(4096, (), dropout=1.0), "dropout must be a probability from 0 to below 1, is 1"),
    ],
)
def test_additions_that_make_no_sense_are_errors(request_, said):
    with pytest.raises(PlanError, match=said):
        advise(RESNET44, request_)


def test_noise_is_not_added_to_noise():
    noisy = Recipe.model_validate(BODY | {"gradient_noise": {"kind": "gaussian", "ratio": 2.0}})
    with pytest.raises(PlanError, match="the arm noise: the baseline already has multiplicative noise of ratio 2"):
        planned(ARMS["noise"], noisy, ASKED)


def test_half_the_stretch_keeps_the_shares_of_the_run():
    """By hand at r = 32, half the updates: decay^2 for the weight average, twice the decay's rate for its horizon."""
    averaged = Recipe.model_validate(BODY | {"weight_ema": {"decay": 0.99}})
    plan = advise(averaged, Request(4096, ("regime",), stretch_share=0.5, weight_decay="horizon"))
    assert plan.adapted.weight_ema.decay == pytest.approx(0.99**2)
    assert plan.adapted.optimizer.weight_decay == pytest.approx(2e-4)
    line = {a.field: a for a in plan.adjustments}
    assert line["schedule.epochs"].after == 3200
    assert line["schedule.updates"].formula == "updates * 0.5"
    chosen = next(option for option in plan.forecast if option.chosen)
    assert (chosen.name, chosen.updates, chosen.epochs) == ("learning rate kept, 0.5 of the stretch", 39_062, 3200)
    assert chosen.diffusion == pytest.approx(0.5 / 32 * (50_000 - 4096) / (50_000 - 128))
    price = next(c.message for c in plan.warnings if c.code == "regime-price")
    assert "16 times as many examples in 0.5 times as many updates" in price


def test_a_share_of_the_stretch_of_one_over_r_is_the_baselines_epochs():
    """At that share a plan with the regime trains what a plan without it does."""
    with_share = advise(RESNET44, Request(4096, ("regime",), stretch_share=1 / 32)).adapted
    without = advise(RESNET44, Request(4096, ())).adapted
    differing = [row[0] for row in differing_fields(with_share, without)]
    assert all(field.startswith("adapted_from.") for field in differing)


def test_regularization_of_the_baselines_own_is_kept_and_listed():
    dropping = Recipe.model_validate(BODY | {"regularization": {"dropout": 0.25}})
    plan = advise(dropping, Request(4096, ("lr",)))
    line = next(a for a in plan.adjustments if a.field == "regularization.dropout")
    assert (line.before, line.after, line.rule) == (0.25, 0.25, "kept")
    assert plan.adapted.regularization == dropping.regularization
    assert "regularization.label_noise" not in {a.field for a in plan.adjustments}


def test_the_new_fields_change_no_hash_of_a_recipe_that_does_not_use_them():
    """Of an adapted recipe: the hash that the format had before it knew of shares, additions and regularization."""
    plan = advise(RESNET44, Request(4096, ("lr", "ghost", "regime", "clip")))
    body = plan.adapted.model_dump(mode="json", exclude_defaults=True)
    assert "regularization" not in body
    assert {"stretch_share", "additions"}.isdisjoint(body["adapted_from"])
    written = Recipe.model_validate(plan.adapted.model_dump(by_alias=True) | {"regularization": {"dropout": 0.0}})
    assert recipe_hash(written) == recipe_hash(plan.adapted)


def test_without_batch_norm_the_ghost_arm_is_left_out_and_the_reason_said():
    tables = {"model": {"name": "torchvision:convnext_tiny"}, "data": {"name": "pictures", "train_examples": 50_000}}
    convnext = Recipe.model_validate(BODY | tables)
    arms, left_out = planned_arms(parse_arms("sb,lb,lr,gbn,ra:1", 3), convnext, ASKED)
    assert [(arm.arm.name, arm.seeds) for arm in arms] == [("sb", 3), ("lb", 3), ("lr", 3), ("ra", 1)]
    (idle,) = left_out
    assert (idle.arm.label, idle.why) == (
        "+GBN", "changes nothing in +LR: torchvision:convnext_tiny has no batch norm",
    )  # fmt: skip
    assert all(arm.recipe.batch_norm.ghost_batch_size is None for arm in arms)


def test_with_batch_norm_no_arm_is_left_out():
    arms, left_out = planned_arms(parse_arms(",".join(ARMS), 1), RESNET44, ASKED)
    assert [arm.arm.name for arm in arms] == list(ARMS)
    assert left_out == ()


def test_an_arm_may_keep_any_share_of_the_regime():
    """By hand: a quarter of 78 125 updates, and of the milestone at 31 640.6."""
    arm = arm_of("ra-0.25")
    assert (arm.label, arm.what) == ("1/4 RA", "1/4 of the regime's stretch: 1/4 of the baseline's updates")
    recipe = planned(arm, RESNET44, ASKED).recipe
    assert (recipe.schedule.updates, recipe.schedule.milestones[0].update) == (19_531, 7_910)
    assert recipe.adapted_from.stretch_share == 0.25
    assert parse_arms("sb,ra-0.25:1", 3)[1] == (arm, 1)


def test_one_share_of_the_regime_is_one_arm():
    assert (arm_of("ra-0.5"), arm_of("ra-1"), arm_of("ra-0.250")) == (ARMS["ra-half"], ARMS["ra"], arm_of("ra-0.25"))


@pytest.mark.parametrize("name", ["ra-0", "ra-2", "ra-0.0", "ra-", "ra-.5", "ra-quarter"])
def test_a_share_that_is_none_names_no_arm(name):
    with pytest.raises(PlanError, match=f"no arm `{name}`"):
        arm_of(name)


def test_a_share_below_the_baselines_epochs_is_refused():
    with pytest.raises(PlanError, match=r"the arm ra-0.03: a stretch share of 0.03 is not between 1/r = 0.03125"):
        planned(arm_of("ra-0.03"), RESNET44, ASKED)


def test_shares_of_the_regime_are_listed_after_its_half_the_larger_first():
    names = ["ra-0.125", "unknown", "linear", "ra-0.25", "ra-half", "ra", "gbn"]
    assert sorted(names, key=place_of) == ["gbn", "ra", "ra-half", "ra-0.25", "ra-0.125", "linear", "unknown"]
