"""Where a command reads and writes, and what it computes on: from its words to values."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command_line import Words, recipe_file
from lbadvisor.cli.options.effects import ComputedOn, refuse_without_effect
from lbadvisor.errors import UsageError

if TYPE_CHECKING:
    from lbadvisor.runs.jobs import Crew
    from lbadvisor.training.machine import Machine, MicroSize


def machine_of(
    machine: options.MachineOptions,
    words: Words,
    *,
    allow_code: bool = False,
    computed_on: str | None = None,
    shares: int | None = None,
) -> "Machine":
    """The machine that the options name. Imports torch, which takes seconds.

    Raises `UsageError`, also for an option that has no effect on its device; if runs train elsewhere, on `computed_on`.
    """
    from lbadvisor.training.machine import Machine

    code = allowed_code(words, allow_code=allow_code)
    made = Machine.here(machine.device, machine.data_dir, _micro(machine.micro), code, machine.threads)
    refuse_without_effect(words, ComputedOn(computed_on or made.device.type, machine.micro))
    return replace(made, shares=shares)


def crew_of(machine: options.MachineOptions, crew: options.CrewOptions, words: Words) -> "tuple[Machine, Crew]":
    """The machine, on the first device; and its jobs, divided between the devices one after the other.

    Raises `UsageError` for a device that is not there, is named twice, or would have no job; and as `machine_of` does.
    """
    from lbadvisor.runs.jobs import Crew
    from lbadvisor.training.environment import chosen_device, devices_like
    from lbadvisor.training.ranks import ranks_here

    if crew.devices is None and crew.ray is None and crew.jobs in (None, 1):
        made = machine_of(machine, words)
        return made, Crew((made.device,))
    if ranks_here().are_several:
        raise UsageError("torchrun's processes train one run together: leave out --jobs, --devices and --ray")
    if crew.ray is not None:
        return _ray_crew(crew.ray, machine, crew.jobs, words)
    if crew.devices is None:
        devices = devices_like(machine.device)[: crew.jobs]
    else:
        devices = [chosen_device(name.strip()) for name in crew.devices.split(",")]
    twice = next((device for device in devices if devices.count(device) > 1), None)
    if twice is not None:
        raise UsageError(f"--devices {crew.devices}: {twice} is named twice: name it once, and give --jobs N")
    jobs = crew.jobs or len(devices)
    if jobs < len(devices):
        raise UsageError(
            f"--devices {crew.devices}: --jobs {jobs} leaves some of the {len(devices)} devices without work: give "
            f"--jobs {len(devices)} or more, or name fewer devices"
        )
    made = machine_of(replace(machine, device=str(devices[0])), words)
    return made, Crew(tuple(itertools.islice(itertools.cycle(devices), jobs)))


def _ray_crew(address: str, machine: options.MachineOptions, jobs: int | None, words: Words) -> "tuple[Machine, Crew]":
    """The machine that is here, which may lack the cluster's GPUs; and the jobs, on the cluster it is connected to."""
    try:
        import ray  # noqa: F401
    except ModuleNotFoundError:
        raise UsageError(f"--ray {address} needs Ray, which is not installed: pip install 'lbadvisor[ray]'") from None
    from lbadvisor.runs.ray_jobs import connected

    cluster = connected(address, machine.device, machine.threads)
    own = replace(machine, device="cpu" if machine.device == "cpu" else "auto")
    return machine_of(own, words, computed_on=cluster.device.type), cluster.crew(jobs)


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
