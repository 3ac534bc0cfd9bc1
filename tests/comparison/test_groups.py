"""Claims about groups: which runs are one, what they are called, and which runs count."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from plain_results import result_of, standing_of

from lbadvisor.comparison.compare import compare_runs
from lbadvisor.comparison.comparison import Metric, Position, RunResult
from lbadvisor.comparison.results import shared_positions
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Batch, Data, Model, Sgd
from lbadvisor.recipe.schedule_tables import Schedule
from lbadvisor.records.axis import Axis
from lbadvisor.records.run import Environment, Measurement, Run, RunStatus

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CPU = Environment("cpu", "a processor", "0.1.0", "3.11.0", "2.15.0", None, None)


def a_recipe(lr: float = 0.05, **schedule: float) -> Recipe:
    """1024 examples at batch 32: 32 updates an epoch."""
    return Recipe(
        schema=1,
        name="small",
        data=Data(name="digits", train_examples=1024),
        model=Model(name="digits_mlp"),
        batch=Batch(size=32),
        optimizer=Sgd(name="sgd", lr=lr),
        schedule=Schedule(**(schedule or {"updates": 64})),  # type: ignore[arg-type]
    )


def measured(update: int, accuracy: float | None) -> Measurement:
    loss = None if accuracy is None else 0.1
    return Measurement(update, update / 32, update * 32, 0.5, 0.05, 1.0, 0.0, 1.0, loss, accuracy, update * 0.1)


def a_result(number: int, name: str, seed: int, accuracy: float, recipe: Recipe | None = None) -> RunResult:
    run = Run(
        number, name, recipe or a_recipe(), None, seed, RunStatus.COMPLETE, None, 64, 64, CPU, NOON, NOON, 0
    )  # fmt: skip
    return result_of(run, [measured(64, accuracy)])


def named(metrics: tuple[Metric, ...], name: str) -> Metric:
    return next(metric for metric in metrics if metric.name == name)


def test_runs_stand_in_the_order_of_their_groups() -> None:
    """Given a0 b0 a1 b1: a, a, b, b; values, seeds and summaries alike."""
    other = a_recipe(0.1)
    comparison = compare_runs(
        [
            *(a_result(1, "a-s0", 0, 90.0), a_result(2, "b-s0", 0, 80.0, other)),
            *(a_result(3, "a-s1", 1, 91.0), a_result(4, "b-s1", 1, 81.0, other)),
        ]
    )
    assert [run.name for run in comparison.runs] == ["a-s0", "a-s1", "b-s0", "b-s1"]
    assert [(group.label, group.runs, group.seeds) for group in comparison.groups] == [
        ("a", (1, 3), (0, 1)),
        ("b", (2, 4), (0, 1)),
    ]
    accuracy = named(comparison.metrics, "final_accuracy_percent")
    assert accuracy.values == (90.0, 91.0, 80.0, 81.0)
    assert [spread.mean for spread in accuracy.spreads if spread] == [90.5, 80.5]


def test_one_recipe_in_epochs_and_in_updates_is_one_group() -> None:
    """2 epochs of 1024 examples at batch 32 are 64 updates."""
    twice = [a_result(1, "a-s0", 0, 90.0, a_recipe(updates=64)), a_result(2, "b-s1", 1, 91.0, a_recipe(epochs=2.0))]
    assert [group.runs for group in compare_runs(twice).groups] == [(1, 2)]


def test_a_further_seed_joins_the_arm_of_its_recipe() -> None:
    results = [a_result(1, "x-s0", 0, 90.0), a_result(2, "y-s0", 0, 80.0, a_recipe(0.1)), a_result(3, "z", 7, 91.0)]
    groups = compare_runs(results, labels=((1, "SB"), (2, "LB"))).groups
    assert [(group.label, group.runs) for group in groups] == [("SB", (1, 3)), ("LB", (2,))]


def test_a_second_run_of_one_recipe_and_seed_is_a_group_of_its_own() -> None:
    twice = [a_result(1, "a-s0", 0, 97.0), a_result(2, "b-s0", 0, 98.0)]
    assert [group.label for group in compare_runs(twice).groups] == ["a-s0", "b-s0"]


def test_arms_of_two_ladders_stay_apart_though_their_recipe_is_one() -> None:
    results = [a_result(1, "x-s0", 0, 90.0), a_result(2, "y-s1", 1, 80.0)]
    groups = compare_runs(results, labels=((1, "first SB"), (2, "second SB"))).groups
    assert [group.label for group in groups] == ["first SB", "second SB"]


def test_two_groups_of_one_name_are_told_apart() -> None:
    other = a_recipe(0.1)
    results = [
        *(a_result(1, "a-s0", 0, 90.0), a_result(2, "a-s1", 1, 91.0)),
        *(a_result(3, "a-s2", 2, 80.0, other), a_result(4, "a-s3", 3, 81.0, other)),
    ]
    assert [group.label for group in compare_runs(results).groups] == ["a", "a (2)"]


def test_of_seeds_alone_there_is_no_gap_and_their_spread_is_said() -> None:
    """90, 91, 92: mean 91, sample standard deviation 1."""
    gap = compare_runs([a_result(1 + seed, f"a-s{seed}", seed, 90.0 + seed) for seed in range(3)]).gap
    assert (gap.points, gap.naive_group, gap.interval) == (None, None, None)
    assert gap.conclusion == (
        "All are a, one recipe with 3 seeds, so there is no gap: their accuracy is 91.00 ± 1.00% (mean, standard "
        "deviation, of 3)."
    )


def test_a_run_that_diverged_is_in_no_mean_of_any_metric() -> None:
    results = [a_result(1 + seed, f"a-s{seed}", seed, accuracy) for seed, accuracy in enumerate((90.0, 92.0, 10.0))]
    results[2] = replace(results[2], run=replace(results[2].run, status=RunStatus.DIVERGED))
    comparison = compare_runs(results)
    for metric in comparison.metrics:
        spread = metric.spreads[0]
        assert spread is not None
        assert spread.n == 2, metric.name
    assert named(comparison.metrics, "final_accuracy_percent").values == (90.0, 92.0, 10.0)


def test_differences_that_are_equal_but_for_rounding_have_no_interval() -> None:
    """98.1 - 97.3 and 33.7 - 32.9 are 0.8, and differ by rounding."""
    other = a_recipe(0.1)
    small = [a_result(1 + seed, f"a-s{seed}", seed, accuracy) for seed, accuracy in enumerate((98.1, 33.7))]
    large = [a_result(3 + seed, f"b-s{seed}", seed, accuracy, other) for seed, accuracy in enumerate((97.3, 32.9))]
    assert 98.1 - 97.3 != 33.7 - 32.9
    gap = compare_runs([*small, *large]).gap.groups[1]
    assert (gap.points, gap.points_interval, gap.points_open) == (
        pytest.approx(0.8),
        None,
        "no spread between the seeds",
    )


def test_runs_of_two_lengths_are_compared_where_the_shorter_one_ended() -> None:
    """The long run had 70% at update 64, and ends at 128 with 90%; the last evaluation at or before counts."""
    long = [measured(30, 60.0), measured(60, 70.0), measured(64, None), measured(100, 80.0), measured(128, 90.0)]
    short = [measured(64, 75.0)]
    results = [
        replace(a_result(1, "long", 0, 0.0, a_recipe(updates=128)), **_taken(long)),
        replace(a_result(2, "short", 0, 0.0), **_taken(short)),
    ]
    positions = shared_positions(results)
    assert positions == (Position(Axis.UPDATE, 64), Position(Axis.EXAMPLE, 2048))
    comparison = compare_runs(results, standings=[standing_of([long, short], position) for position in positions])
    for words, number in (("updates", "64"), ("examples", "2,048")):
        metric = named(comparison.metrics, f"accuracy_percent_at_equal_{words}")
        assert metric.values == (70.0, 75.0)
        assert metric.label == f"accuracy at equal {words} ({number}), %"


def test_a_run_that_diverged_does_not_say_where_the_others_are_compared() -> None:
    """It ended at update 10; the others ended at 64, both of them."""
    results = [a_result(seed, f"a-s{seed}", seed, 90.0) for seed in (1, 2, 3)]
    early = result_of(replace(results[2].run, status=RunStatus.DIVERGED), [measured(10, 20.0)])
    assert shared_positions([*results[:2], early]) == ()


def _taken(measurements: list[Measurement]) -> dict[str, Any]:
    result = result_of(a_result(1, "x", 0, 0.0).run, measurements)
    assert result.last is not None
    assert result.final is not None
    return {"last": result.last, "final": result.final, "best": result.best}


def test_an_epoch_is_reached_where_its_length_was_rounded_to_fewer_updates() -> None:
    """79 updates of 32 of 1000 examples are 2.528 epochs: the run of 2.54 epochs was 79.4 updates, and has no 80th."""
    last = Measurement(79, 2.528, 2528, 0.5, 0.05, 1.0, 0.0, 1.0, 0.1, 90.0, 7.9)
    assert standing_of([[last]], Position(Axis.EPOCH, 2.54)).measured == (last,)
    assert standing_of([[last]], Position(Axis.EPOCH, 2.57)).measured == (None,)
    assert standing_of([[last]], Position(Axis.UPDATE, 80)).measured == (None,)


def test_test_accuracy_is_shown_where_a_run_has_one() -> None:
    results = [a_result(1, "a", 0, 90.0), a_result(2, "b", 0, 91.0)]
    assert not any(metric.name.startswith("test_") for metric in compare_runs(results).metrics)
    results[1] = replace(results[1], run=replace(results[1].run, test_accuracy_percent=89.5))
    assert named(compare_runs(results).metrics, "test_accuracy_percent").values == (None, 89.5)
