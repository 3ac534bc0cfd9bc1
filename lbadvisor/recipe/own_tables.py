"""The tables of a recipe that name the user's own code: a function, as `module:function`, and its keyword arguments."""

import keyword
import math
import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from lbadvisor.recipe.faults import Fault
from lbadvisor.recipe.recipe_model import RecipeModel

_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


class Arguments(RecipeModel):
    """Keyword arguments of a factory: numbers, strings, true or false, or arrays of these."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _frozen_lists(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}

    def _faults(self) -> Iterator[Fault]:
        for name, value in self.given.items():
            if not name.isidentifier() or keyword.iskeyword(name):
                yield Fault((name,), "is not the name of an argument in Python")
            elif not all(map(_is_scalar, value if isinstance(value, tuple) else (value,))):
                yield Fault((name,), "must be a finite number, a string, true or false, or an array of these")

    @property
    def given(self) -> dict[str, Any]:
        """The arguments by name; an array is a tuple."""
        return self.model_extra or {}


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def factory_faults(factory: str | None, arguments: Arguments, *, alone: bool = False) -> Iterator[Fault]:
    """What is wrong with a factory's name, or with arguments that nothing takes; `alone`: they need no factory."""
    if factory is not None and not _FACTORY.fullmatch(factory):
        hint = 'such as "mypackage.models:build"'
        yield Fault(("factory",), f'must be "module:function", is "{factory}"', hint)
    if factory is None and arguments.given and not alone:
        yield Fault(("arguments",), "has no effect without a factory", "remove it, or give factory")


def _name_or_factory(schema: dict[str, Any]) -> None:
    """Let the JSON Schema of a table ask for its name or its factory."""
    schema["required"] = [key for key in schema["required"] if key != "name"]
    schema["anyOf"] = [{"required": ["name"]}, {"required": ["factory"]}]


class NamedByFactory(RecipeModel):
    """A table with a `name` and a `factory`: unless another name is given, it is the factory's."""

    model_config = ConfigDict(json_schema_extra=_name_or_factory)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("factory") is None or "name" in values:
            return values
        factory = values["factory"]
        is_sound = isinstance(factory, str) and _FACTORY.fullmatch(factory)
        return {"name": factory if is_sound else "own", **values}


class OwnLoss(RecipeModel):
    """The user's own loss: a factory of a function (outputs, targets) -> each example's loss, or their mean."""

    factory: str = Field(description='what makes the loss, as "module:function", such as "torch.nn:HuberLoss"')
    arguments: Arguments = Field(Arguments(), description="keyword arguments of the factory")

    def _faults(self) -> Iterator[Fault]:
        yield from factory_faults(self.factory, self.arguments)


class OwnMetric(RecipeModel):
    """The user's own metric: a factory of a function (outputs, targets) -> a number, of a whole evaluation."""

    factory: str = Field(description='what makes the metric, as "module:function"')
    better: Literal["higher", "lower"] = Field(description="which values are the good ones")
    arguments: Arguments = Field(Arguments(), description="keyword arguments of the factory")

    def _faults(self) -> Iterator[Fault]:
        yield from factory_faults(self.factory, self.arguments)


class Task(RecipeModel):
    """What is learned: classes, by cross-entropy, or numbers, by the mean squared error, unless a loss is given."""

    kind: Literal["classification", "regression"] = Field(
        "classification",
        description="classification: outputs (B, ..., K) and class numbers (B, ...); regression: numbers, "
        "without an accuracy",
    )
    loss: OwnLoss | None = Field(None, description="the user's own loss")
    metric: OwnMetric | None = Field(None, description="the user's own metric")
