"""The command line: its commands, and the one place where an error becomes a message and an exit code."""

import sys
from typing import Annotated

import typer

from lbadvisor import __version__
from lbadvisor.cli.calibrate import calibrate
from lbadvisor.cli.compare import compare
from lbadvisor.cli.db import db
from lbadvisor.cli.ladder import ladder
from lbadvisor.cli.models import models
from lbadvisor.cli.plan import plan
from lbadvisor.cli.refine import refine
from lbadvisor.cli.resume import resume
from lbadvisor.cli.runs import runs
from lbadvisor.cli.schema import schema
from lbadvisor.cli.train import train
from lbadvisor.cli.verify_resume import verify_resume
from lbadvisor.errors import LbadvisorError

app = typer.Typer(
    name="lbadvisor",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Move a training recipe to a larger batch: plan it, train it, compare it.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong input, 3 refused, 75 stopped by a signal after saving.",
)
app.command()(plan)
app.command()(train)
app.command()(resume)
app.command()(verify_resume)
app.command()(ladder)
app.command()(compare)
app.command()(calibrate)
app.command()(refine)
app.add_typer(runs)
app.command()(models)
app.add_typer(db)
app.command()(schema)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lbadvisor {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; the process's exit code is the error's."""
    try:
        app()
    except LbadvisorError as error:
        _report(str(error), error.exit_code)
    except KeyboardInterrupt:
        _report("interrupted", 130)
    except BrokenPipeError:
        # The reader of stdout (`| head`) has gone: nobody is left to tell.
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        _report(f"unexpected {type(error).__name__}: {error}\nrun it with `lbadvisor --debug ...` to see where", 1)


def _report(message: str, exit_code: int) -> None:
    if "--debug" in sys.argv[1:]:
        raise
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(exit_code)
