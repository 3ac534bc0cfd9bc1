"""The file of a checkpoint: a header that people can read, and bytes that a checksum proves sound. Needs no torch."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Annotated

from pydantic import Field, TypeAdapter, ValidationError

from lbadvisor.advisor.records import Run
from lbadvisor.errors import CheckpointError
from lbadvisor.training.files import write_atomically

MAGIC = b"lbadvisor checkpoint 1\n"
KEPT_CHECKPOINTS = 2
MOST_HEADER_BYTES = 2**16
Count = Annotated[int, Field(ge=0, le=2**53)]


@dataclass(frozen=True, slots=True)
class Header:
    """What a checkpoint says of itself: of which training it is, where that stood, and what made it.

    `training` is the digest of the recipe's decisive fields, `recipe_hash` that of the recipe as a document. `run` is
    the run's name; `training`, `run` and `micro_size` (examples) are None in files of versions that did not note them.
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
    training: str | None = None


_HEADER = TypeAdapter(Header)
_NAME = re.compile(r"update-[0-9]+\.ckpt")


def checkpoint_folder(database: Path, run: Run) -> Path:
    """Where the run's checkpoints lie: beside the database, under its number and the moment when the run was made.

    The first versions had its name instead of its number, which a run can lose: the moment tells them apart as well.
    """
    folder, moment = database.parent / "checkpoints" / database.stem, f"{run.created_at:%Y%m%dT%H%M%S.%f}"
    own = folder / f"{run.number}-{moment}"
    earlier = None if own.exists() else next(iter(sorted(folder.glob(f"*-{moment}"))), None)
    return earlier or own


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
