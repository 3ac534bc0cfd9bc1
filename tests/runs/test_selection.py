"""Claims about which stored runs names and conditions choose."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lbadvisor.comparison.conditions import parse_condition
from lbadvisor.errors import UnknownRunError, UsageError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Batch, Data, Model, Sgd
from lbadvisor.recipe.schedule_tables import Schedule
from lbadvisor.records.run import Environment, Measurement, RunStatus
from lbadvisor.runs.selection import compare_selection, select
from lbadvisor.store import Store

CPU = Environment("cpu", "a processor", "0.1.0", "3.11.0", "2.15.0", None, None)


def a_recipe(batch: int) -> Recipe:
    return Recipe(
        schema=1,
        name="small",
        data=Data(name="digits", train_examples=1024),
        model=Model(name="digits_mlp"),
        batch=Batch(size=batch),
        optimizer=Sgd(name="sgd", lr=0.05),
        schedule=Schedule(updates=20),
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Runs lb-s0, sb-s0, sb-s1, lb-s1 (1 to 4), accuracies 80 to 83, and `new` without any; a ladder of the four."""
    with Store.open(tmp_path / "runs.db", create=True) as opened:
        ladder = opened.add_ladder("both", a_recipe(32), 512)
        for place, name in enumerate(("lb-s0", "sb-s0", "sb-s1", "lb-s1")):
            batch = 32 if name.startswith("sb") else 512
            run = opened.add_run(name, a_recipe(batch), int(name[-1]), 20, CPU)
            opened.record(
                run.number, [Measurement(20, 1.0, 20 * batch, 0.5, 0.05, 1, 0, 1, 0.1, 80.0 + place, 5.0 + place)]
            )
            opened.set_status(run.number, RunStatus.COMPLETE, None)
            opened.add_to_ladder(ladder.number, name[:2], run.number)
        opened.add_run("new", a_recipe(64), 0, 20, CPU)
        yield opened


def chosen(store: Store, names: list[str], *where: str) -> list[str]:
    return [run.name for run in select(store, names, [parse_condition(text) for text in where]).runs]


def test_a_ladder_is_its_runs_the_small_batch_first_whatever_was_trained_first(store: Store) -> None:
    selection = select(store, ["both"])
    assert [run.name for run in selection.runs] == ["sb-s0", "sb-s1", "lb-s0", "lb-s1"]
    assert dict(selection.labels) == {2: "SB", 3: "SB", 1: "LB", 4: "LB"}
    comparison = compare_selection(store, selection)
    assert [(group.label, group.seeds) for group in comparison.groups] == [("SB", (0, 1)), ("LB", (0, 1))]


def test_arms_of_several_ladders_are_told_apart_in_a_sweep_by_their_target(store: Store) -> None:
    sixty_four = store.add_ladder("more", a_recipe(32), 64)
    for arm, number in (("sb", 2), ("lb", 5)):
        store.add_to_ladder(sixty_four.number, arm, number)
    assert dict(select(store, ["both", "more"]).labels) == {2: "SB", 3: "SB", 1: "LB 512", 4: "LB 512", 5: "LB 64"}
    another = store.add_ladder("another", a_recipe(16), 64)
    store.add_to_ladder(another.number, "lb", 5)
    assert dict(select(store, ["both", "another"]).labels)[1] == "both LB"
    assert dict(select(store, ["more", "another"]).labels)[5] == "more LB"


def test_names_numbers_and_ladders_mix_and_a_run_of_the_ladder_is_there_once(store: Store) -> None:
    assert chosen(store, ["new", "both"]) == ["new", "sb-s0", "sb-s1", "lb-s0", "lb-s1"]
    assert chosen(store, ["both", "1"]) == ["sb-s0", "sb-s1", "lb-s0", "lb-s1"]
    assert chosen(store, ["4", "sb-s0"]) == ["lb-s1", "sb-s0"]


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (["batch=512"], ["lb-s0", "lb-s1"]),
        (["batch=512", "seed=1"], ["lb-s1"]),
        (["accuracy>=82"], ["sb-s1", "lb-s1"]),
        (["best_accuracy<81", "status=complete"], ["lb-s0"]),
        (["accuracy=none"], ["new"]),
        (["seconds>5", "optimizer.lr=0.05", "number<=3"], ["sb-s0", "sb-s1"]),
        (["schedule.milestones[0].lr_factor=none", "status=interrupted"], ["new"]),
        (["batch=7"], []),
    ],
)
def test_conditions_choose_among_all_runs_or_among_those_named(
    store: Store, where: list[str], names: list[str]
) -> None:
    assert chosen(store, [], *where) == names
    assert sorted(chosen(store, ["both", "new"], *where)) == sorted(names)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("batch=large", "batch is a number"),
        ("optimizer.lrr=0.1", "did you mean `optimizer.lr`"),
        ("clipping.norm=1", "did you mean `clipping.max_norm`"),
        ("optimizer=sgd", "no field `optimizer`"),
        ("status=compleet", "no status 'compleet': choose from running, interrupted, stopped, complete"),
        ("optimizer.nesterov=1", "is true or false"),
        ("schedule.epochs=10", "give schedule.updates"),
        ("schedule.milestones[0].epoch=10", r"give schedule.milestones\[0\].update"),
        ("acuracy>3", "did you mean `accuracy`"),
    ],
)
def test_a_condition_that_could_choose_nothing_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_condition(text)


def test_a_name_that_is_a_run_and_a_ladder_is_refused(store: Store) -> None:
    store.add_run("both", a_recipe(32), 9, 20, CPU)
    with pytest.raises(UsageError, match="both is both a run and a ladder"):
        select(store, ["both"])


def test_a_run_named_twice_is_refused_and_an_unknown_name_told_with_the_ladders(store: Store) -> None:
    with pytest.raises(UsageError, match="given twice"):
        select(store, ["sb-s0", "2"])
    with pytest.raises(UnknownRunError, match="ladders: both"):
        select(store, ["bot"])
