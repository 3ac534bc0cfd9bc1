"""How far a diagnostic that computes for long is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Advance:
    """So many of the `total` `units` (updates, losses, examples, runs) of a diagnostic's `task` are done.

    `now` names the one in work, if it has a name.
    """

    task: str
    done: int
    total: int
    units: str
    now: str = ""
