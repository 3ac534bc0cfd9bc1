"""The arms of a ladder: the columns of the paper's table, and other named ones. Each is a request to the advisor.

SB, LB, +LR, +GBN and +RA are those of Table 1 of Hoffer et al. 2017 (arXiv:1705.08741), each built on the one before.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from lbadvisor.errors import PlanError
from lbadvisor.planning import rules
from lbadvisor.planning.request import Request
from lbadvisor.recipe.parts import PARTS
from lbadvisor.recipe.suggestion import did_you_mean


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train the target batch, or the baseline itself, whose `request` is None.

    `label` is its name in the paper's table, or this project's; `upon` is the arm it builds on, None for the baseline;
    `what` says in a sentence what it changes there. `request` turns a request into the arm's, keeping its target and
    rules. `follows` names the arm whose run with seed 0 tells the distances that the request needs.
    """

    name: str
    label: str
    upon: str | None
    what: str
    request: Callable[[Request], Request] | None
    follows: str | None = None

    def __reduce__(self) -> tuple[Callable[[str], "Arm"], tuple[str]]:
        # Another process finds it by its name: functions without one cannot be sent.
        return arm_of, (self.name,)


DROPOUT = 0.5
"""For hidden units "close to optimal for a wide range of networks" (Srivastava et al. 2014)."""
LABEL_NOISE = 0.1
"""One of DisturbLabel's two best noise rates, 10% and 20% (Xie et al. 2016, arXiv:1605.00055)."""
DROP_CONNECT = 0.5
"""The rate of Wan et al. 2013. Hoffer et al. give none of the three."""

MOST_SEEDS = 1000
"""Per arm: more would take too long to plan."""

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
        "distance", "distance", "gbn",
        "the regime's drops, each as soon as the weight distance is that of the baseline's (of the SB run with seed 0)",
        lambda asked: replace(asked, parts=PARTS), follows="sb",
    ),
    Arm(
        "ra-half", "half RA", "gbn", "half the regime's stretch: half the baseline's updates",
        lambda asked: replace(asked, parts=PARTS, stretch_share=0.5),
    ),
    # Goyal et al. keep the number of examples that share statistics (32, one worker's) for any number of workers: with
    # a single worker that is the whole baseline batch, hence the ghost batch.
    Arm(
        "linear", "linear", "lb",
        f"the linear rule with a warm-up, statistics over the baseline's batch size ({rules.GOYAL})",
        lambda asked: replace(
            asked, parts=("lr", "ghost"), lr_rule=rules.LINEAR, warmup_epochs=rules.GOYAL_WARMUP_EPOCHS
        ),
    ),
    # Replaces the learning rate's rule and keeps the rest of +GBN: the paper clips with either.
    Arm(
        "noise", "noise", "gbn", "multiplicative noise instead of the learning rate's rule",
        lambda asked: replace(asked, parts=("ghost", "clip"), noise="gaussian"),
    ),
    Arm(
        "dropout", "dropout", "lb", f"dropout of {DROPOUT:g} in the classifier: a negative control of the paper",
        lambda asked: replace(asked, parts=(), dropout=DROPOUT),
    ),
    Arm(
        "label-noise", "label noise", "lb", f"{LABEL_NOISE:.0%} of the labels at random: a negative control of the "
        "paper's", lambda asked: replace(asked, parts=(), label_noise=LABEL_NOISE),
    ),
    Arm(
        "dropconnect", "DropConnect", "lb",
        f"DropConnect of {DROP_CONNECT:g} in the classifier: a negative control of the paper",
        lambda asked: replace(asked, parts=(), drop_connect=DROP_CONNECT),
    ),
)  # fmt: skip
ARMS = {arm.name: arm for arm in _ARMS}
PAPER_ARMS = ("sb", "lb", "lr", "gbn", "ra")


def arm_of(name: str) -> Arm:
    """The arm called `name`, typed (`ra`) or as in tables (`+RA`). Raises `PlanError` with a suggestion."""
    found = find_arm(name)
    if found is None:
        raise PlanError(f"no arm `{name}`: {did_you_mean(name, ARMS)}")
    return found


def find_arm(name: str) -> Arm | None:
    """The same; None if there is no such arm."""
    share = _share_in(name)
    return regime_arm(share) if share else _BY_WORD.get(name.lower())


_BY_WORD = {word: arm for arm in _ARMS for word in (arm.name, arm.label.lower())}


def _share_in(name: str) -> float | None:
    """0.25 in `ra-0.25`."""
    share = re.fullmatch(r"ra-(0\.\d{1,15}|1)", name.lower())
    return float(share[1]) if share else None


@lru_cache(maxsize=64)
def regime_arm(share: float) -> Arm:
    """The arm that keeps this share, above 0 and at most 1, of the baseline's updates: ra, ra-half, or ra-0.25."""
    if share in _NAMED_SHARES:
        return ARMS[_NAMED_SHARES[share]]
    name = f"ra-{share:.15f}".rstrip("0")
    part = Fraction(share).limit_denominator(1000)
    return Arm(
        name, f"{part} RA", "gbn", f"{part} of the regime's stretch: {part} of the baseline's updates",
        lambda asked: replace(asked, parts=PARTS, stretch_share=share),
    )  # fmt: skip


_NAMED_SHARES = {1.0: "ra", 0.5: "ra-half"}


def place_of(name: str) -> tuple[int, float]:
    """Where the arm stands in a list of arms: shares of the regime follow its half, the larger first; others are last.

    `name` may be one that this program does not know.
    """
    order, share = list(ARMS), _share_in(name)
    if share:
        return order.index("ra-half"), 1 - share
    return (order.index(name), 0) if name in ARMS else (len(order), 0)


def parse_arms(text: str, seeds: int) -> tuple[tuple[Arm, int], ...]:
    """The arms that `text` names, each with its number of seeds: `lb,ra:1` is LB with `seeds` and RA with one.

    Raises `PlanError` for an unknown or repeated name, or an invalid number of seeds.
    """
    found: dict[str, tuple[Arm, int]] = {}
    for part in text.split(","):
        name, colon, number = (word.strip() for word in part.partition(":"))
        arm = arm_of(name)
        name = arm.name
        if name in found:
            raise PlanError(f"the arm {name} is given twice: name it once, and set its seeds with {name}:N")
        if colon and not (number.isascii() and number.isdigit() and len(number) < 5 and 0 < int(number) <= MOST_SEEDS):
            raise PlanError(
                f"arm `{part.strip()[:50]}`: give a number of seeds from 1 to {MOST_SEEDS} after the colon, such as "
                f"{name}:1"
            )
        found[name] = arm, int(number) if colon else seeds
    return tuple(found.values())


def foundation(arm: Arm, names: Sequence[str]) -> Arm | None:
    """The nearest arm among `names` that `arm` builds on; None if it builds on none of them."""
    upon = arm.upon
    while upon is not None:
        if upon in names:
            return ARMS[upon]
        upon = ARMS[upon].upon
    return None
