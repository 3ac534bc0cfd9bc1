"""The command line: its commands, and the one place that turns errors into messages and exit codes."""

import sys
from typing import Annotated

import typer

from lbadvisor.cli.lazy import LazyGroup
from lbadvisor.cli.output import told_if_full, unheard_if_closed
from lbadvisor.errors import LbadvisorError
from lbadvisor.runs.on_ranks import are_started, run_on_ranks, tell_launcher
from lbadvisor.version import __version__

app = typer.Typer(
    name="lbadvisor",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Move a training recipe to a larger batch: plan it, train it, compare it.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong input, 3 refused, 75 stopped by a signal after saving.",
)


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
    with unheard_if_closed():
        _run()


def _run() -> None:
    try:
        with told_if_full():
            if are_started():
                run_on_ranks(app)
            else:
                app()
    except LbadvisorError as error:
        _report(str(error), error.exit_code)
    except KeyboardInterrupt:
        _report("interrupted", 130)
    except BrokenPipeError:
        # Whoever read stdout (`| head`) has gone: there is nobody left to tell.
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        _report(f"unexpected {type(error).__name__}: {error}\nrun `lbadvisor --debug ...` to see where", 1)


def _report(message: str, exit_code: int) -> None:
    tell_launcher(message)
    if "--debug" in sys.argv[1:]:
        raise
    if sys.stderr is not None and sys.stderr.isatty():
        from rich.text import Text

        from lbadvisor.cli.display.console import say, stderr

        say(stderr(), Text(f"error: {message}"))
    else:
        print(f"error: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(exit_code)
