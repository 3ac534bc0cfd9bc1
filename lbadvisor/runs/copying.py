"""Copies a database and the checkpoints of its runs to another database, whole or not at all."""

import shutil
from collections.abc import Generator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from lbadvisor.diagnostics.advance import Advance
from lbadvisor.errors import CheckpointError, RefusedError
from lbadvisor.files import flush_folder, write_atomically
from lbadvisor.runs.stored_runs import refuse_in_training
from lbadvisor.store import Store
from lbadvisor.store.copied_rows import copy_rows, count_rows, refuse_rows
from lbadvisor.training.checkpoints.checkpoint_file import PRUNED, checkpoints

if TYPE_CHECKING:
    from sqlalchemy import MetaData


def copy_database(source: Store, target: Store, studies: "MetaData") -> Generator[Advance, None, dict[str, int]]:
    """Copy every row, those of Optuna's tables `studies` too, and every checkpoint; returns how many of each.

    Checkpoints are first copied beside the folders of the target's runs, where they move as the rows are committed. If
    this is killed, the target has no rows, and it can be done again. Raises `RefusedError` if a process trains a run,
    or the target is not empty; `CheckpointError` and `StoreError`.
    """
    runs = source.runs()
    refuse_in_training(runs)
    with target.database.reading() as connection:
        refuse_rows(connection, target.address)
    folders = {target.checkpoint_folder(run): source.checkpoint_folder(run) for run in runs}
    taken = next((folder for folder in folders if folder.exists()), None)
    if taken is not None:
        raise RefusedError(
            f"{taken} is there already, with checkpoints of {source.address} or of another database: name another "
            "folder for a server's with LBADVISOR_CHECKPOINTS, or give the file another name; if a copy was killed as "
            "it ended, move the folders away that it left"
        )
    files = [(new, path) for new, old in folders.items() for path in (*checkpoints(old), *old.glob(PRUNED))]
    staging = target.checkpoints / "copying"
    try:
        with target.named_lock("copying", -1), ExitStack() as at_end:
            shutil.rmtree(staging, ignore_errors=True)  # of a copy that was killed
            staging.mkdir(parents=True)
            at_end.callback(shutil.rmtree, staging, ignore_errors=True)
            for done, (new, path) in enumerate(files):
                yield Advance("copying checkpoints", done, len(files), "files")
                with path.open("rb") as file:
                    write_atomically(staging / new.name / path.name, partial(shutil.copyfileobj, file))
            with source.database.reading() as reader, target.database.writing() as writer:
                refuse_rows(writer, target.address)
                counts = count_rows(reader, source.address, studies)
                for done in copy_rows(reader, writer, source.address, counts):
                    yield Advance("copying rows", done, sum(counts.values()), "rows")
                if source.runs() != runs:
                    raise RefusedError(f"database {source.address}: its runs changed meanwhile: repeat the command")
                for new in dict(files):
                    (staging / new.name).rename(new)
                flush_folder(target.checkpoints)
    except OSError as error:
        raise CheckpointError(
            f"the checkpoints cannot be copied to {target.checkpoints} ({error}): "
            "repeat the command once there is disk space and write permission"
        ) from error
    copied = {table.name: count for table, count in counts.items()}
    return copied | {"checkpoints": sum(path.name != PRUNED for _, path in files)}
