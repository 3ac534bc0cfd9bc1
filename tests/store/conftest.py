"""What the store's tests share: databases of both kinds; a test that names one of them runs on each."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lbadvisor.store import Store, address_of
from lbadvisor.store.address import DatabaseAddress


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is not there yet, nor are its folders."""
    return tmp_path / "made" / "here" / "runs.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest) -> Callable[[str], DatabaseAddress]:
    """Gives a database as `postgresql_database` does; of a file, there is none yet."""
    if request.param == "sqlite":
        path: Path = request.getfixturevalue("path")
        return lambda _template: path
    make = request.getfixturevalue("postgresql_database")
    return lambda template: address_of(make(template))


@pytest.fixture
def address(new_database: Callable[[str], DatabaseAddress]) -> DatabaseAddress:
    """A database without tables."""
    return new_database("template1")


@pytest.fixture
def store(new_database: Callable[[str], DatabaseAddress]) -> Iterator[Store]:
    """An open database without runs."""
    with Store.open(new_database("made"), create=True) as opened:
        yield opened
