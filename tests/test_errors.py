"""What the errors of the system and of other libraries are in words."""

import socket
from urllib.error import URLError

import pytest

from lbadvisor.errors import reason_of


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file or directory", "a.png"), "No such file or directory"),
        (URLError(socket.gaierror(-2, "Name or service not known")), "Name or service not known"),
        (ValueError("\n  first line\nsecond"), "first line"),
        (EOFError(), "EOFError"),
    ],
)
def test_a_reason_is_one_line_without_the_systems_number(error, said):
    assert reason_of(error) == said
