"""Claims about comparing runs. The numbers of the gap are those of the paper's ResNet44 row, worked by hand."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from plain_results import result_of

from lbadvisor.comparison import compare, results
from lbadvisor.comparison.comparison import Better, Comparison, Metric, RunSummary
from lbadvisor.errors import UsageError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import AdaptedFrom, Batch, BatchNorm, Data, Model, Part, Sgd
from lbadvisor.recipe.schedule_tables import Clipping, Milestone, Schedule
from lbadvisor.records.run import Environment, Measurement, Run, RunStatus

SMALL, LARGE = 128, 4096
Recorded = tuple[Run, Sequence[Measurement]]


def compare_runs(runs: Sequence[Recorded]) -> Comparison:
    return compare.compare_runs([result_of(run, measurements) for run, measurements in runs])


def summary_of(run: Run, measurements: Sequence[Measurement]) -> RunSummary:
    return results.summary_of(result_of(run, measurements))


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def a_recipe(batch: int = SMALL, parts: tuple[Part, ...] | None = None, **changes: object) -> Recipe:
    """A recipe of 8192 examples: 640 updates at batch 128 in 10 epochs, 20 at 4096."""
    adapted = None
    if parts is not None:
        adapted = AdaptedFrom(
            recipe="small", recipe_hash="0" * 64, batch_size=SMALL, parts=parts, lr_rule="sqrt", program="lbadvisor"
        )
    fields: dict[str, object] = {
        "schema": 1,
        "name": "small",
        "data": Data(name="mnist", train_examples=8192),
        "model": Model(name="f1"),
        "batch": Batch(size=batch),
        "optimizer": Sgd(name="sgd", lr=0.1),
        "schedule": Schedule(epochs=10.0),
        "adapted_from": adapted,
    }
    return Recipe(**(fields | changes))  # type: ignore[arg-type]


def a_run(number: int, name: str, recipe: Recipe | None = None, **changes: object) -> Run:
    fields: dict[str, object] = {
        "number": number,
        "name": name,
        "recipe": recipe or a_recipe(),
        "plan_number": None,
        "seed": 1,
        "status": RunStatus.COMPLETE,
        "ended_because": None,
        "update": 640,
        "updates": 640,
        "environment": Environment("cpu", "a processor", "0.1.0", "3.11.0", "2.15.0", None, None),
        "created_at": NOON,
        "changed_at": NOON,
        "resumes": 0,
    }
    return Run(**(fields | changes))  # type: ignore[arg-type]


def measured(update: int, accuracy: float | None, batch: int = SMALL, **changes: float | None) -> Measurement:
    fields: dict[str, object] = {
        "update": update,
        "epoch": update * batch / 8192,
        "examples": update * batch,
        "loss": 0.5,
        "lr": 0.1,
        "gradient_norm": 1.0,
        "clipped_share": 0.0,
        "weight_distance": 3.0,
        "evaluation_loss": None if accuracy is None else 1.0,
        "evaluation_accuracy_percent": accuracy,
        "seconds": update * 0.5,
    }
    return Measurement(**(fields | changes))  # type: ignore[arg-type]


def of_accuracies(*runs: tuple[str, Recipe, float]) -> Comparison:
    """A comparison of complete runs of one evaluation each."""
    return compare_runs(
        [(a_run(i, name, recipe), [measured(10, accuracy)]) for i, (name, recipe, accuracy) in enumerate(runs, 1)]
    )


def metric_named(comparison: Comparison, name: str) -> Metric:
    return next(metric for metric in comparison.metrics if metric.name == name)


SB = ("sb", a_recipe(), 92.83)
LB = ("lb", a_recipe(LARGE, ()), 86.10)
GBN = ("gbn", a_recipe(LARGE, ("lr", "ghost")), 90.50)
RA = ("ra", a_recipe(LARGE, ("lr", "ghost", "regime")), 93.07)


def changed(comparison: Comparison) -> dict[str, tuple[object, ...]]:
    return {change.field: change.values for change in comparison.changed}


def test_the_gap_is_the_error_of_the_large_batch_minus_that_of_the_baseline() -> None:
    """92.83 - 86.10 = 6.73 points; ghosts leave 2.33 and close 4.40 of them, 65.4%."""
    gap = of_accuracies(SB, LB, GBN).gap
    assert gap.points == pytest.approx(6.73)
    assert gap.naive_group == "lb"
    assert [run.points for run in gap.groups] == pytest.approx([0, 6.73, 2.33])
    assert gap.closed_percent == pytest.approx(65.379, abs=1e-3)
    assert (gap.interval, gap.seeds) == (None, 1)
    assert "lb is 6.73 points worse than sb" in gap.conclusion
    assert "gbn closes 65% of that gap (no interval: one seed). gbn is 2.33 points worse than sb" in gap.conclusion
    assert "One seed each: nothing may be concluded" in gap.conclusion


def test_a_run_better_than_the_baseline_has_a_negative_gap_and_closes_more_than_all_of_it() -> None:
    """(6.73 + 0.24) / 6.73 = 103.6%."""
    gap = of_accuracies(SB, LB, RA).gap
    assert gap.groups[2].points == pytest.approx(-0.24)
    assert gap.closed_percent == pytest.approx(103.566, abs=1e-3)
    assert "0.24 points better than sb" in gap.conclusion


def test_the_share_closed_is_that_of_the_last_run_which_is_not_the_naive_one() -> None:
    gap = of_accuracies(SB, GBN, RA, LB).gap
    assert gap.points == pytest.approx(6.73)
    assert gap.closed_percent == gap.groups[2].closed_percent == pytest.approx(103.566, abs=1e-3)
    assert gap.groups[1].closed_percent == pytest.approx(65.379, abs=1e-3)
    assert (gap.groups[0].closed_percent, gap.groups[3].closed_percent) == (None, None)


def test_of_several_naive_groups_the_first_is_the_gap() -> None:
    gap = of_accuracies(SB, LB, ("again", LB[1], 80.0)).gap
    assert (gap.naive_group, gap.points) == ("lb", pytest.approx(6.73))


def test_without_a_naive_group_the_gap_is_that_of_the_last_run_and_no_share_is_named() -> None:
    gap = of_accuracies(SB, RA, GBN).gap
    assert gap.points == pytest.approx(2.33)
    assert gap.closed_percent is None
    assert "--adapt none" in gap.conclusion


def test_an_unadapted_run_of_no_larger_batch_is_not_the_naive_large_batch() -> None:
    assert of_accuracies(SB, ("same", a_recipe(SMALL, ()), 90.0)).gap.naive_group is None


def test_a_naive_group_that_is_not_worse_leaves_no_gap_to_close() -> None:
    gap = of_accuracies(SB, ("lb", LB[1], 92.83), RA).gap
    assert (gap.points, gap.closed_percent) == (0, None)
    assert "lb is level with sb (no interval: one seed). No gap is shown." in gap.conclusion


def test_a_gap_within_the_noise_of_one_seed_is_called_too_small() -> None:
    assert "too small" in of_accuracies(SB, ("lb", LB[1], 92.63), RA).gap.conclusion
    assert "too small" not in of_accuracies(SB, LB, RA).gap.conclusion


def test_runs_of_different_data_sets_have_no_gap_and_a_note_says_why() -> None:
    other = a_recipe(LARGE, (), data=Data(name="fashion_mnist", train_examples=8192))
    comparison = of_accuracies(SB, ("lb", other, 86.10))
    assert comparison.gap.points is None
    assert [run.points for run in comparison.gap.groups] == [None, None]
    assert {run.points_open for run in comparison.gap.groups} == {"other data"}
    assert any("different data sets (fashion_mnist, mnist)" in note for note in comparison.notes)


def test_runs_of_different_networks_are_noted() -> None:
    other = a_recipe(LARGE, (), model=Model(name="c1"))
    assert any("different networks (c1, f1)" in note for note in of_accuracies(SB, ("lb", other, 86.1)).notes)


def test_a_run_without_an_evaluation_has_no_accuracy_and_the_others_keep_theirs() -> None:
    runs = [(a_run(1, "a"), [measured(10, 90.0)]), (a_run(2, "b"), [measured(10, None)]), (a_run(3, "c"), [])]
    comparison = compare_runs(runs)
    accuracy = metric_named(comparison, "final_accuracy_percent")
    assert accuracy.values == (90.0, None, None)
    assert accuracy.differences == (0.0, None, None)
    assert comparison.gap.points is None
    assert "b has no evaluation, so no accuracy" in comparison.notes
    assert "c has no measurements" in comparison.notes


def test_a_baseline_without_an_evaluation_leaves_every_difference_open() -> None:
    comparison = compare_runs([(a_run(1, "a"), []), (a_run(2, "b"), [measured(10, 90.0)])])
    assert metric_named(comparison, "final_accuracy_percent").differences == (None, None)
    assert comparison.gap.points is None


def test_an_unfinished_run_is_noted_with_where_it_stands() -> None:
    stopped = a_run(2, "b", status=RunStatus.STOPPED, ended_because="SIGINT", update=120, updates=405)
    comparison = compare_runs([(a_run(1, "a"), [measured(640, 90.0)]), (stopped, [measured(120, 80.0)])])
    assert comparison.notes == ("b is at update 120 of 405 (stopped: SIGINT)",)
    assert "Not complete: b" in comparison.gap.conclusion


def test_best_is_the_first_update_that_reached_the_best_and_final_the_last_evaluation() -> None:
    ms = [measured(10, 80.0), measured(20, 95.0), measured(30, 95.0), measured(40, 93.0), measured(41, None)]
    comparison = compare_runs([(a_run(1, "a"), [measured(10, 90.0)]), (a_run(2, "b"), ms)])
    assert metric_named(comparison, "final_accuracy_percent").values[1] == 93.0
    assert metric_named(comparison, "final_accuracy_percent").differences[1] == 3.0
    assert metric_named(comparison, "best_accuracy_percent").values[1] == 95.0
    assert metric_named(comparison, "best_accuracy_update").values[1] == 20


def test_the_best_loss_is_the_lowest_and_what_is_not_a_number_counts_for_nothing() -> None:
    ms = [measured(10, 80.0, evaluation_loss=0.7), measured(20, 10.0, evaluation_loss=math.nan, loss=math.nan)]
    comparison = compare_runs([(a_run(1, "a"), [measured(10, 90.0)]), (a_run(2, "b"), ms)])
    assert metric_named(comparison, "best_evaluation_loss").values[1] == 0.7
    assert metric_named(comparison, "best_evaluation_loss_update").values[1] == 10
    assert metric_named(comparison, "final_evaluation_loss").values[1] is None
    assert metric_named(comparison, "final_training_loss").differences[1] is None


def test_clipped_shares_are_weighed_by_the_updates_that_they_cover() -> None:
    """1.0 over 10 updates and 0.25 over the next 40: 20 of 50 are clipped, 40%."""
    ms = [measured(10, None, clipped_share=1.0), measured(50, 90.0, clipped_share=0.25)]
    comparison = compare_runs([(a_run(1, "a"), [measured(10, 90.0)]), (a_run(2, "b"), ms)])
    assert metric_named(comparison, "clipped_percent").values == (0.0, pytest.approx(40))


def test_costs_are_those_of_the_last_measurement_with_signed_differences() -> None:
    comparison = compare_runs(
        [(a_run(1, "a"), [measured(640, 90.0)]), (a_run(2, "b", a_recipe(LARGE, ())), [measured(20, 80.0, LARGE)])]
    )
    assert metric_named(comparison, "updates").differences[1] == -620
    assert metric_named(comparison, "examples").values == (81920, 81920)
    assert metric_named(comparison, "epochs").values == (10.0, 10.0)
    assert metric_named(comparison, "seconds").differences[1] == -310.0


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("final_accuracy_percent", Better.HIGHER),
        ("final_evaluation_loss", Better.LOWER),
        ("seconds", Better.LOWER),
        ("weight_distance", Better.NEITHER),
        ("updates", Better.NEITHER),
    ],
)
def test_each_metric_says_which_direction_is_good(name: str, better: Better) -> None:
    assert metric_named(of_accuracies(SB, LB), name).better is better


def test_only_the_fields_that_differ_are_listed_and_the_seed_and_the_device_with_them() -> None:
    cuda = Environment("cuda", "a card", "0.1.0", "3.11.0", "2.15.0", None, None)
    comparison = compare_runs([(a_run(1, "a"), []), (a_run(2, "b", seed=2, environment=cuda), [])])
    assert changed(comparison) == {
        "seed": (1, 2), "device": ("cpu", "cuda"), "device_name": ("a processor", "a card")
    }  # fmt: skip
    assert changed(compare_runs([(a_run(1, "a"), []), (a_run(2, "b"), [])])) == {}


def test_lengths_are_compared_in_updates() -> None:
    """10 epochs of 8192 examples at batch 128 are 640 updates: a recipe that says so does not differ."""
    same = a_recipe(schedule=Schedule(updates=640))
    assert changed(compare_runs([(a_run(1, "a"), []), (a_run(2, "b", same), [])])) == {}
    large = compare_runs([(a_run(1, "a"), []), (a_run(2, "b", a_recipe(LARGE, ())), [])])
    assert changed(large)["schedule.updates"] == (640, 20)
    assert changed(large)["batch.size"] == (SMALL, LARGE)


def test_a_field_that_a_run_has_not_is_absent_in_it() -> None:
    clipped = a_recipe(clipping=Clipping(max_norm=5.0), batch_norm=BatchNorm(ghost_batch_size=32))
    rows = changed(compare_runs([(a_run(1, "a"), []), (a_run(2, "b", clipped), [])]))
    assert rows == {"clipping.max_norm": (None, 5.0), "batch_norm.ghost_batch_size": (None, 32)}


def test_a_moved_milestone_is_a_difference() -> None:
    def with_drop_at(epoch: float) -> Recipe:
        return a_recipe(schedule=Schedule(epochs=10.0, milestones=(Milestone(epoch=epoch, lr_factor=0.1),)))

    rows = changed(compare_runs([(a_run(1, "a", with_drop_at(5.0)), []), (a_run(2, "b", with_drop_at(6.0)), [])]))
    assert list(rows.values()) == [(320, 384)]


def test_what_was_adapted_is_one_field_and_adapting_nothing_is_a_value_of_it() -> None:
    rows = changed(of_accuracies(SB, LB, GBN))
    assert rows["adapted_from.parts"] == (None, (), ("lr", "ghost"))
    assert not any(field.startswith("adapted_from.parts[") for field in rows)


def test_prose_and_provenance_are_no_difference() -> None:
    other = a_recipe(name="other", description="the same training in other words")
    assert changed(compare_runs([(a_run(1, "a"), []), (a_run(2, "b", other), [])])) == {}


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_runs_are_refused(count: int) -> None:
    runs: Sequence[tuple[Run, list[Measurement]]] = [(a_run(1, "a"), [])]
    with pytest.raises(UsageError, match=f"at least two runs: {count} given"):
        compare_runs(runs[:count])


def test_a_run_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"run 1 \(a\) is given twice"):
        compare_runs([(a_run(1, "a"), []), (a_run(2, "b"), []), (a_run(1, "a"), [])])


def test_a_summary_names_the_recipe_that_an_adapted_one_came_from() -> None:
    summary = summary_of(a_run(1, "a", a_recipe(LARGE, ("lr",), name="small-4096")), [measured(5, 50.0)])
    assert (summary.recipe, summary.batch_size, summary.parts) == ("small", LARGE, ("lr",))
    assert (summary.final_accuracy_percent, summary.best_accuracy_percent, summary.seconds) == (50.0, 50.0, 2.5)
    assert summary_of(a_run(1, "a"), []).parts is None
