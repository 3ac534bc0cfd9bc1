"""The question before something is deleted."""

import sys

import typer

from lbadvisor.errors import RefusedError


def confirm(question: str, *, yes: bool) -> None:
    """Ask on the terminal unless the answer is `yes` already. Raises `RefusedError` for a no or without a terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise RefusedError("deleting asks first, and there is no terminal to answer at: give --yes")
    if not typer.confirm(question, err=True):
        raise RefusedError("nothing was deleted")
