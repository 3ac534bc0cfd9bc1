"""Jobs on the machines of a Ray cluster: Ray places them, and starts again what is lost with its process or machine."""

import contextlib
import logging
import os
import pickle
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lbadvisor.errors import LbadvisorError, RefusedError, UsageError, reason_of
from lbadvisor.runs.databases import opened_to_train
from lbadvisor.runs.jobs import QUIET_SECONDS, Crew, Job, JobBegins, JobEnds, JobEvents, Silence, done, heard, together
from lbadvisor.runs.ray_node import Held, Post
from lbadvisor.store import Store
from lbadvisor.store.run_folder import is_in_training, only_process
from lbadvisor.training.data.preparation import default_data_dir

CONNECT_SECONDS = 5.0
"""Ray itself would look for a cluster for two minutes."""
LOOK_SECONDS = 60.0
RETRIES = 10
"""How often Ray starts a job again: one that always ends its process must not begin for ever."""


@dataclass(frozen=True, slots=True)
class RayCluster:
    """The cluster that this process is connected to, and what a job has of a node: the device, and so many CPUs.

    `nodes` are those that can hold a job, each by Ray's number and its machine's name; all have `room` for so many.
    """

    device: torch.device
    cpus: int
    nodes: tuple[tuple[str, str], ...]
    room: int

    def crew(self, jobs: int | None) -> Crew:
        """So many jobs, by default as many as there is room for; of more, some wait until there is."""
        each = "a GPU" if self.device.type == "cuda" else f"{self.cpus} CPU{'s' if self.cpus > 1 else ''}"
        place = f"{len(self.nodes)} Ray node{'s' if len(self.nodes) > 1 else ''}, {each} for each job"
        return Crew((self.device,) * (jobs or self.room), partial(on_cluster, self), place)


def connected(address: str, device: str, threads: int | None) -> RayCluster:
    """Connect to the cluster: `auto` for the one that this machine is part of, else HOST:PORT of its head.

    A job has one GPU; if the device is cpu, or auto in a cluster without GPUs, it has `threads` CPUs, by default one.
    Raises `UsageError` if nothing answers, and if no node can hold a job.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device}: with --ray give auto, cpu or cuda, as Ray chooses each job's GPU")
    _refuse_unanswered(address)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"--ray {address}: {reason_of(error)}; a cluster with token authentication needs RAY_AUTH_MODE=token here "
            "(https://docs.ray.io/en/latest/ray-security/token-auth.html)"
        ) from error
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray's own would end this process before it has saved
    nodes = [node for node in ray.nodes() if node["Alive"]]
    gpus = int(device == "cuda" or (device == "auto" and any("GPU" in node["Resources"] for node in nodes)))
    needs = {"CPU": threads or 1} | ({"GPU": 1} if gpus else {})
    room = [min(int(node["Resources"].get(kind, 0) // amount) for kind, amount in needs.items()) for node in nodes]
    if not any(room):
        wanted = " and ".join(f"{amount} {kind}{'s' if amount > 1 else ''}" for kind, amount in needs.items())
        raise UsageError(f"--ray {address}: none of the cluster's {len(nodes)} nodes has {wanted} for a job")
    able = tuple((node["NodeID"], node["NodeManagerHostname"]) for node, jobs in zip(nodes, room, strict=True) if jobs)
    return RayCluster(torch.device("cuda:0" if gpus else "cpu"), needs["CPU"], able, sum(room))


def _refuse_unanswered(address: str) -> None:
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise UsageError(f"--ray {address}: give auto on a machine of the cluster, or HOST:PORT of its head")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--ray {address}: no Ray cluster answers there ({reason_of(error)})") from error


def on_cluster(cluster: RayCluster, jobs: Sequence[Job]) -> JobEvents:
    """Each job in a task of Ray's; returns `together` of how they ended, and ends the connection.

    A job whose process or machine dies is started again where there is room, and the run that it left is resumed.
    Closing this iterator lets every job save; one that waits for room does not begin. Raises what `together` does, and
    `RefusedError` if the machines cannot share the work.
    """
    with _unprinted(), _held(jobs[0].workspace.store, cluster) as (store, held):
        _check(cluster, held)
        post = (
            ray.remote(num_cpus=0)(Post)
            .options(scheduling_strategy=_on(ray.get_runtime_context().get_node_id()))
            .remote()
        )
        data_dir = jobs[0].workspace.machine.data_dir
        given = None if data_dir == default_data_dir() else data_dir.absolute()
        gpus = int(cluster.device.type == "cuda")
        serve = ray.remote(num_cpus=cluster.cpus, num_gpus=gpus, max_retries=RETRIES)(_serve)
        sent = [replace(job, workspace=replace(job.workspace, store=store)) for job in jobs]
        tasks = {serve.remote(job, given, held, post): job.number for job in sent}
        ends: list[JobEnds] = []
        try:
            while tasks:
                ended, _ = ray.wait(list(tasks), timeout=QUIET_SECONDS)
                told = ray.get(post.told.remote())
                yield from [(job, heard(job, pickle.loads(event))) for job, event in told] or [(0, Silence())]
                for task in ended:
                    ends.append(_end_of(task))
                    yield tasks.pop(task), ends[-1]
            return together(ends)
        except RayError as error:
            what = f"the Ray cluster is lost ({_reason_of(error)}); the same command resumes once there is one"
            raise LbadvisorError(what) from error
        finally:
            with contextlib.suppress(RayError):  # of a lost cluster, which is told already
                for task in tasks:
                    ray.cancel(task, recursive=False)  # which is a Ctrl-C there
                if tasks:
                    ray.wait(list(tasks), num_returns=len(tasks))


def _serve(job: Job, data_dir: Path | None, held: Held, post: Any) -> JobEnds:
    """What a task does; `data_dir` None is this machine's own."""
    fault = held.fault()
    if fault is not None:  # the machine joined the cluster later
        return JobEnds(RefusedError(fault))
    os.environ["LBADVISOR_CHECKPOINTS"] = str(held.folder.parent.parent)
    machine = replace(job.workspace.machine, data_dir=data_dir or default_data_dir())
    last: list[Any] = []

    def tell(event: object) -> None:
        # Without waiting for it: meanwhile Ray would give this task's CPUs to another.
        last[:] = [post.tell.remote(job.number, pickle.dumps(event))]

    tell(JobBegins(socket.gethostname(), ray.get(post.begins_again.remote(job.number))))
    end = done(replace(job, workspace=replace(job.workspace, machine=machine)), tell)
    ray.wait(last)
    return end


