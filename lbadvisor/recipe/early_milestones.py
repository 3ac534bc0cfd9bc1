"""A schedule by distance: its milestones come early if the weights have moved far enough.

Hoffer et al. 2017 (arXiv:1705.08741) advise to time the drops of the learning rate by the weight distance. Here a
milestone comes when the distance reaches its own, at the latest at its planned update; all that follows it, the end
included, then comes as many updates earlier. So no stage is longer than planned. What has come when is part of a run's
state: the updates of its milestones, as far as they are known.
"""

from lbadvisor.recipe.recipe import Recipe

Milestones = tuple[int, ...]
"""The update of each milestone: that at which it came, or at which it comes at the latest."""


def planned_milestones(recipe: Recipe) -> Milestones:
    """Those of a recipe in updates before any has come early."""
    return tuple(milestone.update or 0 for milestone in recipe.schedule.milestones)


def last_update(recipe: Recipe, milestones: Milestones) -> int:
    """The update at which a training of the recipe (in updates) ends: as many after the last milestone as planned."""
    if recipe.schedule.updates is None:
        raise ValueError("the recipe is not in updates: pass in_updates(recipe)")
    early = planned_milestones(recipe)[-1] - milestones[-1] if milestones else 0
    return recipe.schedule.updates - early


def with_milestones(recipe: Recipe, milestones: Milestones) -> Recipe:
    """The recipe, in updates, with its milestones and its end where they are."""
    if milestones == planned_milestones(recipe):
        return recipe
    pairs = zip(recipe.schedule.milestones, milestones, strict=True)
    moved = {
        "updates": last_update(recipe, milestones),
        "milestones": tuple(milestone.model_copy(update={"update": update}) for milestone, update in pairs),
    }
    return recipe.model_copy(update={"schedule": recipe.schedule.model_copy(update=moved)})


def without_distances(recipe: Recipe) -> Recipe:
    """The recipe with every milestone at its planned update."""
    milestones = tuple(m.model_copy(update={"distance": None}) for m in recipe.schedule.milestones)
    return recipe.model_copy(update={"schedule": recipe.schedule.model_copy(update={"milestones": milestones})})


def checked_milestone(recipe: Recipe, update: int) -> tuple[int, float] | None:
    """The place of the milestone to be checked after `update` updates, and its distance; None if none is due.

    The recipe has its milestones where they are.
    """
    schedule = recipe.schedule
    if not schedule.is_by_distance or update % schedule.distance_every_updates:
        return None
    place = next((i for i, at in enumerate(planned_milestones(recipe)) if at > update), None)
    distance = None if place is None else schedule.milestones[place].distance
    return None if place is None or distance is None else (place, distance)


def has_more(recipe: Recipe, milestones: Milestones, update: int) -> bool:
    """Whether after `update` updates another milestone may come early."""
    pairs = zip(recipe.schedule.milestones, milestones, strict=True)
    return any(at > update and milestone.distance is not None for milestone, at in pairs)


def moved_to(milestones: Milestones, place: int, update: int) -> Milestones:
    """The milestones once the one at `place` has come after `update` updates."""
    early = milestones[place] - update
    return (*milestones[:place], *(at - early for at in milestones[place:]))


def is_possible(recipe: Recipe, milestones: Milestones, update: int) -> bool:
    """Whether a training of the recipe, in updates, can have its milestones there after `update` updates."""
    planned, schedule = planned_milestones(recipe), recipe.schedule
    if len(milestones) != len(planned):
        return False
    now = planned
    for place, at in enumerate(milestones):
        if at != now[place]:
            # Each came at a check, after the milestone before it; none is to come at another update than planned.
            earliest = milestones[place - 1] if place else 0
            if schedule.milestones[place].distance is None or at % schedule.distance_every_updates:
                return False
            if not earliest < at <= min(update, now[place]):
                return False
            now = moved_to(now, place, at)
    return True
