"""Network file systems: on which one a file lies, as Linux tells it."""

import os
from collections.abc import Iterable
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
"""What is mounted, a mount per line (man 5 proc_pid_mountinfo); there is no such file on macOS."""

_TYPES = {
    *("9p", "acfs", "afs", "auristorfs", "beegfs", "ceph", "cifs", "coda", "fhgfs", "gfs2", "gpfs", "lustre", "ncpfs"),
    *("nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "vboxsf", "virtiofs"),
}


def network_file_system(path: Path) -> str | None:
    """The type of the network file system that holds `path`, such as `nfs4`; None if it is local or unknown."""
    try:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    return network_type(os.path.realpath(path), mounts)


def network_type(path: str, mounts: Iterable[str]) -> str | None:
    """The same for an absolute `path` without links, by the lines of `MOUNTS`."""
    found, longest = None, 0
    for line in mounts:
        # A dash ends the optional fields, of which there may be any number.
        mount, _, volume = line.partition(" - ")
        point, (kind, source, *_) = _plain(mount.split(" ")[4]), volume.split(" ")
        # Of two mounts at one place, the later one hides the earlier.
        if len(point) >= longest and f"{path}/".startswith(f"{point.rstrip('/')}/"):
            found, longest = kind if _is_remote(kind, source) else None, len(point)
    return found


def _is_remote(kind: str, source: str) -> bool:
    # The source of most others, FUSE's among them, names a host: `df --local` leaves them out as well (ME_REMOTE in
    # gnulib's mountlist.c).
    return kind in _TYPES or source.startswith("//") or (":" in source and not source.startswith("/"))


def _plain(field: str) -> str:
    """The field without its escapes: white space and backslashes are octal numbers in it."""
    for character in " \t\n\\":
        field = field.replace(f"\\{ord(character):03o}", character)
    return field
