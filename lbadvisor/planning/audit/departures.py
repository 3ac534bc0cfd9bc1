"""Where a trainer departs from the plan, in sentences."""

import math

from lbadvisor.planning.adjustments import Value
from lbadvisor.planning.audit.foreign import Foreign
from lbadvisor.planning.numbers_plan import NumbersPlan
from lbadvisor.records.numerals import value_text


def updates_share(foreign: Foreign, tuned: int) -> float:
    """The trainer's updates as a multiple of the baseline's."""
    return 1.0 if foreign.length == "updates" else foreign.stretch * tuned / foreign.batch_size


def moved_settings(plan: NumbersPlan | None) -> list[tuple[str, Value, Value]]:
    """What the plan moves and no trainer does: the optimizer's betas, epsilon and weight decay."""
    lines = plan.adjustments if plan is not None else ()
    return [
        (line.field.removeprefix("optimizer."), line.before, line.after)
        for line in lines
        if line.field.startswith("optimizer.") and line.field != "optimizer.lr" and line.before != line.after
    ]


def departures_of(foreign: Foreign, tuned: int, plan: NumbersPlan, planned: float) -> tuple[str, ...]:
    """Sentences on where the trainer departs from `plan`, for a learning rate tuned at the batch size `tuned`.

    `planned` is the plan's factor for it.
    """
    name, does, says = foreign.trainer, f"{foreign.lr_factor:.3g}", f"{planned:.3g}"
    reference, how = foreign.reference, {0.5: "by the square root", 1.0: "linearly"}.get(foreign.rule.exponent or 0.0)
    sentences = []
    if math.isclose(foreign.lr_factor, planned, rel_tol=1e-6):
        pass
    elif how is None:
        sentences.append(f"{name} does not scale the learning rate; the square-root rule gives x{says}")
    elif reference and reference.value != tuned:
        taken = f"{reference.what} as its baseline ({reference.value:g}, not {tuned}) and scales {how}"
        sentences.append(f"{name} takes {taken}: x{does} instead of x{says}")
    else:
        sentences.append(f"{name} scales {how} here, by {does}; the square-root rule gives {says}")
    share = updates_share(foreign, tuned)
    if not math.isclose(share, 1.0, rel_tol=1e-6):
        sentences.append(
            f"{name} makes {_share_text(share)} the baseline's updates; the plan makes as many, in "
            f"{plan.batch_ratio:g} times the epochs"
        )
    if foreign.statistics and foreign.statistics.value != tuned:
        sentences.append(
            f"{name}'s batch norm, if there is any, spans {foreign.statistics.value:,g} examples; the plan's ghosts "
            f"have {tuned:,}, as in a baseline on one device"
        )
    clips = any(line.field == "clipping.max_norm" and line.before != line.after for line in plan.adjustments)
    if clips:
        sentences.append(f"{name} does not clip the gradient's global norm; the plan does, during the first updates")
    sentences += [
        f"{name} leaves {what} at {value_text(before)}; the plan has {value_text(then)}"
        for what, before, then in moved_settings(plan)
    ]
    return tuple(sentences)


def _share_text(share: float) -> str:
    return f"{share:.3g} times" if share >= 1 else f"1/{1 / share:.4g} of"
