"""Numbers as people read them: thousands are set apart by commas, in every table, message and page."""

from collections.abc import Sequence

ABSENT = "-"


def number_text(value: float | None, form: str, sign: str = "") -> str:
    """A number in the format `form`, as that of its quantity; "+" as `sign` shows a plus."""
    return ABSENT if value is None else f"{value:{sign}{form}}"


def value_text(value: object, absent: str = ABSENT) -> str:
    """A recipe's value: floats with six digits; `absent` for None."""
    if value is None:
        return absent
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, tuple | list):
        return ", ".join(value_text(inner, absent) for inner in value) or "none"
    return str(value)


def counted(count: int, noun: str) -> str:
    """Such as `1 run` or `2 runs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Such as `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def size_text(size_bytes: int) -> str:
    """Bytes in a readable unit."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"


def duration_text(seconds: float) -> str:
    """Seconds in a readable unit."""
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:,.3g} h"
