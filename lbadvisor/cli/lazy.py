"""The commands by name: only the module of the one that is called is imported."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS = {
    "plan": "Show what a larger batch changes: each line old -> new with formula and source, then what it costs.",
    "train": "Train a recipe; with --to, adapted to a larger batch first. The same command again resumes where it "
    "stopped.",
    "resume": "Resume a stored run where it stopped: its recipe and seed are those of the database.",
    "verify-resume": "Prove that a killed and resumed run ends with the bits of one that was not killed.",
    "ladder": "Train the arms of the paper's table over seeds, and say what closes the gap, with its uncertainty.",
    "compare": "Compare runs, or whole ladders: what differs, how they ended, how much of the generalization gap is "
    "closed.",
    "calibrate": "Match weight distances: short runs of the baseline, and of the target at a few exponents.",
    "refine": "Search the exponent a of lr * r^a by training: 0.5, 1.0 and 0 first, then where most improvement is "
    "expected.",
    "ladders": "List the ladders; show, rename, delete them.",
    "runs": "List the runs; show, rename, prune, delete, export them.",
    "models": "List the networks, and the data sets that a name alone finds.",
    "db": "Find, upgrade, check and query the database.",
    "schema": "Print the JSON Schema of a recipe.",
}
"""The first paragraph of each command's help: a test holds the two together."""


class LazyGroup(TyperGroup):
    """The program's commands, each a `LazyCommand`."""

    def __init__(self, **attributes: Any) -> None:
        lazy = {name: LazyCommand(name, help=summary) for name, summary in COMMANDS.items()}
        super().__init__(**attributes | {"commands": lazy})


class LazyCommand(TyperCommand):
    """A command that is known by its name and summary until it is called."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the command itself, with the words that it parsed."""
        return loaded(str(self.name)).make_context(info_name, args, parent, **extra)


def loaded(name: str) -> Any:
    """The command of that name itself, or the group of commands."""
    word = name.replace("-", "_")
    found = getattr(import_module(f"lbadvisor.cli.commands.{word}"), word)
    if not isinstance(found, typer.Typer):
        one, found = found, typer.Typer(add_completion=False)
        found.command(name)(one)
    return typer.main.get_command(found)
