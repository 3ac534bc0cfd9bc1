"""A real PostgreSQL server for the tests, from Debian's packages where they are installed."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

USER = "lab"


def folder_of_programs() -> Path | None:
    """Where `initdb` and `postgres` lie, of the newest version; None if they are not installed."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in versions), key=lambda folder: int(folder.parent.name), default=None)


@dataclass
class PostgresqlServer:
    """A server in `folder`, which listens to a socket there and to a TCP port of this machine."""

    programs: Path
    folder: Path
    port: int
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def url(self, name: str, user: str = USER, host: str = "127.0.0.1") -> str:
        """What `--db` takes, for the database of that name."""
        return f"postgresql+psycopg://{user}@{host}:{self.port}/{name}"

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        words = ("-D", "data", "-p", str(self.port), "-k", str(self.folder), "-h", "127.0.0.1")
        fast = ("-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off")
        self.process = self._run_in("postgres", *words, *fast, *self.options)
        ready = (self.programs / "pg_isready", "-q", "-h", str(self.folder), "-p", str(self.port))
        deadline = time.monotonic() + 60
        while subprocess.run(ready).returncode:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends its sessions cleanly ("fast"), SIGQUIT at once, as if the machine had crashed."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def sql(self, statement: str, database: str = "postgres") -> list[Any]:
        """What the statement returns, run as the superuser and outside a transaction."""
        import psycopg

        with psycopg.connect(
            host=str(self.folder), port=self.port, user=USER, dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def initialize(self) -> None:
        """Make its data folder: whoever is on this machine may log in as anybody."""
        process = self._run_in("initdb", "-D", "data", "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync", "-N")
        assert process.wait(120) == 0, (self.folder / "log").read_text()

    def _run_in(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        # Neither program runs as root.
        user = None if os.geteuid() else _unprivileged()
        if user is not None:
            os.chown(self.folder, user, -1)
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [self.programs / program, *words], cwd=self.folder, user=user, extra_groups=[] if user else None,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip


def _unprivileged() -> int:
    try:
        return pwd.getpwnam("postgres").pw_uid
    except KeyError:
        return pwd.getpwnam("nobody").pw_uid


def _memory() -> Path | None:
    """A folder in memory, where a database is made in a tenth of the time; None for the usual folder."""
    folder = Path("/dev/shm")
    return folder if os.access(folder, os.W_OK) else None


@contextmanager
def running_server(programs: Path, *options: str) -> Iterator[PostgresqlServer]:
    """A new server; it is stopped and its folder deleted at the end. `options` as `-c`, `max_connections=9`."""
    with tempfile.TemporaryDirectory(prefix="pg", dir=_memory()) as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        server = PostgresqlServer(programs, Path(folder), port, options)
        server.initialize()
        try:
            server.start()
            yield server
        finally:
            server.stop()
