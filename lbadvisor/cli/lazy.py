"""The commands by name; only the called command's module is imported."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS = {
    "plan": "Show what a larger batch changes: each line old -> new with formula and source, then what it costs.",
    "audit": "Say what another trainer will really do with its batch size, and where it departs from the plan.",
    "explain": "Explain a rule or a measurement in half a page: formula, source, and when it fails.",
    "export": "Write a training as another trainer's flags, configuration or code, with a reason for each line.",
    "train": "Train a recipe; with --to, adapt it to a larger batch first. The same command resumes a stopped run.",
    "resume": "Resume a stored run where it stopped, with its recipe and seed from the database.",
    "verify-resume": "Prove that a killed and resumed run ends with the same bits as an uninterrupted one.",
    "ladder": "Train the arms of the paper's table over seeds, and report what closes the gap, with its uncertainty.",
    "stretch": "Find the smallest stretch that closes the gap, and the time it saves next to the full regime.",
    "compare": "Compare runs or whole ladders: what differs, how they ended, how much of the generalization gap is "
    "closed.",
    "calibrate": "Match weight distances in short runs of the baseline and of the target at a few exponents.",
    "probe": "Measure the paper's theory on a run or a recipe: diffusion, potential, gradient noise, covariance, "
    "sharpness.",
    "refine": "Search the exponent a of lr * r^a by training: 0.5, 1.0 and 0 first, then wherever most improvement is "
    "expected.",
    "ladders": "List, show, rename and delete ladders.",
    "runs": "List, show, rename, prune, delete, import and export runs.",
    "models": "List the networks, and the data sets known by name.",
    "db": "Locate, upgrade, check, query and copy the database.",
    "schema": "Print the JSON Schema of a recipe.",
}
"""The first paragraph of each command's help: a test holds the two together."""


class LazyGroup(TyperGroup):
    """The program's commands, each a `LazyCommand`."""

    def __init__(self, **attributes: Any) -> None:
        lazy = {name: LazyCommand(name, help=summary) for name, summary in COMMANDS.items()}
        super().__init__(**attributes | {"commands": lazy})


class LazyCommand(TyperCommand):
    """A command of which only the name and summary are known until it is called."""

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
