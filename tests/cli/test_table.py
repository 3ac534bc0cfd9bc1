"""Claims about tables on terminals of any width, and where there is none."""

import contextlib
import io
import os
import pty
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pytest
from rich.console import Console
from rich.text import Text

from lbadvisor.cli.app import app
from lbadvisor.cli.display.console import ENDLESS, say
from lbadvisor.cli.display.table import Heading, Table, markdown, print_first_that_fits, print_table

NAME = "digits-1024-ladder-sb-s0"
SENTENCE = "horizon kept in examples, the baseline's; the spread between ghosts is seen over many ghosts"
TABLE = Table(
    (
        Heading("run"),
        Heading("name", "name"),
        Heading("why", "prose"),
        Heading("accuracy at equal updates, %"),
        Heading("best", rank=1),
        Heading("seconds", rank=2),
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
    assert left_out(78) == left_out(70) == "left out to fit the width: seconds"
    assert left_out(69) == left_out(20) == "left out to fit the width: best; seconds"


def test_what_columns_mean_is_said_once_and_of_those_that_are_shown() -> None:
    columns = (
        Heading("gap", meaning="gap: error above SB's"),
        Heading("gap, 95% interval", rank=1, meaning="*: holds"),
        Heading("step", rank=2, meaning="step: gained"),
        Heading("step, 95% interval", rank=3, meaning="*: holds"),
    )
    table = Table(columns, (("1", "* 2 to 3", "4", "* 5 to 6"),))
    assert printed(80, table)[-1] == markdown(table)[-2] == "gap: error above SB's; step: gained; *: holds"
    narrow = " ".join(printed(17, table)).partition("gap: ")[2]
    assert narrow.startswith("error above SB's; *: holds left out to fit the width: step; step, 95% interval (")


def test_what_is_too_wide_without_its_other_columns_is_whole_all_the_same() -> None:
    assert any(NAME in line for line in printed(20))


def test_where_there_is_no_terminal_a_row_is_a_line() -> None:
    header, row = printed(ENDLESS)
    assert header.split() == ["run", "name", "why", "accuracy", "at", "equal", "updates,", "%", "best", "seconds"]
    assert row == f"  7  {NAME}  {SENTENCE}{' ' * 18}97.60 ± 0.53  98.20  1,234.5"


def test_the_first_form_that_fits_is_shown_and_the_last_one_gives_up_columns() -> None:
    wide = Table((Heading("wide"),), (("x" * 50,),))
    narrow = Table((Heading("narrow"), Heading("more", rank=1)), (("x" * 20, "x" * 30),))

    def shown(width: int) -> list[str]:
        file = io.StringIO()
        print_first_that_fits(Console(file=file, width=width), [wide, narrow])
        return file.getvalue().splitlines()

    assert shown(50)[1] == "x" * 50
    assert shown(49)[1] == "x" * 20


def test_a_cell_is_no_markup() -> None:
    assert printed(80, Table((Heading("name", "name"),), (("a[bold]b",), (Text("c"),))))[1:] == ["a[bold]b", "c"]


def test_a_github_table_has_its_bars_escaped_and_its_numbers_to_the_right() -> None:
    table = Table((Heading("run", "name"), Heading("gap")), (("a|b", "+1.00"),))
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
COMMANDS = (
    ("plan", RECIPE, "--to", "1024"),
    ("models",),
    ("ladders",),
    ("ladders", "show", "digits-256-ladder"),
    ("runs",),
    ("runs", "show", "1"),
    ("compare", "digits-256-ladder", "--no-curve"),
    ("compare", "1", "2", "3", "--no-curve"),
    ("db", "query", "--sql", "SELECT * FROM runs"),
    ("ladder", RECIPE, "--to", "256", "--seeds", "2", "--arms", "sb,lb,ra", "--quiet"),
)
NOTE = {
    "left",
    "out",
    "to",
    "fit",
    "the",
    "width:",
    "(a",
    "wider",
    "terminal",
    "or",
    "--json",
    "shows",
    "all)",
    "group",
}
"""What is on a terminal alone: the note below a table, and the corner of one with a row for each group."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a small ladder in its database."""
    path = tmp_path_factory.mktemp("tables")
    write_all(path, io.StringIO(), {}, COMMANDS[-1:])
    return path


@pytest.fixture(scope="module")
def plain(folder: Path) -> list[str]:
    """What each command prints where there is no terminal."""
    return piped(folder, {"COLUMNS": "80"})


def test_where_there_is_no_terminal_no_line_is_broken_even_if_colours_are_forced(
    folder: Path, plain: list[str]
) -> None:
    """Rich takes a pipe with FORCE_COLOR for a terminal."""
    forced = piped(folder, {"COLUMNS": "80", "FORCE_COLOR": "1"})
    assert [text.count("\n") for text in forced] == [text.count("\n") for text in plain]
    assert not any("left out to fit the width" in text for text in plain)


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_on_a_terminal_no_command_breaks_a_word(folder: Path, plain: list[str], width: int) -> None:
    """Every word there is one of those where there is no terminal; only a recipe's lines are longer than the screen."""
    for words, there, whole in zip(COMMANDS, on_a_terminal(folder, width), plain, strict=True):
        known = {word.strip(";") for word in whole.split()} | NOTE
        lines = there.splitlines()
        assert {word.strip(";") for line in lines for word in line.split()} <= known, words
        assert all(len(line) <= width or " = " in line for line in lines), words


def write_all(
    folder: Path, file: IO[str], environment: dict[str, str], commands: Sequence[tuple[str, ...]] = COMMANDS
) -> None:
    """Let each command write to `file`, with a line after it."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()):
        for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS"):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        with contextlib.redirect_stdout(file):
            for words in commands:
                app(words, standalone_mode=False)
                print("=" * 9, flush=True)  # noqa: T201


def piped(folder: Path, more: dict[str, str]) -> list[str]:
    """What each command prints where there is no terminal."""
    file = io.StringIO()
    write_all(folder, file, more)
    return file.getvalue().split("=" * 9)[:-1]


def on_a_terminal(folder: Path, width: int) -> list[str]:
    """What each command prints on a terminal so wide, without its colours."""
    ours, theirs = pty.openpty()
    content = bytearray()

    def show() -> None:
        # Linux ends a terminal that nobody holds any more with an error.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 65536):
                content.extend(part)

    screen = threading.Thread(target=show)
    screen.start()
    with os.fdopen(theirs, "w") as terminal:
        write_all(folder, terminal, {"COLUMNS": str(width), "LINES": "50", "NO_COLOR": "1", "TERM": "dumb"})
    screen.join()
    os.close(ours)
    return content.decode().replace("\r", "").split("=" * 9)[:-1]


def test_diffusion_is_shown_on_eighty_columns_where_it_is_explained(folder: Path) -> None:
    """The epochs, which follow from the updates, give way to it."""
    lines = on_a_terminal(folder, 80)[0].splitlines()
    header = next(line for line in lines if line.startswith("what it costs"))
    assert header.split() == ["what", "it", "costs", "lr", "updates", "examples", "diffusion"]
