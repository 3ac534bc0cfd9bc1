"""A proof of resuming: how far it is, and what came of it."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as ProgressBar

from lbadvisor.cli.display.console import say, stderr
from lbadvisor.cli.display.json_body import json_of
from lbadvisor.training.data.dataset import Preparing

if TYPE_CHECKING:
    from lbadvisor.runs.resume_proof import ProofProgress, ResumeProof

Show = Callable[["Preparing | ProofProgress"], None]


def proof_json(proof: "ResumeProof") -> dict[str, Any]:
    """The proof's fields, and whether it holds."""
    return {"schema": 1, "identical": proof.difference is None, **json_of(proof)}


def proof_text(proof: "ResumeProof") -> str:
    """What was compared and what came of it, in a line."""
    how = (
        f"kill -9 at update {proof.killed_at} (epoch {proof.epoch:.4g}), resumed from update {proof.resumed_from} "
        "in a new process"
    )
    where = f"{proof.environment.device} ({proof.environment.device_name}), torch {proof.environment.torch_version}"
    found = proof.difference
    if found is None:
        return (
            f"bit-identical after {proof.updates} updates: {how}; {proof.tensors} tensors and {proof.measurements} "
            f"measurements compared; {where}"
        )
    by = "" if math.isnan(found.largest) else f", by up to {found.largest:.3g}"
    return (
        f"not bit-identical after {proof.updates} updates: {found.name} is the first to differ, {found.elements} of "
        f"{found.of} elements{by}; {how}; {where}"
    )


@contextmanager
def show_part(*, quiet: bool) -> Iterator[Show]:
    """What shows each part's progress: a bar on a terminal, a line at its end elsewhere, nothing if quiet."""
    console = stderr()
    if quiet:
        yield lambda event: None  # noqa: ARG005
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with ProgressBar(*columns, console=console, transient=True) as bar:
            tasks: dict[str, TaskID] = {}

            def advance(event: "Preparing | ProofProgress") -> None:
                name, done, total = _counted(event)
                if name not in tasks:
                    tasks[name] = bar.add_task(name)
                bar.update(tasks[name], completed=done, total=total)

            yield advance
    else:

        def tell(event: "Preparing | ProofProgress") -> None:
            name, done, total = _counted(event)
            if total is not None and done == total:
                say(console, escape(f"{name}: {done} of {total}"))

        yield tell


def _counted(event: "Preparing | ProofProgress") -> tuple[str, int, int | None]:
    if isinstance(event, Preparing):
        return event.task, event.done, event.total
    return f"updates, {event.part}", event.update, event.until
