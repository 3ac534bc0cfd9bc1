"""Numbers as people read them: thousands are set apart by commas, in every table, message and page."""

ABSENT = "-"
_WHOLE = ("updates", "examples", "update")


def measured_text(name: str, value: float | None, sign: str = "") -> str:
    """A measured number; `name` says what it is, "+" as `sign` shows a plus."""
    if value is None:
        return ABSENT
    if isinstance(value, int) or name in _WHOLE or name.endswith("_update"):
        return f"{round(value):{sign},}"
    if "percent" in name or name.startswith("weight_distance"):
        return f"{value:{sign},.2f}"
    if name in ("seconds", "epochs"):
        return f"{value:{sign},.1f}"
    return f"{value:{sign},.4f}"


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
