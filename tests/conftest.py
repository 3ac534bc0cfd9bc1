"""What the tests share: where real data lie."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest


@pytest.fixture
def real_data_dir() -> Path:
    """The folder with the real data sets; a test that needs it is skipped where LBADVISOR_DATA names none."""
    given = os.environ.get("LBADVISOR_DATA")
    if not given or not Path(given).is_dir():
        pytest.skip("LBADVISOR_DATA names no folder with real data")
    return Path(given)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--kills N`: how many runs tests/runs/test_kills.py kills."""
    parser.addoption("--kills", type=int, default=10, metavar="N", help="runs that tests/runs/test_kills.py kills")


# What a forked process does: the command line, whole.
PROGRAM = """
import sys, lbadvisor.runs.recording
from lbadvisor.cli.app import main
lbadvisor.runs.recording.SAVING_SHARE = {saving_share!r}
sys.argv = ["lbadvisor", *{words!r}]
main()
"""


@pytest.fixture(scope="session")
def forked() -> Callable[..., BaseProcess]:
    """Starts `lbadvisor WORDS` as a process of its own, without the seconds that importing torch takes.

    It is forked from one that has imported the program and done nothing else. Saving may take `saving_share` of its
    time.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["lbadvisor.cli.app", "lbadvisor.cli.session", "sklearn.datasets", "sklearn.model_selection", "torch._dynamo"]
    )

    def start(*words: str, saving_share: float = 0.01) -> BaseProcess:
        program = PROGRAM.format(saving_share=saving_share, words=words)
        process = context.Process(target=exec, args=(program, {}))
        process.start()
        return process

    return start
