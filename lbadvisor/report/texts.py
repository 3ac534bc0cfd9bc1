"""Numbers as the page writes them."""

import re

from markupsafe import Markup, escape

from lbadvisor.advisor.adjustments import Value

ABSENT = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
THIN = "\N{NARROW NO-BREAK SPACE}"
"""Between thousands: a narrow space where no line breaks."""


def number(value: float | None, digits: int = 2) -> str:
    """A number with so many digits behind the point; a dash for None."""
    return ABSENT if value is None else f"{value:z,.{digits}f}".replace(",", THIN).replace("-", MINUS)


def signed(value: float | None, digits: int = 2) -> str:
    """The same, a plus before what is above 0."""
    return ABSENT if value is None else f"{value:+z,.{digits}f}".replace(",", THIN).replace("-", MINUS)


def whole(value: float | None) -> str:
    """A count, its thousands apart."""
    return number(value, 0)


def interval(ends: tuple[float, float] | None, digits: int = 2) -> str:
    """From the lower end to the upper one; a dash for None."""
    return ABSENT if ends is None else f"{number(ends[0], digits)} to {number(ends[1], digits)}"


def planned(value: Value) -> str:
    """A value of a plan: "none" where it is not set."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ", ".join(map(planned, value))
    return (f"{value:,}" if isinstance(value, int) else f"{value:,.6g}").replace(",", THIN)


def field_value(value: object) -> str:
    """A recipe's value: floats with six digits, a dash for what is absent."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple | list):
        return ", ".join(map(field_value, value)) or "none"
    return str(value)


def breakable(name: str) -> Markup:
    """A dotted name that may break behind its dots and underscores."""
    return Markup(re.sub(r"([._])", r"\1<wbr>", str(escape(name))))
