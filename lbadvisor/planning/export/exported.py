"""A training in another trainer's words: lines, each with the reason for it, and what has no words there."""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from lbadvisor.planning.export.planned_training import PlannedTraining

WIDTH = 116
"""Columns of the comments above the lines."""
ALIGNED = 44
"""Comments of lines up to this long begin in one column."""


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line of an export: what the trainer reads, and a comment; without the former, the comment alone."""

    text: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Exported:
    """A training for another trainer: its text in the language bash, python or yaml, which all know `#`.

    `title` says what it is, and `usage` how to use it; `cannot` has a sentence for all that the text does not express.
    """

    trainer: str
    language: str
    title: str
    usage: str
    lines: tuple[TextLine, ...]
    cannot: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole text, the comments included."""
        column = max((len(line.text) for line in self.lines if line.comment and len(line.text) <= ALIGNED), default=0)
        above = [*_wrapped(self.title), *_wrapped(self.usage), "#", *_wrapped("Not expressed here:")]
        above += [row for sentence in self.cannot for row in _wrapped(sentence, "- ")]
        return "\n".join([*above, "", *(_commented(line, column) for line in self.lines)]) + "\n"


Row = str | TextLine
"""A line; one without a comment may be text alone."""


def exported(
    trainer: str, language: str, training: PlannedTraining, usage: str, rows: Iterable[Row], cannot: tuple[str, ...]
) -> Exported:
    """The training, as `rows` for the trainer."""
    lines = tuple(row if isinstance(row, TextLine) else TextLine(row) for row in rows)
    return Exported(trainer, language, training.title, usage, lines, cannot)


def _wrapped(sentence: str, bullet: str = "") -> list[str]:
    lead, rest = f"# {bullet}", "# " + " " * len(bullet)
    return textwrap.TextWrapper(WIDTH, lead, rest, break_long_words=False, break_on_hyphens=False).wrap(sentence)


def _commented(line: TextLine, column: int) -> str:
    return f"{line.text.ljust(column)}  # {line.comment}" if line.comment else line.text
