"""What another trainer will really do with its batch size, next to the plan: line by line and in sentences."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from lbadvisor.errors import PlanError, UsageError
from lbadvisor.planning.adjustments import Value
from lbadvisor.planning.audit.big_batch_setting import big_batch_setting
from lbadvisor.planning.audit.departures import departures_of, moved_settings, updates_share
from lbadvisor.planning.audit.detectron2_setting import detectron2_setting
from lbadvisor.planning.audit.foreign import Foreign, ForeignOptimizer
from lbadvisor.planning.audit.mmengine_setting import mmengine_setting
from lbadvisor.planning.audit.setting_text import SettingText, setting_text
from lbadvisor.planning.audit.timm_setting import timm_setting
from lbadvisor.planning.audit.trainer_settings import ASSUMED
from lbadvisor.planning.audit.transformers_setting import transformers_setting
from lbadvisor.planning.baseline import SETTINGS, OptimizerSettings, baseline_of_numbers
from lbadvisor.planning.numbers_plan import NumbersPlan
from lbadvisor.planning.plan import advise_numbers
from lbadvisor.planning.request import Request
from lbadvisor.recipe.catalog import OPTIMIZERS
from lbadvisor.recipe.limits import MOST_COUNT
from lbadvisor.recipe.parts import PARTS
from lbadvisor.records.numerals import listed, value_text

_READERS: dict[str, tuple[Callable[[SettingText, int | None], Foreign], str]] = {
    "timm": (
        timm_setting,
        "train.py distributed_train.sh lr_base lr_base_size lr_base_scale grad_accum_steps opt sched",
    ),
    "transformers": (
        transformers_setting,
        "per_device_train_batch_size gradient_accumulation_steps num_train_epochs log_history",
    ),
    "mmengine": (mmengine_setting, "auto_scale_lr optim_wrapper train_dataloader dist_train.sh"),
    "detectron2": (detectron2_setting, "SOLVER train_net.py REFERENCE_WORLD_SIZE IMS_PER_BATCH"),
    "bigbatch": (
        big_batch_setting,
        "main_normal.py main_gbn.py lr_bb_fix no_lr_bb_fix regime_bb_fix no_regime_bb_fix mini_batch_size mb",
    ),
}
"""The formats that are read: the reader of each, and the names that give it away."""
FORMATS = tuple(_READERS)
_READ = (
    "timm's command line or args.yaml, Hugging Face TrainingArguments as JSON, an MMEngine or Detectron2 "
    "configuration, a bigBatch command line"
)


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One line: what it is, what the trainer does, what the plan says (None: nothing), and the trainer's source."""

    what: str
    trainer: Value
    plan: Value
    source: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What a trainer does with a batch of `batch_size`, and where it departs from the plan, in sentences.

    `baseline_batch_size` is None if it is not known; `plan_command` shows the plan, None if there is none.
    """

    trainer: str
    batch_size: int
    baseline_batch_size: int | None
    lr: float
    lr_factor: float
    planned_lr_factor: float | None
    plan_command: str | None
    lines: tuple[AuditLine, ...]
    departures: tuple[str, ...]
    notes: tuple[str, ...]


def audit_of(words: Sequence[str], form: str | None, devices: int | None, batch_size: int | None) -> Audit:
    """The audit of the setting that `words` are or name, in the format `form` or in the one that it shows.

    `batch_size` is the one at which its learning rate was tuned; None: the one that the trainer itself takes.
    Raises `UsageError` for a setting that cannot be read.
    """
    text = setting_text(words)
    foreign = _checked(_READERS[form or _format_of(text)][0](text, devices))
    tuned = batch_size or (foreign.reference and int(foreign.reference.value)) or None
    plan, why_not = _plan_of(foreign, tuned)
    planned = None if plan is None else plan.lr / foreign.lr.value
    return Audit(
        trainer=foreign.trainer,
        batch_size=foreign.batch_size,
        baseline_batch_size=tuned,
        lr=foreign.lr.value * foreign.lr_factor,
        lr_factor=foreign.lr_factor,
        planned_lr_factor=planned,
        plan_command=_command(foreign, tuned) if plan else None,
        lines=_lines(foreign, tuned, plan, planned),
        departures=departures_of(foreign, tuned, plan, planned) if tuned and plan and planned else (),
        notes=(*_missing(foreign, batch_size, why_not), *foreign.notes),
    )


def _format_of(text: SettingText) -> str:
    hits = {name: len(text.names & set(signs.split())) for name, (_, signs) in _READERS.items()}
    best = [name for name, count in hits.items() if count == max(hits.values()) > 0]
    if len(best) == 1:
        return best[0]
    what = f"it could be {listed(best)}" if best else "the setting is of no known format"
    raise UsageError(f"{what}: give --format {'|'.join(best or FORMATS)}; what is read: {_READ}")


def _checked(foreign: Foreign) -> Foreign:
    """The setting, if it trains. Raises `UsageError` otherwise."""
    if foreign.batch_size > MOST_COUNT:
        raise UsageError(f"{foreign.trainer}: an update of {foreign.batch_size:g} examples is too large for a plan")
    if not 0 < foreign.lr.value < math.inf:
        raise UsageError(
            f"{foreign.trainer}: a learning rate of {foreign.lr.value:g} ({foreign.lr.source}) trains nothing"
        )
    return foreign


def _plan_of(foreign: Foreign, tuned: int | None) -> tuple[NumbersPlan | None, str]:
    """The plan from the batch size at which the learning rate was tuned, or None and the reason."""
    optimizer = foreign.optimizer
    if tuned is None:
        return None, "give --from B, the batch size at which this learning rate was tuned, for what the plan says"
    if optimizer.name not in OPTIMIZERS:
        return None, f"the advisor has no rules for the optimizer {optimizer.name}, so there is no plan to compare with"
    if tuned > foreign.batch_size:
        return None, f"the batch is below the baseline's {tuned:,}: the plan goes from a small batch to a larger one"
    baseline = baseline_of_numbers(tuned, foreign.lr.value, optimizer=optimizer.name, **_settings(optimizer))
    clips = foreign.clipping.value if foreign.clipping else None
    baseline = replace(baseline, has_batch_norm=foreign.statistics is not None, clipping_norm=clips)
    try:
        return advise_numbers(baseline, Request(foreign.batch_size, PARTS)), ""
    except PlanError as error:
        return None, f"there is no plan: {error}"


def _settings(optimizer: ForeignOptimizer) -> OptimizerSettings:
    """Its known settings that an optimizer of that kind has."""
    facts, known = OPTIMIZERS[optimizer.name], optimizer.settings
    own = {name: known.get(name) for name in SETTINGS if getattr(facts, name) is not None}
    return cast("OptimizerSettings", {name: value for name, value in own.items() if value is not None})


def _command(foreign: Foreign, tuned: int | None) -> str:
    """The command line that shows the plan."""
    lead = f"lbadvisor plan --from {tuned} --to {foreign.batch_size} --lr {foreign.lr.value:g}"
    options = {"optimizer": foreign.optimizer.name} | {
        name.replace("weight_decay", "weight-decay-value"): f"{value:g}"
        for name, value in _settings(foreign.optimizer).items()
    }
    return " ".join([lead, *(f"--{name} {value}" for name, value in options.items())])


def _lines(
    foreign: Foreign, tuned: int | None, plan: NumbersPlan | None, planned: float | None
) -> tuple[AuditLine, ...]:
    after = {line.field: line.after for line in plan.adjustments} if plan is not None else {}
    reference, statistics, clipping = foreign.reference, foreign.statistics, foreign.clipping
    lines = [AuditLine(fact.what, _number(fact.value), None, fact.source) for fact in foreign.factors]
    lines += [
        AuditLine("batch size", foreign.batch_size, after.get("batch.size"), "their product"),
        AuditLine(
            "baseline batch size", None if reference is None else _number(reference.value), tuned,
            reference.source if reference else "not in the setting",
        ),
        AuditLine("learning rate as written", foreign.lr.value, None, foreign.lr.source),
        AuditLine("learning rate's factor", foreign.lr_factor, planned, foreign.rule_source),
        AuditLine(
            "learning rate", foreign.lr.value * foreign.lr_factor, after.get("optimizer.lr"), foreign.rule.formula
        ),
    ]  # fmt: skip
    if tuned is not None:
        share = updates_share(foreign, tuned)
        lines.append(
            AuditLine("updates, times the baseline's", share, after.get("schedule.updates"), foreign.length_source)
        )
    if statistics:
        ghost = after.get("batch_norm.ghost_batch_size")
        lines.append(AuditLine(statistics.what, _number(statistics.value), ghost, statistics.source))
    clips = f"every update, at {value_text(clipping.value)}" if clipping else None
    norm = after.get("clipping.max_norm")
    warm = None if norm is None else value_text(norm) if clipping else f"at first, at {value_text(norm)}"
    lines.append(
        AuditLine("clipping", clips, warm, clipping.source if clipping else "no threshold for the global norm")
    )
    moved = moved_settings(plan)
    return (*lines, *(AuditLine(what, before, then, "left as written") for what, before, then in moved))


def _missing(foreign: Foreign, asked: int | None, why_not: str) -> tuple[str, ...]:
    """Sentences on what the setting does not say."""
    said = [why_not] if why_not else []
    if any(fact.source == ASSUMED for fact in foreign.factors):
        said.append("the setting does not say how many devices train: this is for 1; give --devices N")
    if asked is None and foreign.reference is not None:
        said.append(
            f"the baseline is the trainer's own, {foreign.reference.value:g} ({foreign.reference.source}): give --from "
            "B if its learning rate was tuned at another batch size"
        )
    return tuple(said)


def _number(value: float) -> Value:
    return int(value) if value == int(value) else value
