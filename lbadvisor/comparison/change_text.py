"""The value of a differing field in each group, in words."""

from lbadvisor.comparison.comparison import Change, Comparison
from lbadvisor.records.numerals import ABSENT, value_text


def change_texts(comparison: Comparison, change: Change, absent: str = ABSENT) -> tuple[str, ...]:
    """The field's value in each group, or all its values if a group has several; `absent` for None."""
    places = {run.number: place for place, run in enumerate(comparison.runs)}

    def text(number: int) -> str:
        value = change.values[places[number]]
        # A seed is a name made of digits.
        return str(value) if change.field == "seed" else value_text(value, absent)

    return tuple(", ".join(dict.fromkeys(map(text, group.runs))) for group in comparison.groups)
