"""The parts of the paper's method that a plan can adapt, and what it can add to them."""

from typing import Literal, get_args

from lbadvisor.errors import PlanError

Part = Literal["lr", "ghost", "regime", "clip"]
PARTS: tuple[Part, ...] = get_args(Part)
Addition = Literal["warm-up", "noise", "dropout", "label-noise", "drop-connect", "distance"]
"""Additions to the paper's adaptation: a learning-rate warm-up, noise, regularization, a schedule by distance."""


def parse_parts(text: str) -> tuple[Part, ...]:
    """The parts that `text` names: all, none, or a list such as `lr,ghost`. Raises `PlanError`."""
    if text == "all":
        return PARTS
    if text == "none":
        return ()
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise PlanError(f"unknown part `{unknown[0]}`: choose from {', '.join(PARTS)}, or give all or none alone")
    return tuple(part for part in PARTS if part in names)
