"""A recipe is checked when it is made, and can be read field by field."""

import json

import pytest
from pydantic import ValidationError

from lbadvisor.recipe.catalog import NETWORKS, NetworkFacts
from lbadvisor.recipe.recipe import Recipe, differing_fields, fields_of, json_schema, recipe_hash

DIGITS = {
    "schema": 1,
    "name": "small",
    "data": {"name": "digits", "train_examples": 1000},
    "model": {"name": "digits_mlp"},
    "batch": {"size": 50},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "schedule": {"epochs": 10},
}
"""20 updates per epoch, 200 in all."""


def recipe(**tables: object) -> Recipe:
    return Recipe.model_validate(DIGITS | tables)


def wrong(**tables: object) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        recipe(**tables)
    return [(".".join(map(str, error["loc"])), error["msg"]) for error in caught.value.errors()]


def schedule(**keys: object) -> dict[str, object]:
    return {"schedule": keys}


def at(lr_factor: float = 0.1, **place: float) -> dict[str, float]:
    return place | {"lr_factor": lr_factor}


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"data": {"name": "digits", "train_examples": 1298}}, [("data.train_examples", "at most 1297 for digits")]),
        ({"data": {"name": "digits", "train_examples": 1000, "image_size": 16}},
         [("data.image_size", "the images of digits are not resized: they are 8x8")]),
        ({"data": {"name": "own", "train_examples": 1000, "augmentation": "random-resized-crop"}},
         [("data.augmentation", "needs an image_size")]),
        (
            {"model": {"name": "torchvision:googlenet"}},
            [("model.name", "torchvision:googlenet has auxiliary outputs with their own losses, which are not "
              "supported")],
        ),
        ({"model": {"name": "resnet4"}}, [("model.name", 'no network is called "resnet4"')]),
        ({"batch": {"size": 1001}}, [("batch.size", "at most data.train_examples = 1000, is 1001")]),
        ({"batch_norm": {"ghost_batch_size": 51}}, [("batch_norm.ghost_batch_size", "at most batch.size = 50, is 51")]),
        ({"data": {"name": "own", "train_examples": 99},
          "batch_norm": {"ghost_batch_size": 2, "recompute_at_end": True}},
         [("batch_norm.recompute_at_end", "99 examples into ghosts of 2 and one of 1")]),
        ({"clipping": {"max_norm": 5.0, "updates": 201}}, [("clipping.updates", "not last longer than the schedule")]),
        ({"clipping": {"max_norm": 5.0, "epochs": 0.02}}, [("clipping.epochs", "0.02 epochs round to 0 updates")]),
        (schedule(epochs=0.02), [("schedule.epochs", "0.02 epochs round to 0 updates")]),
        (schedule(epochs=1e9) | {"batch": {"size": 1}, "data": {"name": "own", "train_examples": 2**53}},
         [("schedule.epochs", "at most 2**53 updates")]),
        (schedule(epochs=10, warmup_updates=201), [("schedule.warmup_updates", "not be longer than the schedule")]),
        (schedule(epochs=10, milestones=[at(epoch=10)]),
         [("schedule.milestones.0.epoch", "before the end of the schedule, 10 epochs (200 updates); is 10 epochs")]),
        (schedule(updates=100, milestones=[at(epoch=5)]),
         [("schedule.milestones.0.epoch", "before the end of the schedule, 100 updates; is 5 epochs (100 updates)")]),
        (schedule(epochs=10, milestones=[at(epoch=5), at(update=100)]),
         [("schedule.milestones.1.update", "after the milestone before it, 5 epochs (100 updates); is 100 updates")]),
    ],
)  # fmt: skip
def test_tables_that_do_not_fit_together_make_no_recipe(tables, expected):
    found = wrong(**tables)
    assert [place for place, _ in found] == [place for place, _ in expected]
    assert all(part in message for (_, message), (_, part) in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    "tables",
    [
        {"data": {"name": "digits", "train_examples": 1297}},
        {"data": {"name": "own_folder", "train_examples": 5_000_000}},
        {"data": {"name": "own", "train_examples": 1000, "augmentation": "random-resized-crop", "image_size": 1}},
        {"batch": {"size": 1000}},
        {"batch_norm": {"ghost_batch_size": 50}},
        {"batch_norm": {"ghost_batch_size": 50, "running_statistics": "total", "momentum": 1.0}},
        {"batch_norm": {"ghost_batch_size": 2, "recompute_at_end": True}},
        {"clipping": {"max_norm": 5.0, "updates": 200}},
        schedule(epochs=10, warmup_updates=200),
        schedule(epochs=10, milestones=[at(epoch=5), at(update=101), at(update=199)]),
    ],
)
def test_a_limit_itself_is_allowed(tables):
    assert recipe(**tables).name == "small"


