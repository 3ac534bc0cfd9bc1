"""The parts of the paper's method, each of which a plan may adapt or leave; and what a plan may add to them."""

from typing import Literal

from lbadvisor.errors import PlanError

Part = Literal["lr", "ghost", "regime", "clip"]
PARTS: tuple[Part, ...] = ("lr", "ghost", "regime", "clip")
Addition = Literal["warm-up", "noise", "dropout", "label-noise", "drop-connect"]
"""What is no part of the paper's adaptation: a warm-up of the learning rate, multiplicative noise, regularization."""


def parse_parts(text: str) -> tuple[Part, ...]:
    """The parts that `text` names: all, none, or a list such as `lr,ghost`. Raises `PlanError`."""
    if text == "all":
        return PARTS
    if text == "none":
        return ()
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise PlanError(f"no part `{unknown[0]}` to adapt: there are {', '.join(PARTS)}, and all or none alone")
    return tuple(part for part in PARTS if part in names)
