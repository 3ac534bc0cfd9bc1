"""What a training is: the fields of its recipe that decide its bits, and the seed.

Not part of it: the recipe's name and description, where it came from, and how often training is measured and saved.
Measuring and saving read the state without changing it.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lbadvisor.recipe.recipe import Recipe, differing_fields, hashed_body
from lbadvisor.recipe.schedule import in_updates

CADENCE = ("measurements", "checkpoints")
"""The tables of a recipe that say how often training is measured and saved; a resumed run may change them."""

LABELS = ("schema_version", "name", "description", "adapted_from")
"""Fields that describe a recipe."""

CHECKS = ("schedule.kind",)
"""Fields that only say what others must hold."""

DIGITS = 9
"""Significant digits that count. The same rule on another machine, or an exponent computed back from a learning rate,
gives the same number only up to rounding; the run's own recipe has the exact value."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Two runs with equal identities are one training: on one machine they end with the same bits.

    `recipe` is the SHA-256 of the recipe's decisive fields, in hexadecimal.
    """

    recipe: str
    seed: int


def identity_of(recipe: Recipe, seed: int) -> Identity:
    """The identity of training `recipe`, in epochs or in updates, with `seed`."""
    return Identity(digest_of(recipe), seed)


@lru_cache(maxsize=4096)
def digest_of(recipe: Recipe) -> str:
    """SHA-256 of the recipe's decisive fields, in hexadecimal: equal for runs that differ only in their seed.

    Checkpoints store it.
    """
    body = hashed_body(in_updates(recipe), {*LABELS, *CADENCE})
    for table, key in (field.split(".") for field in CHECKS):
        body[table].pop(key, None)
    return hashlib.sha256(json.dumps(_rounded(body), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def differences(there: Recipe, here: Recipe) -> list[str]:
    """The decisive fields that differ between two recipes, each as `field: before there, after here`."""
    return [
        f"{field}: {before} there, {after} here"
        for field, before, after in differing_fields(in_updates(there), in_updates(here))
        if field.split(".")[0] not in LABELS + CADENCE and field not in CHECKS and _rounded(before) != _rounded(after)
    ]


def with_cadence_of(recipe: Recipe, other: Recipe) -> Recipe:
    """The recipe, in updates, with the measurement and saving cadence of `other`."""
    recipe, other = in_updates(recipe), in_updates(other)
    return recipe.model_copy(update={table: getattr(other, table) for table in CADENCE})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return value
