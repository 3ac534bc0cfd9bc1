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
