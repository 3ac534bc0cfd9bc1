"""The recipe of a training elsewhere, from its settings: what a recipe has no field for is kept beside the rest."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from lbadvisor.errors import RecipeError, RecipeProblem, UsageError
from lbadvisor.recipe.catalog import OPTIMIZERS
from lbadvisor.recipe.fields import recipe_fields
from lbadvisor.recipe.problems import dotted, findings_of
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Recorded

WORDS = {
    "batch_size": "batch.size",
    "examples": "data.train_examples",
    "data": "data.name",
    "model": "model.name",
    "optimizer": "optimizer.name",
    **{key: f"optimizer.{key}" for key in ("lr", "momentum", "nesterov", "weight_decay", "beta1", "beta2", "epsilon")},
    **{key: f"schedule.{key}" for key in ("epochs", "updates", "warmup_epochs", "warmup_updates")},
    "ghost_batch_size": "batch_norm.ghost_batch_size",
}
"""The words of settings, and the fields of a recipe that they are; a field's dotted path is a word as well."""

_OF_OPTIMIZER = ("optimizer.momentum", "optimizer.nesterov", "optimizer.weight_decay")
_NAME = re.compile(r"(torchvision:)?[A-Za-z0-9][A-Za-z0-9._+-]{0,80}")


def recorded(recipe: Recipe, program: str) -> Recipe:
    """The recipe as that of a training elsewhere, by `program`; unchanged if it already is one."""
    if recipe.recorded is not None:
        return recipe
    return recipe.model_copy(update={"recorded": Recorded(program=program)})


def recipe_of_settings(settings: Mapping[str, Any], name: str, program: str) -> Recipe:
    """The recipe that `settings` describe, with a table `recorded`; `name` is that of the run.

    They need `batch_size`, and `examples` if a length is in epochs. Whatever else a recipe needs and they leave out is
    unknown; whatever a recipe may leave out has its default. What a recipe has no field for, such as a further
    optimizer, is kept in `recorded`. Raises `UsageError`, and `RecipeError` for values that are wrong.
    """
    fields = {WORDS.get(word, word): _plain(value) for word, value in settings.items() if value is not None}
    if "batch.size" not in fields:
        raise UsageError("the settings have no batch_size: give the number of examples in one update")
    if "data.train_examples" not in fields and any("epoch" in field for field in fields):
        raise UsageError("the settings count in epochs, but have no examples: give the size of the training set")
    known_optimizer = fields.get("optimizer.name") in OPTIMIZERS
    further = {
        next((word for word, known in WORDS.items() if known == field), field): fields.pop(field)
        for field in list(fields)
        if not _is_expressed(field, fields[field], known_optimizer=known_optimizer)
    }
    # What fills the place of a value that is not known.
    fillers = {"data.name": "unknown", "data.train_examples": fields["batch.size"], "model.name": "unknown"}
    fillers |= {"optimizer.name": "sgd", "optimizer.lr": 1.0}
    fillers |= {} if "schedule.epochs" in fields else {"schedule.updates": 1}
    unknown = [*(field for field in fillers if field not in fields), *(() if known_optimizer else _OF_OPTIMIZER)]
    tables: dict[str, Any] = {
        "schema": 1,
        "name": re.sub(r"[^A-Za-z0-9._+-]+", "-", name).lstrip("._+-")[:100] or "recorded",
        "recorded": {"program": program, **further, "unknown": unknown},
    }
    for field, value in (fillers | fields).items():
        table, _, key = field.partition(".")
        tables.setdefault(table, {})[key] = value
    try:
        return Recipe.model_validate(tables)
    except ValidationError as error:
        problems = (RecipeProblem(dotted(f.path), f.message, hint=f.hint) for f in findings_of(error))
        raise RecipeError("settings", tuple(problems)) from error


def _plain(value: Any) -> Any:
    """The value; that of a scalar of another library, such as an array's element, as Python's own."""
    return value.item() if hasattr(value, "item") else value


def _is_expressed(field: str, value: Any, *, known_optimizer: bool) -> bool:
    """Whether a recipe has a field for it, and can express the value."""
    if field in ("data.name", "model.name"):
        return _NAME.fullmatch(str(value)) is not None
    if field.startswith("optimizer.") and field != "optimizer.lr" and not known_optimizer:
        return False
    return "." in field and field in recipe_fields()
