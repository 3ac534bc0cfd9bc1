"""Claims about the fields that a recipe may have."""

import re
from pathlib import Path

import pytest

from lbadvisor.recipe.fields import recipe_fields
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.recipe import fields_of

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_field_of_a_recipe_is_known_with_its_kind(path: Path) -> None:
    for field, value in fields_of(load_recipe(path)):
        # The arguments of a user's own factory are the user's.
        assert ".arguments." in field or type(value) in recipe_fields()[re.sub(r"\[[0-9]+\]", "[]", field)], field


def test_fields_that_no_shipped_recipe_has_are_known_too() -> None:
    assert recipe_fields()["clipping.max_norm"] == {float}
    assert recipe_fields()["optimizer.beta2"] == {float}
    assert recipe_fields()["adapted_from.parts[]"] == {str}
    assert recipe_fields()["optimizer.name"] == {str}
    assert "optimizer" not in recipe_fields()
