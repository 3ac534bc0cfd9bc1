"""Where a command reads and writes, and what it computes on: from its words to values."""

from pathlib import Path
from typing import TYPE_CHECKING

from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command_line import Words, recipe_file
from lbadvisor.cli.options.effects import ComputedOn, refuse_without_effect
from lbadvisor.errors import UsageError

if TYPE_CHECKING:
    from lbadvisor.training.machine import Machine, MicroSize


def machine_of(machine: options.MachineOptions, words: Words, *, allow_code: bool = False) -> "Machine":
    """The machine that the options name. Imports torch, which takes seconds.

    Raises `UsageError`, also for an option that has no effect on it.
    """
    from lbadvisor.training.machine import Machine

    code = allowed_code(words, allow_code=allow_code)
    made = Machine.here(machine.device, machine.data_dir, _micro(machine.micro), code, machine.threads)
    refuse_without_effect(words, ComputedOn(made.device.type, machine.micro))
    return made


def allowed_code(words: Words, *, allow_code: bool) -> tuple[Path, ...] | None:
    """Where to look for a recipe's own code.

    None, unless the user names the file, or says --allow-code: a stored recipe runs no code unasked.
    """
    file = recipe_file(words)
    if file is not None:
        from lbadvisor.recipe.file import code_folders

        return code_folders(file)
    return (Path.cwd(),) if allow_code else None


def _micro(text: str | None) -> "MicroSize":
    if text is None:
        return None
    if text == "auto":
        return "auto"
    # Python itself refuses to read more than a few thousand digits.
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise UsageError(f"--micro {text[:40]}: give a number of examples, or auto")
    return int(text)
