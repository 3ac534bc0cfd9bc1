"""`lbadvisor.plan` from numbers and from recipes: what it says, and what it loads."""

import subprocess
import sys
from pathlib import Path
from typing import get_overloads

import pytest

import lbadvisor
from lbadvisor.errors import PlanError, RecipeError, RefusedError, UsageError

RECIPES = Path(__file__).parents[2] / "recipes"
NUMBERS = {"batch_size": 128, "lr": 0.1, "updates": 78_125, "examples": 50_000}


def test_a_plan_from_numbers_has_the_papers_values():
    """By hand: r = 32, so .1 sqrt(32) = .5657; 200 epochs become 6400; clipped at 5/sqrt(32) for 50000/128 updates."""
    plan = lbadvisor.plan(to=4096, optimizer="sgd", **NUMBERS)
    assert plan.lr == pytest.approx(0.1 * 32**0.5)
    assert (plan.batch_size, plan.updates, plan.epochs, plan.ghost_batch_size) == (4096, 78_125, 6400.0, 128)
    assert plan.clipping.max_norm == pytest.approx(5 / 32**0.5)
    assert plan.clipping.updates == 391


def test_a_path_and_a_recipe_give_the_same_plan():
    path = RECIPES / "digits.toml"
    plan = lbadvisor.plan(str(path), to=512)
    assert plan == lbadvisor.plan(path, to=512) == lbadvisor.plan(lbadvisor.load_recipe(str(path)), to=512)
    assert plan.adapted.optimizer.lr == plan.lr == 0.05 * 4
    assert plan.updates == plan.adapted.schedule.updates == 405
    assert plan.clipping.max_norm == plan.adapted.clipping.max_norm


def test_options_have_the_command_lines_words():
    plan = lbadvisor.plan(to=4096, adapt="lr,regime", lr_rule="exponent=0.6", stretch_share=0.5, **NUMBERS)
    assert plan.lr == pytest.approx(0.1 * 32**0.6)
    assert plan.updates == 39_062
    assert (plan.ghost_batch_size, plan.clipping) == (None, None)
    assert plan == lbadvisor.plan(to=4096, adapt=("regime", "lr"), lr_rule="exponent=0.6", stretch_share=0.5, **NUMBERS)
    assert lbadvisor.plan(to=4096, arm="linear", **NUMBERS).lr == pytest.approx(3.2)
    assert lbadvisor.plan(to=4096, ghost_batch_size=64, **NUMBERS).ghost_batch_size == 64


def test_the_text_of_a_plan_has_old_and_new_with_rule_and_source():
    plan = lbadvisor.plan(to=4096, **NUMBERS)
    assert repr(plan) == str(plan)
    line = next(line for line in str(plan).splitlines() if line.startswith("optimizer.lr"))
    assert line == ("optimizer.lr: 0.1 -> 0.565685 (sqrt: lr * sqrt(r); Hoffer, Hubara, Soudry 2017, arXiv:1705.08741)")
    assert "warning regime-price: " in str(plan)


def test_what_is_not_known_is_said_with_what_to_give():
    plan = lbadvisor.plan(batch_size=128, to=4096)
    for name, remedy in {"lr": "give lr=", "updates": "give updates=", "epochs": "give epochs="}.items():
        with pytest.raises(PlanError, match=remedy):
            getattr(plan, name)
    with pytest.raises(PlanError, match=r"clipping.updates.*give updates="):
        _ = plan.clipping
    without_examples = lbadvisor.plan(batch_size=128, to=4096, updates=1000)
    assert without_examples.updates == 1000


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({}, PlanError, "give a recipe, or the baseline batch size: batch_size="),
        ({"batch_size": 128, "weight_decay": 1e-4}, PlanError, "the number is weight_decay_value="),
        ({"batch_size": 128, "betas": (0.9, 0.99)}, PlanError, "the numbers are beta1= and beta2="),
        ({"batch_size": 128, "updates": 10, "epochs": 1}, PlanError, "not as both"),
        ({"batch_size": 128.0}, PlanError, "batch_size=128.0: give a whole number"),
        ({"batch_size": True}, PlanError, "batch_size=True"),
        ({"batch_size": 128, "updates": 0}, PlanError, "updates=0"),
        ({"batch_size": 128, "ghost": 32}, TypeError, "choose from .*ghost_batch_size"),
        ({"batch_size": 128, "arm": "lr", "lr_rule": "linear"}, PlanError, "lr_rule= cannot be combined with arm="),
        ({"batch_size": 128, "arm": "sb"}, PlanError, "the baseline itself"),
        ({"batch_size": 128, "arm": "distance"}, PlanError, "--distances-from"),
        ({"batch_size": 8192}, PlanError, "below the baseline's 8192"),
        ({"recipe": RECIPES / "digits.toml", "lr": 0.1}, PlanError, "belongs to a plan without a recipe"),
        ({"recipe": RECIPES / "digits.toml", "batch_size": 32}, PlanError, "batch_size= belongs to"),
        ({"batch_size": 128, "adapt": "ghost", "lr_rule": "linear"}, PlanError, "lr_rule= has no effect without `lr`"),
        ({"batch_size": 128, "betas": "keep"}, PlanError, "betas= has no effect: the optimizer has no betas"),
        ({"batch_size": 4096, "stretch_share": 1.0}, PlanError, "stretch_share= has no effect: the target"),
        ({"recipe": "no.toml"}, UsageError, "no such file"),
    ],
)  # fmt: skip
def test_a_wrong_call_says_what_to_do(keywords, error, message):
    with pytest.raises(error, match=message):
        lbadvisor.plan(**{"to": 4096} | keywords)


def test_a_faulty_recipe_is_reported_with_its_place(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text((RECIPES / "digits.toml").read_text().replace("size = 32 ", "size = 0 "))
    with pytest.raises(RecipeError, match=r"r.toml:\d+:\d+"):
        lbadvisor.plan(str(path), to=512)
    with pytest.raises(RefusedError, match="already adapted"):
        lbadvisor.plan(lbadvisor.plan(RECIPES / "digits.toml", to=64).adapted, to=512)


def test_planning_from_numbers_loads_neither_torch_nor_what_models_and_commands_need():
    program = (
        "import lbadvisor, sys\n"
        "plan = lbadvisor.plan(batch_size=128, to=4096, lr=0.1, optimizer='sgd', updates=78_125, examples=50_000)\n"
        "print(plan.clipping, plan)\n"
        "heavy = 'torch numpy scipy pydantic typer rich tomlkit sqlalchemy optuna'.split()\n"
        "assert not [name for name in heavy if name in sys.modules]\n"
        f"lbadvisor.plan({str(RECIPES / 'digits.toml')!r}, to=512)\n"
        "assert 'torch' not in sys.modules and 'typer' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_users_of_the_library_see_its_types():
    """The package says that it is typed; a plan's kind follows from the call, and its values are not Any."""
    assert (Path(lbadvisor.__file__).parent / "py.typed").is_file()
    of_recipe, of_numbers = get_overloads(lbadvisor.plan)
    assert of_recipe.__annotations__["return"] is lbadvisor.Plan
    assert of_numbers.__annotations__["return"] is lbadvisor.NumbersPlan
    for name in ("lr", "updates", "epochs", "batch_size", "ghost_batch_size", "clipping"):
        assert "Any" not in str(getattr(lbadvisor.NumbersPlan, name).fget.__annotations__["return"])
