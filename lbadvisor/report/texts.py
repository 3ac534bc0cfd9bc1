"""Numbers as the page shows them: like in every table, with typographic signs."""

import re

from markupsafe import Markup, escape

from lbadvisor.records.numerals import number_text, value_text

ABSENT = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def number(value: float | None, digits: int = 2) -> str:
    """A number with this many decimals; a dash for None."""
    return ABSENT if value is None else number_text(value, f"z,.{digits}f").replace("-", MINUS)


def signed(value: float | None, digits: int = 2) -> str:
    """The same, with a plus sign if it is above 0."""
    return ABSENT if value is None else number_text(value, f"z,.{digits}f", "+").replace("-", MINUS)


def whole(value: float | None) -> str:
    """A count, its thousands apart."""
    return number(value, 0)


def interval(ends: tuple[float, float] | None, digits: int = 2) -> str:
    """From the lower end to the upper one; a dash for None."""
    return ABSENT if ends is None else f"{number(ends[0], digits)} to {number(ends[1], digits)}"


def planned_value(value: object) -> str:
    """A value of a plan: "none" if it is not set."""
    return value_text(value, "none")


def breakable(name: str) -> Markup:
    """A dotted name that may break after its dots and underscores."""
    return Markup(re.sub(r"([._])", r"\1<wbr>", str(escape(name))))
