"""Claims about numbers as people read them."""

import pytest

from lbadvisor.records.numerals import number_text, value_text
from lbadvisor.records.quantities import (
    ACCURACY,
    EXAMPLES,
    LEARNING_RATE,
    LOSS,
    SECONDS,
    UPDATE,
    WEIGHT_DISTANCE,
    Quantity,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1024, "1,024"),
        (200000.0, "200,000"),
        (35355.339, "35,355.3"),
        (0.282842712, "0.282843"),
        (1e-05, "1e-05"),
        ((31641, 47656), "31,641, 47,656"),
        ((), "none"),
        (True, "true"),
        ("sqrt", "sqrt"),
        (None, "-"),
    ],
)
def test_a_recipes_value_has_six_digits_and_its_thousands_apart(value: object, text: str) -> None:
    assert value_text(value) == text


def test_what_is_absent_is_named_as_asked() -> None:
    assert value_text(None, "none") == "none"


@pytest.mark.parametrize(
    ("quantity", "value", "text"),
    [
        (UPDATE, 78125.0, "+78,125"),
        (EXAMPLES, 320_000_000, "+320,000,000"),
        (UPDATE, 1234.4, "+1,234"),
        (ACCURACY, -22.666, "-22.67"),
        (WEIGHT_DISTANCE, 1234.5, "+1,234.50"),
        (SECONDS, 4321.06, "+4,321.1"),
        (LEARNING_RATE, 0.00003, "+3e-05"),
        (LOSS, 0.5, "+0.5000"),
        (LOSS, None, "-"),
    ],
)
def test_a_measured_number_has_its_quantitys_digits_and_its_thousands_apart(
    quantity: Quantity, value: float | None, text: str
) -> None:
    assert number_text(value, quantity.run_format, "+") == text
