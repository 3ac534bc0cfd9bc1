"""The arms of a ladder: the columns of the paper's table, and others by name. Each is a request to the advisor.

SB, LB, +LR, +GBN and +RA are those of Table 1 of Hoffer et al. 2017 (arXiv:1705.08741), each on top of the one before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lbadvisor.errors import PlanError
from lbadvisor.plan import rules
from lbadvisor.plan.adjustments import Adjustment
from lbadvisor.plan.plan import Plan, advise
from lbadvisor.plan.request import Request
from lbadvisor.recipe.catalog import network_facts
from lbadvisor.recipe.parts import PARTS
from lbadvisor.recipe.suggestion import did_you_mean

if TYPE_CHECKING:
    from lbadvisor.recipe.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train the target batch, or the baseline itself, whose `request` is None.

    `label` is its name in the paper's table, or this project's; `upon` is the arm whose changes it goes on from, None
    for the baseline; `what` says in a sentence what it changes there. `request` makes of a request, whose target and
    rules it keeps, the arm's.
    """

    name: str
    label: str
    upon: str | None
    what: str
    request: Callable[[Request], Request] | None


DROPOUT = 0.5
"""Of hidden units, "close to optimal for a wide range of networks" (Srivastava et al. 2014)."""
LABEL_NOISE = 0.1
"""One of the two noise rates that DisturbLabel reports to do best, 10% and 20% (Xie et al. 2016, arXiv:1605.00055)."""
DROP_CONNECT = 0.5
"""The rate of Wan et al. 2013. The paper names none of the three."""

MOST_SEEDS = 1000
"""Of one arm: more would take longer to plan than anyone waits."""

_ARMS = (
    Arm("sb", "SB", None, "the baseline as it is", None),
    Arm("lb", "LB", "sb", "the target batch size, nothing else adapted", lambda asked: replace(asked, parts=())),
    Arm(
        "lr", "+LR", "lb", "the square-root rule, with a clipping warm-up under SGD",
        lambda asked: replace(asked, parts=("lr", "clip")),
    ),
    Arm(
        "gbn", "+GBN", "lr", "ghost batches of the baseline's size",
        lambda asked: replace(asked, parts=("lr", "ghost", "clip")),
    ),
    Arm(
        "ra", "+RA", "gbn", "the regime: as many updates as the baseline",
        lambda asked: replace(asked, parts=PARTS),
    ),
    Arm(
        "ra-half", "half RA", "gbn", "half the regime's stretch: half the baseline's updates",
        lambda asked: replace(asked, parts=PARTS, stretch_share=0.5),
    ),
    # Goyal et al. keep the examples that share statistics (32, one worker's) whatever the number of workers: for a
    # baseline of one worker that is its whole batch, and so the ghost batch.
    Arm(
        "linear", "linear", "lb",
        f"the linear rule with a warm-up, statistics over the baseline's batch size ({rules.GOYAL})",
        lambda asked: replace(
            asked, parts=("lr", "ghost"), lr_rule=rules.LINEAR, warmup_epochs=rules.GOYAL_WARMUP_EPOCHS
        ),
    ),
    # In the place of the learning rate's rule, with all else that +GBN has: the paper clips with either.
    Arm(
        "noise", "noise", "gbn", "multiplicative noise in the place of the learning rate's rule",
        lambda asked: replace(asked, parts=("ghost", "clip"), noise="gaussian"),
    ),
    Arm(
        "dropout", "dropout", "lb", f"dropout of {DROPOUT:g} in the classifier: a negative control of the paper's",
        lambda asked: replace(asked, parts=(), dropout=DROPOUT),
    ),
    Arm(
        "label-noise", "label noise", "lb", f"{LABEL_NOISE:.0%} of the labels at random: a negative control of the "
        "paper's", lambda asked: replace(asked, parts=(), label_noise=LABEL_NOISE),
    ),
    Arm(
        "dropconnect", "DropConnect", "lb",
        f"DropConnect of {DROP_CONNECT:g} in the classifier: a negative control of the paper's",
        lambda asked: replace(asked, parts=(), drop_connect=DROP_CONNECT),
    ),
)  # fmt: skip
ARMS = {arm.name: arm for arm in _ARMS}
PAPER_ARMS = ("sb", "lb", "lr", "gbn", "ra")


def arm_of(name: str) -> Arm:
    """The arm called `name`, as it is typed or as tables write it: `ra`, `+RA`. Raises `PlanError`, with a near one."""
    for arm in _ARMS:
        if name.lower() in (arm.name, arm.label.lower()):
            return arm
    raise PlanError(f"no arm `{name}`: {did_you_mean(name, ARMS)}")


