"""The file of a checkpoint: a readable header, and a payload protected by a checksum. Needs no torch."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Annotated, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from lbadvisor.errors import CheckpointError, RefusedError
from lbadvisor.files import write_atomically
from lbadvisor.recipe.identity import digest_of
from lbadvisor.recipe.recipe import Recipe, recipe_hash
from lbadvisor.records.run import Run
from lbadvisor.training.shape import Shape

MAGIC = b"lbadvisor checkpoint 1\n"
KEPT_CHECKPOINTS = 2
PRUNED = "pruned"
"""This file marks that the checkpoints in its folder were deleted on purpose."""
MOST_HEADER_BYTES = 2**16
T = TypeVar("T")
Count = Annotated[int, Field(ge=0, le=2**53)]


@dataclass(frozen=True, slots=True)
class Images:
    """A network's inputs: images of `shape` (C, H, W) in `classes` classes, or the user's own, of any shape.

    Each channel's pixels, from 0 to 255, are normalized: minus `mean`, divided by `deviation`; the user's own inputs
    are not: both are empty.
    """

    shape: Shape
    classes: int | None
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """A checkpoint's description: its training, its progress, and what made it.

    `training` is the digest of the recipe's decisive fields, `recipe_hash` that of the recipe as a document. `run` is
    the run's name; `milestones` are the updates of the schedule's milestones, as far as they are known; `sources` are
    the SHA-256 of the files that define the recipe's factories, by their names. These three, `training`, `micro_size`
    (examples) and `images` are None in checkpoints of earlier versions, which did not store them. `ranks`
    is the number of processes that trained it together, `shares` that of the shares of each update; None: one a rank.
    """

    recipe: str
    recipe_hash: str
    seed: int
    update: Count
    threads: Annotated[int, Field(ge=1, le=4096)]
    lbadvisor: str
    torch: str
    micro_size: Annotated[int, Field(ge=1, le=2**53)] | None = None
    run: str | None = None
    images: Images | None = None
    training: str | None = None
    milestones: tuple[Count, ...] | None = None
    sources: dict[str, str] | None = None
    ranks: Annotated[int, Field(ge=1, le=2**20)] = 1
    shares: Annotated[int, Field(ge=1, le=2**20)] | None = None


_HEADER = TypeAdapter(Header)
_NAME = re.compile(r"update-[0-9]+\.ckpt")


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, newest first."""
    return sorted((p for p in folder.glob("update-*.ckpt") if _NAME.fullmatch(p.name)), key=update_of, reverse=True)


def update_of(path: Path) -> int:
    """The update that a checkpoint was saved at, from its name."""
    return int(path.stem.removeprefix("update-"))


def write_checkpoint(folder: Path, header: Header, payload: bytes | memoryview) -> Path:
    """Write a checkpoint into `folder` atomically; returns the file. Keeps the newest of the older ones only.

    The file is a line that names the format, the SHA-256 of all that follows, the header as a line of JSON, and the
    payload. Files of later updates are also deleted: they were damaged, or this state would have come after them.
    Raises `CheckpointError` if the folder cannot be written.
    """
    line = json.dumps(asdict(header)).encode() + b"\n"
    checksum = hashlib.sha256(line)
    checksum.update(payload)
    path = folder / f"update-{header.update:010d}.ckpt"

    def write(file: IO[bytes]) -> None:
        file.write(MAGIC + checksum.hexdigest().encode() + b"\n" + line)
        file.write(payload)

    try:
        write_atomically(path, write)
        there = checkpoints(folder)
        kept = [file for file in there if update_of(file) <= header.update][:KEPT_CHECKPOINTS]
        for file in there:
            if file not in kept:
                file.unlink()
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint {path} cannot be written ({error.strerror or error}): the run resumes from the previous "
            "one once there is disk space and write permission"
        ) from error
    return path


