"""What the command line's tests share: a place to work in, and commands run there."""

import contextlib
import io
import os
import sys
import time
from typing import NamedTuple

import pytest
import torch

from lbadvisor.cli.app import main
from lbadvisor.errors import StoreError
from lbadvisor.store import Store
from lbadvisor.store.run_folder import checkpoint_folder
from lbadvisor.training.state import checkpoints


class Ended(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


class Place:
    """A working folder with a database of its own; commands run in this process, or in one that can be killed."""

    def __init__(self, folder, capsys, monkeypatch, forked):
        self.folder, self.database = folder, folder / "db" / "lbadvisor.db"
        self.start = forked
        self._capsys, self._monkeypatch = capsys, monkeypatch
        for name in [name for name in os.environ if name.startswith("LBADVISOR_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("LBADVISOR_DATA", str(folder / "data"))
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.chdir(folder)

    def run(self, *words):
        self._monkeypatch.setattr(sys, "argv", ["lbadvisor", *words])
        self._capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        out, err = self._capsys.readouterr()
        return Ended(code, out, err)

    def runs(self):
        with Store.open(self.database, create=False) as store:
            return store.runs()

    def updates(self):
        """How many updates the database knows of, in all runs; none before there is one."""
        try:
            return sum(run.update for run in self.runs())
        except StoreError:
            return 0

    def held(self, update, *words, **how):
        """The command as a process that has made that update of its first run, and waits."""
        process = self.start(*words, held_at=update, **how)
        process.wait_until_held()
        return process

    def stopped(self, sent, process):
        """What a process that is held says until it ends by that signal; it saves the update that it has made."""
        process.send_signal(sent)
        process.go_on()
        out, err = process.communicate(timeout=300)
        assert (process.returncode, out) == (75, ""), err
        return err

    def kill_again_and_again(self, times, *words):
        """SIGKILL the command in its first run; then, unless it ends before, each time once it got further."""
        process = self.held(5, *words, "--quiet")
        process.kill()
        process.wait(300)
        for _ in range(times - 1):
            process, before = self.start(*words, "--quiet", saving_share=0.5), self.updates()
            while process.poll() is None and self.updates() <= before:
                time.sleep(0.005)
            process.kill()
            process.wait(300)

    def stored(self, name):
        with Store.open(self.database, create=False) as store:
            run = store.run(name)
            return run, store.measurements(run.number)

    def weights(self, name):
        """The model's weights in the newest checkpoint."""
        run, _ = self.stored(name)
        content = checkpoints(checkpoint_folder(self.database, run))[0].read_bytes()
        # Three lines (format, checksum, header), then torch's own serialization.
        return torch.load(io.BytesIO(content.split(b"\n", 3)[3]), weights_only=True)["model"]

    def wait_for(self, name, update, meanwhile=lambda: None):
        """Until the run has stored a measurement of that update or later; calls `meanwhile` again and again."""
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            meanwhile()
            # Until the run is made there is no database, or one without it, or half a one.
            with contextlib.suppress(StoreError):
                if any(m.update >= update for m in self.stored(name)[1]):
                    return
            time.sleep(0.05)
        pytest.fail(f"{name} never came to update {update}")


@pytest.fixture
def place(tmp_path, capsys, monkeypatch, forked):
    folder = tmp_path / "here"
    folder.mkdir()
    return Place(folder, capsys, monkeypatch, forked)