def _end_of(task: Any) -> JobEnds:
    try:
        end: JobEnds = ray.get(task)
        return end
    except RayError as error:
        return JobEnds(LbadvisorError(_reason_of(error)))


def _reason_of(error: RayError) -> str:
    """Ray's reason in one line: the last one where it is the end of a traceback."""
    return str(error).strip().splitlines()[-1] if isinstance(error, RayTaskError) else reason_of(error)


@contextlib.contextmanager
def _unprinted() -> Iterator[None]:
    """While entered, Ray, which prints at any time what becomes of its nodes, does not print to standard output."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        try:
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _held(store: Store, cluster: RayCluster) -> Iterator[tuple[Store, Held]]:
    """The store by an absolute path, and what the nodes must share with this machine.

    Raises `RefusedError` for a file if the cluster is of several machines.
    """
    others = sorted({host for _, host in cluster.nodes} - {socket.gethostname()})
    if others and isinstance(store.address, Path):
        raise RefusedError(
            f"the database {store.address} is a file, which only processes on one machine can share "
            f"(https://sqlite.org/wal.html), and the cluster has nodes on {', '.join(others)}: give --db "
            "postgresql+psycopg://..."
        )
    address = store.address.absolute() if isinstance(store.address, Path) else store.address
    checkpoints = store.checkpoints.absolute()
    checkpoints.mkdir(parents=True, exist_ok=True)
    for left in checkpoints.glob("ray-*"):
        if not is_in_training(left):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
    with opened_to_train(address) as sent, tempfile.TemporaryDirectory(prefix="ray-", dir=checkpoints) as name:
        folder = Path(name)
        with only_process(folder, "on the cluster"):
            yield sent, Held.here(folder)


def _check(cluster: RayCluster, held: Held) -> None:
    """Look from every node, before anything is trained. Raises `RefusedError`."""
    look = ray.remote(num_cpus=0, max_retries=0)(Held.fault)
    faults = [look.options(scheduling_strategy=_on(node)).remote(held) for node, _ in cluster.nodes]
    for (_, host), seen in zip(cluster.nodes, faults, strict=True):
        try:
            fault = ray.get(seen, timeout=LOOK_SECONDS)
        except RayError as error:
            fault = f"lbadvisor does not start on {host}: {_reason_of(error)}"
        if fault is not None:
            raise RefusedError(fault)


def _on(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)
