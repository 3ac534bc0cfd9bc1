"""Claims about the columns that users write."""

import pytest

from lbadvisor.comparison.column_words import parse_columns
from lbadvisor.errors import UsageError
from lbadvisor.records.axis import Axis


@pytest.mark.parametrize(
    ("text", "name", "label"),
    [
        ("accuracy", "final_accuracy_percent", "accuracy, %"),
        ("best accuracy", "best_accuracy_percent", "best accuracy, %"),
        ("update of best", "best_accuracy_update", "update of best accuracy"),
        ("update of best evaluation loss", "best_evaluation_loss_update", "update of best loss"),
        ("accuracy at 5000", "accuracy_percent_at_5000_updates", "accuracy at 5,000 updates, %"),
        ("accuracy  at  1_000 examples", "accuracy_percent_at_1000_examples", "accuracy at 1,000 examples, %"),
        ("weight distance at 2.5 epochs", "weight_distance_at_2.5_epochs", "weight distance at 2.5 epochs"),
        ("training loss", "final_training_loss", "training loss"),
        ("clipped", "clipped_percent", "clipped updates, %"),
        ("seconds", "seconds", "seconds"),
    ],
)
def test_a_column_has_a_name_for_programs_and_one_for_readers(text: str, name: str, label: str) -> None:
    (column,) = parse_columns(text, Axis.UPDATE)
    assert (column.name, column.label) == (name, label)


def test_a_bare_number_counts_on_the_chosen_axis() -> None:
    (column,) = parse_columns("accuracy at 5", Axis.EPOCH)
    assert column.name == "accuracy_percent_at_5_epochs"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("acuracy", "did you mean `accuracy`"),
        ("best seconds", "there is a best accuracy and a best evaluation loss"),
        ("accuracy at 5 parsecs", "no unit `parsecs`"),
        ("accuracy at 0", "0 is no place above 0"),
        ("accuracy at 1e999", "1e999 is no place"),
        ("accuracy,,seconds", "a column is empty"),
        ("", "a column is empty"),
        ("\x00", "no quantity"),
    ],
)
def test_what_is_no_column_is_told_with_what_there_is(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_columns(text, Axis.UPDATE)