def newest_sound(folder: Path, run: Run, read: Callable[[Path], T]) -> tuple[T | None, list[str]]:
    """What `read` returns for the newest sound checkpoint (None if there is none yet), and the faults of later ones.

    Raises `CheckpointError` if none of the checkpoints is sound, or if they are missing (see `missing`): a run never
    restarts by itself.
    """
    damaged: list[str] = []
    for path in checkpoints(folder):
        try:
            return read(path), damaged
        except CheckpointError as error:
            damaged.append(str(error))
    if damaged:
        raise CheckpointError(
            "\n".join(damaged) + "\nno sound checkpoint is left: restore one, or train anew with --name"
        )
    absent = pruned(folder, run) or missing(folder, run)
    if absent:
        raise CheckpointError(absent)
    return None, []


def missing(folder: Path, run: Run) -> str | None:
    """The fault, if the run has progressed but `folder` has no checkpoint; None otherwise."""
    if not run.update or checkpoints(folder):
        return None
    return (
        f"the run {run.name} had reached update {run.update}, but {folder} has no checkpoint: restore it, or "
        "train anew with --name"
    )


def pruned(folder: Path, run: Run) -> str | None:
    """A message that the run's checkpoints were pruned, or are another program's; None if neither."""
    if run.recipe.recorded is not None:
        return f"the run {run.name} was trained by {run.recipe.recorded.program}: its weights are not stored here"
    if checkpoints(folder) or not (folder / PRUNED).exists():
        return None
    return (
        f"the checkpoints of the run {run.name} were pruned: its results are kept, but its weights are gone; to get "
        "them, train anew with --name"
    )


def prune_checkpoints(folder: Path) -> int:
    """Delete the checkpoints in `folder` and mark there that it was on purpose; returns the bytes freed.

    Raises `CheckpointError` if the folder cannot be written.
    """
    freed = 0
    try:
        (folder / PRUNED).touch()
        for path in checkpoints(folder):
            size = path.stat().st_size
            path.unlink()
            freed += size
    except OSError as error:
        raise CheckpointError(f"the checkpoints in {folder} cannot be deleted: {error.strerror or error}") from error
    return freed


def header_of(path: Path, run: Run) -> Header:
    """The header of the run's checkpoint `path`.

    Raises `CheckpointError` if it is damaged, and `RefusedError` if it belongs to another training.
    """
    header, _ = read_checkpoint(path)
    require_training(path, header, run.recipe, run.seed)
    return header


def require_training(path: Path, header: Header, recipe: Recipe, seed: int) -> None:
    """Raise `RefusedError` if the checkpoint belongs to another recipe or seed."""
    same = header.training == digest_of(recipe)
    if header.training is None:
        # The first versions stored no identity: the run's recipe was then exactly the document that checkpoints name.
        same = header.recipe_hash == recipe_hash(recipe)
    if not same or header.seed != seed:
        raise RefusedError(
            f"the checkpoint {path} belongs to another training: recipe {header.recipe}, seed {header.seed}"
        )


def clear_parts(folder: Path) -> None:
    """Delete files that a kill left half written in `folder`. Only for the one process that writes there."""
    for part in folder.glob(".update-*.part"):
        part.unlink(missing_ok=True)


def read_checkpoint(path: Path, most_bytes: float = float("inf")) -> tuple[Header, bytes]:
    """Header and payload of a sound checkpoint. Raises `CheckpointError` for any other file.

    A file larger than `most_bytes` is not read.
    """
    try:
        size = path.stat().st_size
        if size > most_bytes:
            raise CheckpointError(f"the checkpoint {path} is damaged: its {size} bytes are too many for its network")
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"the checkpoint {path} cannot be read: {error.strerror or error}") from error
    if not content.startswith(MAGIC):
        raise CheckpointError(f"{path} is not a checkpoint of lbadvisor, or its beginning is damaged")
    begin = content.find(b"\n", len(MAGIC)) + 1
    end = content.find(b"\n", begin, begin + MOST_HEADER_BYTES)
    body = memoryview(content)[begin:]
    if not begin or hashlib.sha256(body).hexdigest().encode() + b"\n" != content[len(MAGIC) : begin]:
        raise CheckpointError(f"the checkpoint {path} is damaged: its content does not match its checksum")
    try:
        header = _HEADER.validate_json(content[begin : max(begin, end)], strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in found["loc"])
        raise CheckpointError(f"the header of the checkpoint {path} cannot be read: {where} {found['msg']}") from error
    return header, content[end + 1 :]
