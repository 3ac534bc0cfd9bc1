"""`lbadvisor probe`: what a run, or a recipe's network, tells about the paper's theory."""

import typer

from lbadvisor.cli.commands.probe_covariance import covariance
from lbadvisor.cli.commands.probe_diffusion import diffusion
from lbadvisor.cli.commands.probe_noise import noise
from lbadvisor.cli.commands.probe_potential import potential
from lbadvisor.cli.commands.probe_sharpness import sharpness
from lbadvisor.cli.options.command import command

probe = typer.Typer(
    name="probe",
    add_completion=False,
    no_args_is_help=True,
    help="Measure the paper's theory on a run or a recipe: diffusion, potential, gradient noise, covariance, "
    "sharpness.",
)


@probe.callback()
@command
def _probe() -> None:
    pass


probe.command("covariance")(covariance)
probe.command("diffusion")(diffusion)
probe.command("noise")(noise)
probe.command("potential")(potential)
probe.command("sharpness")(sharpness)