def test_all_that_is_wrong_is_said_at_once():
    found = wrong(
        model={"name": "resnet4"},
        batch_norm={"ghost_batch_size": 3000},
        **schedule(epochs=10, warmup_epochs=11, milestones=[at(epoch=12), at(epoch=13)]),
    )
    assert [place for place, _ in found] == [
        "model.name",
        "schedule.warmup_epochs",
        "schedule.milestones.0.epoch",
        "schedule.milestones.1.epoch",
        "batch_norm.ghost_batch_size",
    ]


def test_ghosts_are_refused_for_a_network_without_batch_norm(monkeypatch):
    monkeypatch.setitem(NETWORKS, "plain", NetworkFacts(batch_norm=False, source="none"))
    assert wrong(model={"name": "plain"}, batch_norm={"ghost_batch_size": 10}) == [
        ("batch_norm.ghost_batch_size", "has no meaning: plain has no batch norm")
    ]
    assert wrong(model={"name": "plain"}, batch_norm={"momentum": 0.2, "recompute_at_end": True}) == [
        ("batch_norm.momentum", "has no meaning: plain has no batch norm"),
        ("batch_norm.recompute_at_end", "has no meaning: plain has no batch norm"),
    ]


@pytest.mark.parametrize(
    ("tables", "place", "message"),
    [
        (schedule(), "schedule", "one of epochs and updates is needed"),
        (schedule(epochs=1, updates=1), "schedule.updates", "epochs and updates are both given"),
        (schedule(epochs=1, warmup_epochs=1, warmup_updates=1), "schedule.warmup_updates", "both given"),
        (schedule(epochs=1, final_lr_factor=0.1), "schedule.final_lr_factor", 'no meaning with decay = "milestones"'),
        (schedule(epochs=1, decay="exponential"), "schedule", "needs a final_lr_factor above 0"),
        (schedule(epochs=9, decay="exponential", final_lr_factor=0.0), "schedule.final_lr_factor", "above 0"),
        (schedule(epochs=9, decay="cosine", milestones=[at(epoch=1)]), "schedule.milestones.0.lr_factor", "no meaning"),
        (schedule(epochs=9, decay="cosine", milestones=[at(0.5, epoch=1, weight_decay=0.0)]),
         "schedule.milestones.0.lr_factor", "no meaning"),
        (schedule(epochs=9, milestones=[at()]), "schedule.milestones.0", "one of epoch and update is needed"),
        (schedule(epochs=9, decay="cosine", milestones=[at(1.0, epoch=1, weight_decay=0.0, distance=2.0)]),
         "schedule.milestones.0.distance", 'no meaning with decay = "cosine"'),
        (schedule(epochs=9, milestones=[at(epoch=2, distance=3.0), at(epoch=4), at(epoch=6, distance=3.0)]),
         "schedule.milestones.2.distance", "must be above the distance before it, 3, is 3"),
        (schedule(epochs=9, milestones=[at(epoch=2, distance=0.0)]),
         "schedule.milestones.0.distance", "greater than 0"),
        (schedule(epochs=9, kind="distance", milestones=[at(epoch=2)]),
         "schedule.kind", 'is "distance", but the schedule lacks a milestone with a distance'),
        (schedule(epochs=9, kind="updates", milestones=[at(epoch=2, distance=3.0)]),
         "schedule.kind", 'is "updates", but the schedule has a milestone with a distance'),
        (schedule(epochs=9, distance_every_updates=5, milestones=[at(epoch=2)]),
         "schedule.distance_every_updates", "no milestone has a distance"),
        (schedule(epochs=9, distance_every_updates=40, milestones=[at(epoch=2, distance=3.0)]),
         "schedule.milestones.0.distance", "not checked before the milestone, at 2 epochs (40 updates)"),
        ({"clipping": {"max_norm": 1.0, "epochs": 1, "updates": 1}}, "clipping.updates", "both given"),
        ({"measurements": {"every_epochs": 1, "every_updates": 1}}, "measurements.every_updates", "both given"),
        ({"batch_norm": {"running_statistics": "mean"}}, "batch_norm.running_statistics", "without ghost batches"),
        ({"optimizer": {"name": "sgd", "lr": 0.1, "nesterov": True}}, "optimizer.sgd.nesterov", "a momentum above 0"),
    ],
)  # fmt: skip
def test_keys_that_contradict_each_other_make_no_recipe(tables, place, message):
    found = wrong(**tables)
    assert [where for where, _ in found] == [place]
    assert message in found[0][1]


