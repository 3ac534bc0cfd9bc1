"""What the tests share: where real data lie, and processes of the program that can be killed."""

import itertools
import math
import multiprocessing
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from lbadvisor.records.diagnosis import Diagnosis, Graph, Grid, Series

if TYPE_CHECKING:
    from postgresql_server import PostgresqlServer

    from lbadvisor.training.data.dataset import Dataset

# The tests' workers and processes share the processor: a second thread of each would wait for the others, spinning. A
# test whose claim is about threads sets their number. Before torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--kills N`: how many runs tests/runs/test_kills.py kills."""
    parser.addoption("--kills", type=int, default=10, metavar="N", help="runs that tests/runs/test_kills.py kills")


LONGEST = ("test_readme.py", "test_ray.py", "test_lost_ranks.py", "test_ranks.py", "test_stranger.py", "test_jobs.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests take longest: whatever starts last keeps one worker busy and the others idle."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_runtest_setup() -> None:
    """Give each test the floating-point numbers it would have alone: training makes denormal ones zero from then on."""
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


@pytest.fixture
def real_data_dir() -> Path:
    """The folder with the real data sets; a test that needs it is skipped where LBADVISOR_DATA names none."""
    given = os.environ.get("LBADVISOR_DATA")
    if not given or not Path(given).is_dir():
        pytest.skip("LBADVISOR_DATA names no folder with real data")
    return Path(given)


@pytest.fixture(scope="session")
def digits() -> "Dataset":
    """The digits of the recipe of that name."""
    import torch

    from lbadvisor.recipe.file import load_recipe
    from lbadvisor.training.data.preparation import load_dataset

    return load_dataset(load_recipe(Path(__file__).parents[1] / "recipes" / "digits.toml"), None, torch.device("cpu"))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator["PostgresqlServer"]:
    """A PostgreSQL server, one for each worker; its database `made` has the program's tables."""
    from postgresql_server import folder_of_programs, running_server

    programs = folder_of_programs()
    if programs is None:
        pytest.skip("PostgreSQL's server is not installed")
    pytest.importorskip("psycopg")
    from lbadvisor.store import address_of, schema

    with running_server(programs) as server:
        server.sql("CREATE DATABASE made")
        schema.create(address_of(server.url("made")))
        yield server


@pytest.fixture
def postgresql_database(
    postgresql_server: "PostgresqlServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], str]]:
    """Makes a database from a template, `made` or `template1`, which is empty; returns its URL.

    The checkpoints of its runs lie in the test's own folder. It is dropped at the end of the test.
    """
    monkeypatch.setenv("LBADVISOR_CHECKPOINTS", str(tmp_path / "checkpoints"))
    names: list[str] = []

    def make(template: str) -> str:
        names.append(f"test{next(_database_numbers)}")
        postgresql_server.sql(f"CREATE DATABASE {names[-1]} TEMPLATE {template}")
        return postgresql_server.url(names[-1])

    yield make
    for name in names:
        postgresql_server.sql(f"DROP DATABASE {name} WITH (FORCE)")


_database_numbers = itertools.count(1)


# What a forked process does: the command line, whole, with this process's environment.
PROGRAM = """
import os, sys, torch, lbadvisor.runs.recording
from lbadvisor.cli.app import main
from lbadvisor.training.loop import train
os.environ.clear()
os.environ.update(environment)
for descriptor, pipe in enumerate(pipes, start=1):
    os.dup2(pipe.fileno(), descriptor)
    pipe.close()
if threads:
    torch.set_num_threads(threads)
lbadvisor.runs.recording.SAVING_SHARE = saving_share
def train_as_told(state, dataset):
    global held_at
    for measured in train(state, dataset):
        while state.update == held_at:
            gate.send(state.update)
            held_at = gate.recv()
        yield measured
lbadvisor.runs.recording.train = train_as_told
sys.argv = ["lbadvisor", *words]
main()
"""
PRELOADED = (
    *("lbadvisor.cli.app", "lbadvisor.cli.session", "lbadvisor.cli.ladder_session", "lbadvisor.refine.refining"),
    *("lbadvisor.cli.commands.train", "lbadvisor.cli.commands.ladder", "lbadvisor.cli.commands.refine"),
    *("alembic.command", "alembic.autogenerate", "rich.progress", "tomlkit", "toml_rs", "scipy.stats"),
    *("sklearn.datasets", "sklearn.model_selection", "torch._dynamo"),
)


LONG = 300.0
"""Seconds that nothing takes, however slow the machine: what has not come by then hangs."""


class ForkedProcess:
    """`lbadvisor WORDS` as a process of its own, with the methods of `subprocess.Popen`.

    It is forked from one that has imported the program and done nothing else: what it saves is the seconds that
    importing torch takes. It has this process's environment, with `environment` in it. Saving may take `saving_share`
    of its time; torch has so many `threads`, 0 for its default. A run that has made the update `held_at` waits before
    anybody hears of it, until it is told to `go_on`.
    """

    def __init__(
        self,
        context: ForkServerContext,
        words: tuple[str, ...],
        environment: Mapping[str, str],
        **settings: float | None,
    ) -> None:
        readers, writers = zip(*(context.Pipe(duplex=False) for _ in range(2)), strict=True)
        self._gate, gate = context.Pipe()
        names = {"words": words, "environment": os.environ | environment, "pipes": writers, "gate": gate}
        names |= {"saving_share": 0.01, "threads": 0, "held_at": None} | settings
        self._process = context.Process(target=exec, args=(PROGRAM, names))
        self._process.start()
        self.stdout, self.stderr = (os.fdopen(os.dup(reader.fileno()), encoding="utf-8") for reader in readers)
        for end in (*readers, *writers, gate):
            end.close()

    def wait_until_held(self) -> None:
        """Returns once it has made the update at which it is held, and waits."""
        assert self._gate.poll(LONG), "it never came to the update at which it is held"
        try:
            self._gate.recv()
        except EOFError:
            pytest.fail(f"it ended before it was held: {self.communicate(LONG)}")

    def go_on(self, to: int | None = None) -> None:
        """Let it train on; up to the update `to` of this run or a later one: returns once it is held there.

        Where it already is, it has heard every signal that was sent before.
        """
        self._gate.send(to)
        if to is not None:
            self.wait_until_held()

    def says(self, words: str, times: int = 1) -> str:
        """What it writes to stderr until it has written the words so many times."""
        said = b""
        while said.count(words.encode()) < times:
            assert select.select([self.stderr], [], [], LONG)[0], said.decode()
            more = os.read(self.stderr.fileno(), 65536)
            assert more, said.decode()
            said += more
        return said.decode()

    @property
    def returncode(self) -> int | None:
        """Its exit code, minus the signal that killed it; None while it lives."""
        return self._process.exitcode

    @property
    def pid(self) -> int:
        """The number that the operating system gave it."""
        assert self._process.pid
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code, None while it lives."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended. Raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        if self.returncode is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired("lbadvisor", timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it writes until it ends. One that takes longer is killed; raises `subprocess.TimeoutExpired`."""
        with ThreadPoolExecutor(2) as pool:
            out, err = pool.submit(self.stdout.read), pool.submit(self.stderr.read)
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        self.close()
        return out.result(), err.result()

    def close(self) -> None:
        """Kill it if it lives, and stop reading from it."""
        self._process.kill()
        self._process.join()
        self._gate.close()
        self.stdout.close()
        self.stderr.close()


@pytest.fixture(scope="session")
def forkserver() -> ForkServerContext:
    """What processes are forked from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


@pytest.fixture
def forked(forkserver: ForkServerContext) -> Iterator[Callable[..., ForkedProcess]]:
    """Starts a `ForkedProcess`; what still lives at the end of the test is killed."""
    processes = []

    def start(*words: str, environment: Mapping[str, str] = MappingProxyType({}), **settings: Any) -> ForkedProcess:
        processes.append(ForkedProcess(forkserver, words, environment, **settings))
        return processes[-1]

    yield start
    for process in processes:
        process.close()


@pytest.fixture(scope="session")
def made_up_diagnosis() -> Diagnosis:
    """Points with error bars and laws fitted to them over log t; and a line with a band over three decades."""
    t = (1.0, 10.0, 100.0, 1000.0)
    small, large, root = (
        tuple(law(update) for update in t)
        for law in (lambda u: 1 + 2 * math.log(u), lambda u: 0.4 + 1.5 * math.log(u), lambda u: 0.5 * u**0.5)
    )
    low, high = tuple(y - 0.5 for y in small), tuple(y + 0.5 for y in small)
    noise = ((1.0, 2.0, 3.0), (20.0, 300.0, 4000.0), (10.0, 200.0, 3000.0), (40.0, 400.0, 8000.0))
    distance = Graph(
        title="Weight distance",
        x_title="update",
        y_title="||w_t - w_0||",
        series=(
            Series("batch 32", t, small, low, high, style="points"),
            Series("1 + 2 ln t", t, small, style="dashed", like=0),
            Series("0.5 t^0.5", t, root, style="dashed", like=0),
            Series("batch 512", t, large, style="points"),
            Series("0.4 + 1.5 ln t", t, large, style="dashed", like=3),
        ),
        logarithmic_x=True,
        note="A line that is straight here grows as log t (Hoffer et al. 2017, arXiv:1705.08741, Figure 2).",
    )
    series = (Series("noise scale", *noise),)
    over_decades = Graph("Gradient noise scale", "epoch", "examples", series, logarithmic_y=True, note="A band.")
    rows = (("log", 1.0, 2.0, -1234.5), ("square root", None, 0.5, 12.0))
    return Diagnosis(
        title="Diffusion of small-32-s0",
        conclusion="The distance grows as 1 + 2 ln t. A square root is 40 times less likely.",
        graphs=(distance, over_decades),
        grids=(Grid("Laws", ("law", "a", "b", "AIC"), ("", ".3g", ".3g", ",.1f"), rows),),
        caveats=("Batch norm makes weight norms grow by themselves (van Laarhoven 2017, arXiv:1706.05350).",),
    )
