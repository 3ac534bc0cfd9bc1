"""What all tables of a recipe have in common, and the kinds of their values."""

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lbadvisor.recipe.faults import Fault, refuse
from lbadvisor.recipe.limits import MOST_COUNT, MOST_EPOCHS

PositiveInt = Annotated[int, Field(gt=0, le=MOST_COUNT)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Epochs = Annotated[float, Field(gt=0, le=MOST_EPOCHS)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=100)]
ModelName = Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_.]*:)?[A-Za-z0-9_][A-Za-z0-9._+-]*$", max_length=200)]
DataName = Annotated[
    str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_.]*:[A-Za-z0-9_.]+|[A-Za-z0-9][A-Za-z0-9._+-]*)$", max_length=200)
]


class RecipeModel(BaseModel):
    """Common to all tables of a recipe: frozen, strict about types, no unknown keys, no nan."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, serialize_by_alias=True, validate_default=True
    )

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        return refuse(self, self._faults())

    def _faults(self) -> Iterator[Fault]:
        """What is wrong among the table's own keys."""
        yield from ()