def test_a_weight_decay_milestone_goes_with_any_decay():
    milestones = [at(1.0, epoch=1, weight_decay=0.0)]
    assert recipe(**schedule(epochs=9, decay="cosine", milestones=milestones)).schedule.milestones[0].weight_decay == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "0.1", 0, -0.1])
def test_a_learning_rate_is_a_finite_number_above_zero(value):
    assert [place for place, _ in wrong(optimizer={"name": "sgd", "lr": value})] == ["optimizer.sgd.lr"]


def test_every_value_has_a_dotted_path():
    fields = dict(fields_of(recipe(**schedule(epochs=10, milestones=[at(epoch=5), at(0.01, update=150)]))))
    assert fields["schema"] == 1
    assert fields["optimizer.momentum"] == 0.0
    assert fields["schedule.milestones[0].epoch"] == 5.0
    assert fields["schedule.milestones[1].lr_factor"] == 0.01
    assert not any(path.startswith(("clipping", "weight_ema", "schedule.milestones[0].update")) for path in fields)


def test_differing_fields_are_those_that_changed_went_or_came():
    before = recipe(clipping={"max_norm": 5.0})
    after = recipe(batch={"size": 100}, weight_ema={"decay": 0.9})
    assert differing_fields(before, after) == (
        ("batch.size", 50, 100),
        ("clipping.max_norm", 5.0, None),
        ("weight_ema.decay", None, 0.9),
    )
    assert differing_fields(before, before) == ()


def test_the_hash_ignores_the_description_and_nothing_else():
    assert recipe_hash(recipe(description="a")) == recipe_hash(recipe(description="b"))
    assert recipe_hash(recipe(name="a")) != recipe_hash(recipe(name="b"))
    assert recipe_hash(recipe()) != recipe_hash(recipe(batch_norm={"momentum": 0.2}))


def test_a_field_that_a_later_version_adds_changes_no_hash():
    """The hash is the one that the format's first version gave."""
    assert recipe_hash(recipe()) == "859ae665a4148c8e3eedfb756cbb46956464bfcb06be3881bef069c00255027b"
    assert recipe_hash(recipe(batch_norm={"momentum": 0.1})) == recipe_hash(recipe())


def test_every_key_of_the_schema_is_described():
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["required"]) == {"schema", "name", "data", "model", "batch", "optimizer", "schedule"}
    assert json.loads(json.dumps(schema)) == schema
    undescribed = [
        f"{table}.{key}"
        for table, definition in schema["$defs"].items()
        for key, field in definition["properties"].items()
        if "description" not in field and key != "name"
    ]
    assert undescribed == []
