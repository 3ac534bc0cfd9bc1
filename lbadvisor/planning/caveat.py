"""A warning of the advisor."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caveat:
    """A warning: a stable code, and a sentence with this plan's own numbers."""

    code: str
    message: str