@dataclass(frozen=True, slots=True)
class PlannedArm:
    """An arm for one baseline and target: its plan (None for the baseline's own), what it trains, and with which seeds.

    `recipe` speaks of updates only; the seeds are 0, 1, ..., `seeds` - 1.
    """

    arm: Arm
    plan: Plan | None
    recipe: "Recipe"
    seeds: int

    @property
    def updates(self) -> int:
        """Updates of one run."""
        updates = self.recipe.schedule.updates
        if updates is None:
            raise ValueError("the recipe is not in updates")
        return updates

    @property
    def examples(self) -> int:
        """Examples that one run sees, each as often as it is seen."""
        return self.updates * self.recipe.batch.size


def parse_arms(text: str, seeds: int) -> tuple[tuple[Arm, int], ...]:
    """The arms that `text` names, each with its number of seeds: `lb,ra:1` are LB with `seeds` and RA with one.

    Raises `PlanError` for a name that is none, comes twice, or has a number of seeds that is none.
    """
    found: dict[str, tuple[Arm, int]] = {}
    for part in text.split(","):
        name, colon, number = (word.strip() for word in part.partition(":"))
        arm = arm_of(name)
        name = arm.name
        if name in found:
            raise PlanError(f"the arm {name} is given twice: once is enough, its seeds are {name}:N")
        if colon and not (number.isascii() and number.isdigit() and len(number) < 5 and 0 < int(number) <= MOST_SEEDS):
            raise PlanError(
                f"arm `{part.strip()[:50]}`: the number of seeds after the colon is from 1 to {MOST_SEEDS}, such as "
                f"{name}:1"
            )
        found[name] = arm, int(number) if colon else seeds
    return tuple(found.values())


def planned(arm: Arm, baseline: "Recipe", asked: Request, seeds: int = 1) -> PlannedArm:
    """The arm for the target and by the rules of `asked`. Raises what `advise` raises, a `PlanError` naming the arm."""
    from lbadvisor.recipe.schedule import in_updates

    if arm.request is None:
        return PlannedArm(arm, None, in_updates(baseline), seeds)
    try:
        plan = advise(baseline, arm.request(asked))
    except PlanError as error:
        raise PlanError(f"the arm {arm.name}: {error}") from error
    return PlannedArm(arm, plan, plan.adapted, seeds)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An arm that would only train again what another one trains, and why, as a sentence goes on from its label."""

    arm: Arm
    why: str


def planned_arms(
    wanted: Sequence[tuple[Arm, int]], baseline: "Recipe", asked: Request
) -> tuple[tuple[PlannedArm, ...], tuple[LeftOut, ...]]:
    """The arms of a ladder, each with its seeds, and those that are left out. Raises what `planned` raises.

    An arm is left out if it changes nothing upon the one it goes on from: +GBN where there is no batch norm.
    """
    arms, left_out = [], []
    for arm, seeds in wanted:
        why = _why_idle(arm, baseline, asked)
        if why is None:
            arms.append(planned(arm, baseline, asked, seeds))
        else:
            left_out.append(LeftOut(arm, why))
    return tuple(arms), tuple(left_out)


def _why_idle(arm: Arm, baseline: "Recipe", asked: Request) -> str | None:
    if arm.upon is None:
        return None
    upon = ARMS[arm.upon]
    lines = changes(planned(arm, baseline, asked).plan, planned(upon, baseline, asked).plan)
    if any(line.kind == "recipe" for line in lines):
        return None
    facts = network_facts(baseline.model.name)
    reason = f": {baseline.model.name} has no batch norm" if facts is not None and not facts.batch_norm else ""
    return f"changes nothing upon {upon.label}{reason}"


def foundation(arm: Arm, names: Sequence[str]) -> Arm | None:
    """Of the arms called `names` the nearest that `arm` goes on from; None where it goes on from none of them."""
    upon = arm.upon
    while upon is not None:
        if upon in names:
            return ARMS[upon]
        upon = ARMS[upon].upon
    return None


def changes(plan: Plan | None, upon: Plan | None) -> tuple[Adjustment, ...]:
    """What `plan` changes next to the plan `upon` of the same baseline and target; None is the baseline itself.

    Its lines, each `before` being what the field is there: the adapted recipes differ in the lines of kind "recipe".
    """
    if plan is None:
        return ()
    there = {line.field: line.after for line in upon.adjustments} if upon is not None else {}
    lines = (replace(line, before=there.get(line.field, line.before)) for line in plan.adjustments)
    return tuple(line for line in lines if line.before != line.after)
