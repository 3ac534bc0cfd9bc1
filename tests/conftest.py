"""What the tests share: where real data lie."""

import os
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
    """`--kills N`: how often tests/test_kills.py kills; `--rows N`: how many measurements four processes write."""
    parser.addoption("--kills", type=int, default=10, metavar="N", help="kills of tests/test_kills.py")
    parser.addoption("--rows", type=int, default=2000, metavar="N", help="measurements that four trainings write")
