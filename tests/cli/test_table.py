"""Claims about tables on terminals of any width, and where there is none."""

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner

from lbadvisor.cli.app import app
from lbadvisor.cli.console import ENDLESS, say
from lbadvisor.cli.table import Column, Table, markdown, print_first_that_fits, print_table

WIDTHS = (80, 100, 120, 200)
NAME = "digits-1024-ladder-sb-s0"
SENTENCE = "horizon kept in examples, the baseline's; the spread between ghosts is seen over many ghosts"
TABLE = Table(
    (
        Column("run"),
        Column("name", "name"),
        Column("why", "prose"),
        Column("accuracy at equal updates, %"),
        Column("best", rank=1),
        Column("seconds", rank=2),
    ),
    (("7", NAME, SENTENCE, "97.60 ± 0.53", "98.20", "1,234.5"),),
)


def printed(width: int, table: Table = TABLE) -> list[str]:
    file = io.StringIO()
    print_table(Console(file=file, width=width), table)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", range(63, 300, 7))
def test_at_any_width_names_numbers_and_words_are_whole(width: int) -> None:
    lines = printed(width)
    text = "\n".join(lines)
    assert NAME in text
    assert "97.60 ± 0.53" in text
    for word in ("accuracy", "updates,", *SENTENCE.split()):
        assert any(word in line.split() for line in lines)
    assert max(map(len, lines)) <= width
    assert not any(line.endswith(" ") for line in lines)


def test_the_least_important_columns_give_way_first_and_are_named() -> None:
    """Run 3, name 24, why at least 18, accuracy 12, best 5, seconds 7, and gaps of 2: 79; without seconds 70."""

    def left_out(width: int) -> str:
        lines = printed(width)
        begin = next((place for place, line in enumerate(lines) if line.startswith("left out")), len(lines))
        return " ".join(lines[begin:]).partition(" (")[0]

    assert left_out(79) == ""
    assert left_out(78) == left_out(70) == "left out for width: seconds"
    assert left_out(69) == left_out(20) == "left out for width: best; seconds"


def test_what_is_too_wide_without_its_other_columns_is_whole_all_the_same() -> None:
    assert any(NAME in line for line in printed(20))


def test_where_there_is_no_terminal_a_row_is_a_line() -> None:
    header, row = printed(ENDLESS)
    assert header.split() == ["run", "name", "why", "accuracy", "at", "equal", "updates,", "%", "best", "seconds"]
    assert row == f"  7  {NAME}  {SENTENCE}{' ' * 18}97.60 ± 0.53  98.20  1,234.5"


def test_the_first_form_that_fits_is_shown_and_the_last_one_gives_up_columns() -> None:
    wide = Table((Column("wide"),), (("x" * 50,),))
    narrow = Table((Column("narrow"), Column("more", rank=1)), (("x" * 20, "x" * 30),))

    def shown(width: int) -> list[str]:
        file = io.StringIO()
        print_first_that_fits(Console(file=file, width=width), [wide, narrow])
        return file.getvalue().splitlines()

    assert shown(50)[1] == "x" * 50
    assert shown(49)[1] == "x" * 20


def test_a_cell_is_no_markup() -> None:
    assert printed(80, Table((Column("name", "name"),), (("a[bold]b",), (Text("c"),))))[1:] == ["a[bold]b", "c"]


def test_a_github_table_has_its_bars_escaped_and_its_numbers_to_the_right() -> None:
    table = Table((Column("run", "name"), Column("gap")), (("a|b", "+1.00"),))
    assert markdown(table) == ["| run | gap |", "| --- | ---: |", "| a\\|b | +1.00 |", ""]
    assert markdown(Table(table.columns, ())) == []


def test_prose_breaks_between_words_and_a_path_stays_whole() -> None:
    file, path = io.StringIO(), "/a/folder" * 8
    say(Console(file=file, width=30), Text(f"would train twelve runs, database {path}; nothing was done\nat all"))
    assert file.getvalue().splitlines() == [
        "would train twelve runs,",
        "database",
        f"{path};",
        "nothing was done",
        "at all",
    ]


RECIPE = str(Path(__file__).parents[2] / "recipes" / "digits.toml")


@pytest.mark.parametrize("words", [("plan", RECIPE, "--to", "1024"), ("models",)], ids=lambda words: words[0])
@pytest.mark.parametrize("width", WIDTHS)
def test_on_a_terminal_no_word_of_a_command_is_broken(words: tuple[str, ...], width: int) -> None:
    """Every word on the terminal is one of those without a terminal."""
    whole = {word for line in CliRunner().invoke(app, list(words)).stdout.splitlines() for word in line.split()}
    lines = on_a_terminal(width, *words)
    assert max(map(len, lines)) <= width
    told = [line for line in lines if not line.startswith(("left out", "wider", "--json", "shows"))]
    assert {word for line in told for word in line.split()} <= whole


def on_a_terminal(width: int, *words: str) -> list[str]:
    """What the command prints on a terminal so wide, without its colours."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(width), "LINES": "50", "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-m", "lbadvisor", *words]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environment) as process:
        os.close(theirs)
        content = b""
        # Linux ends a terminal that nobody holds any more with an error.
        try:
            while part := os.read(ours, 65536):
                content += part
        except OSError:
            pass
        os.close(ours)
    assert process.returncode == 0
    return content.decode().replace("\r", "").splitlines()
