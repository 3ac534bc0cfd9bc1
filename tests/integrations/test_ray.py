"""A ladder on a real Ray cluster: two nodes on this machine, one of which is killed."""

import contextlib
import importlib.util
import io
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from held_network import Holds

from lbadvisor.cli.app import main
from lbadvisor.errors import StoreError
from lbadvisor.records.run import Run
from lbadvisor.store import Store
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
ROOT = Path(__file__).parents[2]
DIGITS = str(ROOT / "recipes" / "digits.toml")
LADDER = (
    *("--to", "64", "--arms", "sb,lb", "--seeds", "2", "--threads", "1"),
    *("--schedule-scale", "2", "--set", "measurements.every_updates=100", "--set", "checkpoints.every_seconds=0.1"),
)
"""Two runs of 811 updates, and two of 405."""


def children_of(pid: int) -> list[int]:
    """The process's children, theirs, and so on."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [child for child, parent in parents.items() if parent == pid]
    return [*found, *(further for child in found for further in children_of(child))]


@dataclass
class RayNodes:
    """The processes of a cluster's nodes, and where its head is; only those who have its token may connect."""

    folder: Path
    processes: list["subprocess.Popen[str]"] = field(default_factory=list)
    address: str = ""

    def start(self, *before: str) -> None:
        """Start a node of one CPU, the first as the head, by a command that comes before it if one is given."""
        role = (f"--address={self.address}",) if self.address else ("--head", "--port=0", "--include-dashboard=false")
        log = self.folder / f"node{len(self.processes)}.log"
        words = [*role, "--block", "--num-cpus=1", "--object-store-memory=80000000", "--disable-usage-stats"]
        words += [f"--temp-dir={self.folder}", "--node-ip-address=127.0.0.1"] if not self.address else []
        ray = Path(sys.executable).with_name("ray")
        with log.open("w") as out:
            process = subprocess.Popen([*before, str(ray), "start", *words], stdout=out, stderr=out, text=True, cwd="/")
        self.processes.append(process)
        deadline = time.monotonic() + 300
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        if not self.address:
            self.address = re.findall(r"--address='([^']+)'", log.read_text())[0]

    def stop(self, number: int) -> None:
        """End the node in order, so that the cluster knows at once that it is gone."""
        self.processes[number].terminate()
        self.processes[number].wait()

    def kill(self, number: int) -> None:
        """SIGKILL to every process of the node at once."""
        process = self.processes[number]
        for pid in (process.pid, *children_of(process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[RayNodes]:
    for name in [name for name in os.environ if name.startswith(("LBADVISOR_", "RAY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # The paths of Ray's sockets must be short.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        made = RayNodes(Path(folder))
        try:
            made.start()
            yield made
        finally:
            for number in reversed(range(len(made.processes))):
                made.kill(number)


def runs(database: Path) -> list[Run]:
    try:
        with Store.open(database, create=False) as store:
            return list(store.runs())
    except StoreError:
        return []


def wait_until_two_train(database: Path) -> None:
    """Until two runs are in training."""
    deadline = time.monotonic() + 300
    while sum(run.status == "running" for run in runs(database)) < 2:
        assert time.monotonic() < deadline, runs(database)
        time.sleep(0.02)


def results(database: Path) -> dict[str, Any]:
    """By the name of each run its measurements but for their time, and the weights of its newest checkpoint."""
    found = {}
    with Store.open(database, create=False) as store:
        for run in store.runs():
            content = checkpoints(store.checkpoint_folder(run))[0].read_bytes()
            weights = torch.load(io.BytesIO(content.split(b"\n", 3)[3]), weights_only=True)["model"]
            measured = [replace(one, seconds=0.0) for one in store.measurements(run.number)]
            found[run.name] = measured, {name: tensor.numpy().tobytes() for name, tensor in weights.items()}
    return found


@needs_ray
def test_a_ladder_on_two_nodes_is_stopped_and_loses_one_and_ends_as_in_turn(
    nodes: RayNodes, forked: Callable[..., Any], tmp_path: Path
) -> None:
    """SIGTERM saves on both nodes. A killed node's run is resumed by the other: table and bits are the same."""
    nodes.start()
    spread, straight = tmp_path / "spread.db", tmp_path / "straight.db"
    ladder = ("ladder", str(Holds(tmp_path).recipe), *LADDER)
    on_ray = (*ladder, "--db", str(spread), "--ray", nodes.address)
    (tmp_path / "slow").touch()  # until both were stopped, and one was killed
    process = forked(*on_ray)
    wait_until_two_train(spread)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(300)
    assert (process.returncode, out) == (75, ""), err
    assert [run.status.value for run in runs(spread)] == ["stopped", "stopped"]
    # The command may not have heard yet of one that has just begun.
    assert any(f"{run.name} at update {run.update} of {run.updates}" in err for run in runs(spread)), err

    process = forked(*on_ray)
    wait_until_two_train(spread)
    nodes.kill(1)
    (tmp_path / "slow").unlink()
    out, err = process.communicate(300)
    assert process.returncode == 0, err
    assert re.search(r"job [12], which was lost, begins again on ", err)
    # The two that were stopped, and the one of them that was killed.
    assert sum(run.resumes for run in runs(spread)) == 3, err

    process = forked(*ladder, "--db", str(straight), "--jobs", "1")
    in_turn, err = process.communicate(300)
    assert process.returncode == 0, err
    assert results(spread) == results(straight)
    assert "LB" in out
    assert out == in_turn


def told_by(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str]:
    """The exit code and the message of a command that ends with an error before it trains."""
    monkeypatch.setattr(sys, "argv", ["lbadvisor", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert out == ""
    return int(ended.value.code or 0), err.splitlines()[-1]


@pytest.fixture
def told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str]]:
    monkeypatch.chdir(tmp_path)
    return lambda *words: told_by(capsys, monkeypatch, "ladder", DIGITS, *LADDER, "--quiet", *words)


@needs_ray
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("127.0.0.1:1",), "--ray 127.0.0.1:1: no Ray cluster answers there (Connection refused)"),
        (("local",), "--ray local: give auto on a machine of the cluster, or HOST:PORT of its head"),
        (("ray://a:1",), "--ray ray://a:1: give auto on a machine of the cluster, or HOST:PORT of its head"),
        (
            ("a:1", "--device", "cuda:1"),
            "--device cuda:1: with --ray give auto, cpu or cuda, as Ray chooses each job's GPU",
        ),
        (("a:1", "--devices", "cpu"), "--devices cannot be combined with --ray: Ray chooses each job's device"),
    ],
)
def test_an_address_without_a_cluster_is_told_at_once(
    told: Callable[..., tuple[int, str]], words: tuple[str, ...], message: str
) -> None:
    assert told("--ray", *words) == (2, f"error: {message}")


def test_without_ray_it_says_how_to_install_it(
    told: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    message = "error: --ray auto needs Ray, which is not installed: pip install 'lbadvisor[ray]'"
    assert told("--ray", "auto") == (2, message)


def elsewhere(setup: str) -> tuple[str, ...]:
    """What starts a node that has a host name and mounts of its own, as another machine has."""
    return "unshare", "--uts", "--mount", "sh", "-c", f'{setup} && exec "$@"', "sh"


def is_permitted() -> bool:
    try:
        return subprocess.run([*elsewhere("hostname b"), "true"], capture_output=True).returncode == 0
    except OSError:
        return False


@needs_ray
@pytest.mark.skipif(not is_permitted(), reason="needs the right to give a process a host name and mounts of its own")
def test_a_cluster_that_does_not_share_database_and_checkpoints_is_refused(
    nodes: RayNodes, forked: Callable[..., Any], tmp_path: Path
) -> None:
    """A file on two machines, a folder that a node does not see, and one whose locks it does not notice."""

    def refused(*words: str) -> str:
        process = forked("ladder", DIGITS, *LADDER, "--quiet", "--ray", nodes.address, *words)
        out, err = process.communicate(300)
        assert (process.returncode, out) == (3, "")
        return str(err.splitlines()[-1])

    database = tmp_path / "here" / "a.db"
    nodes.start(*elsewhere("hostname gpu-b"))
    assert f"the database {database} is a file" in (said := refused("--db", str(database)))
    assert "the cluster has nodes on gpu-b: give --db postgresql+psycopg://" in said
    assert not database.parent.exists()
    nodes.stop(1)

    database.parent.mkdir()
    nodes.start(*elsewhere(f"mount -t tmpfs none {database.parent}"))
    assert f"does not have the folder {database.parent}/checkpoints/a of" in refused("--db", str(database))
    nodes.stop(2)

    (over := tmp_path / "over").mkdir()
    layers = f"lowerdir={database.parent},upperdir={over}/up,workdir={over}/work"
    nodes.start(
        *elsewhere(
            f"mount -t tmpfs none {over} && mkdir {over}/up {over}/work && "
            f"mount -t overlay overlay -o {layers} {database.parent}"
        )
    )
    assert "but does not notice that" in refused("--db", str(database))
    assert runs(database) == []


@needs_ray
@pytest.mark.skipif(not is_permitted(), reason="needs the right to give a process a host name and mounts of its own")
def test_machines_that_share_a_server_and_a_folder_share_a_ladder_and_a_search(
    nodes: RayNodes,
    forked: Callable[..., Any],
    postgresql_database: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other machine learns where the checkpoints lie from this one."""
    nodes.start(*elsewhere("hostname gpu-b"))
    monkeypatch.setenv("LBADVISOR_CHECKPOINTS", "shared")
    monkeypatch.chdir(tmp_path)
    ladder = ("ladder", DIGITS, "--to", "1024", "--arms", "sb,lb", "--seeds", "2", "--threads", "1")
    refine = ("refine", DIGITS, "--to", "256", "--trials", "2", "--schedule-scale", "0.2", "--threads", "1", "--json")
    server = postgresql_database("template1")

    def told(*words: str) -> tuple[str, set[str]]:
        process = forked(*words)
        out, err = process.communicate(300)
        assert process.returncode == 0, err
        return out, set(re.findall("job [12] begins on (.*)", err))

    (spread, machines), (straight, _) = told(*ladder, "--db", server, "--ray", nodes.address), told(*ladder)
    assert (spread, machines) == (straight, {socket.gethostname(), "gpu-b"})
    assert len({checkpoint.parent for checkpoint in tmp_path.glob("shared/*/*/*.ckpt")}) == 4

    (spread, _), (straight, _) = told(*refine, "--db", server, "--ray", nodes.address), told(*refine)
    values = [
        {tuple(trial["point"]): trial["value"] for trial in json.loads(out)["trials"]} for out in (spread, straight)
    ]
    assert values[0] == values[1]
    assert {*values[0]} == {(0.5,), (1.0,)}
