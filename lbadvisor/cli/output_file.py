"""A file that a command is to write: looked at before any work."""

from pathlib import Path

from lbadvisor.errors import UsageError


def check_out(path: Path, *, force: bool, source: Path | None = None) -> None:
    """Raise `UsageError`, before any work, where a file could not be written or would replace one that it must not.

    That is one that exists, without `force`, and `source` in any case: the file that is read.
    """
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder: name a file in it")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--out {path} cannot be written: there is no folder {path.parent}")
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise UsageError(f"--out {path} is the file that is read, and would be lost: give another name")
    if path.exists() and not force:
        raise UsageError(f"{path} exists: give another --out, or --force to replace it")
