"""The file of a checkpoint: a header that people can read, and bytes that a checksum proves sound. Needs no torch."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Annotated, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from lbadvisor.errors import CheckpointError, RefusedError
from lbadvisor.recipe.identity import digest_of
from lbadvisor.recipe.recipe import Recipe, recipe_hash
from lbadvisor.records.run import Run
from lbadvisor.training.files import write_atomically
from lbadvisor.training.shape import Shape

MAGIC = b"lbadvisor checkpoint 1\n"
KEPT_CHECKPOINTS = 2
PRUNED = "pruned"
"""The file that says that the checkpoints beside it were deleted on purpose."""
MOST_HEADER_BYTES = 2**16
T = TypeVar("T")
Count = Annotated[int, Field(ge=0, le=2**53)]


@dataclass(frozen=True, slots=True)
class Images:
    """What a network is shown: images of `shape` (C, H, W) in `classes` classes.

    Of each channel's pixels, from 0 to 255, `mean` is subtracted, and what is left is divided by `deviation`.
    """

    shape: Shape
    classes: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """What a checkpoint says of itself: of which training it is, where that stood, and what made it.

    `training` is the digest of the recipe's decisive fields, `recipe_hash` that of the recipe as a document. `run` is
    the run's name; it, `training`, `micro_size` (examples) and `images` are None if an earlier version did not note
    them.
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


_HEADER = TypeAdapter(Header)
_NAME = re.compile(r"update-[0-9]+\.ckpt")


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, the newest first."""
    return sorted((p for p in folder.glob("update-*.ckpt") if _NAME.fullmatch(p.name)), key=update_of, reverse=True)


def update_of(path: Path) -> int:
    """The update of which the checkpoint of that name is."""
    return int(path.stem.removeprefix("update-"))


def write_checkpoint(folder: Path, header: Header, payload: bytes | memoryview) -> Path:
    """Write a checkpoint into `folder`, atomically; the file. Of the older ones the newest is kept, the rest go.

    It is a line that names the format, the SHA-256 of all that follows, the header as a line of JSON, and the payload.
    Files of later updates go as well: they were damaged, or this state would have come after them. Raises
    `CheckpointError` where the folder cannot be written.
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
            f"the checkpoint {path} cannot be written ({error.strerror or error}): the run goes on from the one before "
            "once there is room and leave to write"
        ) from error
    return path


def newest_sound(folder: Path, run: Run, read: Callable[[Path], T]) -> tuple[T | None, list[str]]:
    """What `read` gives of the run's newest sound checkpoint, None if there is none yet; and what the later ones lack.

    Raises `CheckpointError` if there are some and none is sound, or there should be some: see `missing`. A run does not
    begin again unasked.
    """
    damaged: list[str] = []
    for path in checkpoints(folder):
        try:
            return read(path), damaged
        except CheckpointError as error:
            damaged.append(str(error))
    if damaged:
        raise CheckpointError(
            "\n".join(damaged) + "\nno sound checkpoint is left: put one back, or train anew with --name"
        )
    absent = pruned(folder, run) or missing(folder, run)
    if absent:
        raise CheckpointError(absent)
    return None, []


def missing(folder: Path, run: Run) -> str | None:
    """What is wrong if the run has come somewhere and no checkpoint is in `folder`; None if nothing is."""
    if not run.update or checkpoints(folder):
        return None
    return (
        f"the run {run.name} had come to update {run.update}, and no checkpoint is in {folder}: put them back, or "
        "train anew with --name"
    )


def pruned(folder: Path, run: Run) -> str | None:
    """That the run's checkpoints were pruned; None if they were not."""
    if checkpoints(folder) or not (folder / PRUNED).exists():
        return None
    return (
        f"the checkpoints of the run {run.name} were pruned: its results are kept, its weights are gone; to have them, "
        "train anew with --name"
    )


def prune_checkpoints(folder: Path) -> int:
    """Delete the checkpoints in `folder` and note there that it was on purpose; the bytes that are freed.

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

    Raises `CheckpointError` if it is not sound, and `RefusedError` if it is of another training.
    """
    header, _ = read_checkpoint(path)
    require_training(path, header, run.recipe, run.seed)
    return header


def require_training(path: Path, header: Header, recipe: Recipe, seed: int) -> None:
    """Raises `RefusedError` if the checkpoint is of another recipe or seed."""
    same = header.training == digest_of(recipe)
    if header.training is None:
        # The first versions noted no identity: a run's recipe was then the very document that its checkpoints name.
        same = header.recipe_hash == recipe_hash(recipe)
    if not same or header.seed != seed:
        raise RefusedError(
            f"the checkpoint {path} belongs to another training: recipe {header.recipe}, seed {header.seed}"
        )


def clear_parts(folder: Path) -> None:
    """Take away what a kill left half written in `folder`. Only for the one process that writes there."""
    for part in folder.glob(".update-*.part"):
        part.unlink(missing_ok=True)


def read_checkpoint(path: Path, most_bytes: float = float("inf")) -> tuple[Header, bytes]:
    """Header and payload of a checkpoint that is sound. Raises `CheckpointError` for any other file.

    One above `most_bytes` is not read.
    """
    try:
        size = path.stat().st_size
        if size > most_bytes:
            raise CheckpointError(f"the checkpoint {path} is damaged: it has {size} bytes, no state of its network has")
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"the checkpoint {path} cannot be read: {error.strerror or error}") from error
    if not content.startswith(MAGIC):
        raise CheckpointError(f"{path} is no checkpoint of lbadvisor, or its beginning is damaged")
    begin = content.find(b"\n", len(MAGIC)) + 1
    end = content.find(b"\n", begin, begin + MOST_HEADER_BYTES)
    body = memoryview(content)[begin:]
    if not begin or hashlib.sha256(body).hexdigest().encode() + b"\n" != content[len(MAGIC) : begin]:
        raise CheckpointError(f"the checkpoint {path} is damaged: its content does not have the noted checksum")
    try:
        header = _HEADER.validate_json(content[begin : max(begin, end)], strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in found["loc"])
        raise CheckpointError(f"the header of the checkpoint {path} cannot be read: {where} {found['msg']}") from error
    return header, content[end + 1 :]
