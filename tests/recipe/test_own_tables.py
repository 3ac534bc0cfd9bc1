"""Recipes that name the user's own code: what is accepted, and what is written and read again."""

import pytest
from pydantic import ValidationError

from lbadvisor.planning.plan import advise
from lbadvisor.planning.request import Request
from lbadvisor.recipe.file import dump_recipe, load_recipe
from lbadvisor.recipe.recipe import Recipe, json_schema

BODY = {
    "schema": 1, "name": "own", "data": {"factory": "own.data:load", "train_examples": 100},
    "model": {"factory": "own.models:Net.small"}, "batch": {"size": 10},
    "optimizer": {"name": "sgd", "lr": 0.1}, "schedule": {"updates": 2},
}  # fmt: skip
ARGUMENTS = {"depth": 2, "rate": 0.5, "norm": True, "kind": "relu", "widths": [8, 16]}


def test_what_is_written_is_read_again(tmp_path):
    """All kinds of arguments; the name that a factory gives is not written."""
    task = {"kind": "regression", "metric": {"factory": "own.data:rmse", "better": "lower"}}
    recipe = Recipe.model_validate(BODY | {"model": BODY["model"] | {"arguments": ARGUMENTS}, "task": task})
    text = dump_recipe(recipe)
    (tmp_path / "own.toml").write_text(text)
    assert load_recipe(tmp_path / "own.toml") == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert recipe.model.arguments.given == ARGUMENTS | {"widths": (8, 16)}
    assert 'name = "own.models' not in text
    assert hash(recipe) == hash(load_recipe(tmp_path / "own.toml"))


def test_a_factory_may_have_a_name():
    recipe = Recipe.model_validate(BODY | {"model": {"name": "small", "factory": "own.models:Net.small"}})
    assert (recipe.model.name, Recipe.model_validate(BODY).model.name) == ("small", "own.models:Net.small")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": {"factory": "own.models"}}, 'must be "module:function"'),
        ({"model": {"factory": "os; import x:y"}}, 'must be "module:function"'),
        ({"model": {"name": "f1", "factory": "own.models:net"}}, "another network's name"),
        ({"model": {"name": "f1", "arguments": {"width": 2}}}, "has no effect without a factory"),
        ({"model": {"factory": "a:b", "arguments": {"class": 2}}}, "not the name of an argument"),
        ({"model": {"factory": "a:b", "arguments": {"width": {"deep": 2}}}}, "must be a finite number"),
        ({"model": {"factory": "a:b", "arguments": {"width": float("nan")}}}, "must be a finite number"),
        ({"model": {"name": "timm:resnet18", "arguments": {"checkpoint_path": "x.pth"}}}, "drawn from the seed"),
        ({"data": BODY["data"] | {"name": "mnist"}}, "known by name"),
        ({"data": BODY["data"] | {"augmentation": "pad-crop-flip"}}, "used as they come"),
        ({"data": {"name": "digits", "train_examples": 100, "classes": 3}}, "has no effect without a factory"),
        ({"data": {"name": "digits", "train_examples": 100}, "task": {"kind": "regression"}}, "needs numbers"),
        ({"task": {"kind": "regression"}, "regularization": {"label_noise": 0.1}}, "has no classes"),
        ({"task": {"metric": {"factory": "a:b"}}}, "better"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(changed, said):
    with pytest.raises(ValidationError, match=said):
        Recipe.model_validate(BODY | changed)


def test_the_plan_of_an_own_network_without_batch_norm_has_no_ghosts():
    bodies = [BODY | {"model": BODY["model"] | said} for said in ({}, {"batch_norm": False})]
    plans = [advise(Recipe.model_validate(body), Request(40, ("lr", "ghost"))) for body in bodies]
    assert [plan.adapted.batch_norm.ghost_batch_size for plan in plans] == [10, None]


def test_the_schema_asks_for_a_name_or_a_factory():
    for table in ("Data", "Model"):
        described = json_schema()["$defs"][table]
        assert described["anyOf"] == [{"required": ["name"]}, {"required": ["factory"]}]
        assert "name" not in described["required"]
