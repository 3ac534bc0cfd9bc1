"""Confirmation before deleting."""

import sys

import typer

from lbadvisor.errors import RefusedError


def confirm(question: str, *, yes: bool) -> None:
    """Ask on the terminal, unless `yes`. Raises `RefusedError` if the answer is no, or without a terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise RefusedError("cannot ask for confirmation without a terminal: give --yes to delete")
    if not typer.confirm(question, err=True):
        raise RefusedError("nothing was deleted")
