"""Explanations by topic: texts of half a page, with formulas, sources and validity as the plan's own rules state them.

A text names a line of a sample plan and one of its fields, such as `{sgd[optimizer.lr].formula}`.
"""

import re
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from lbadvisor.errors import UsageError
from lbadvisor.planning import rules
from lbadvisor.planning.adjustments import Adjustment
from lbadvisor.planning.baseline import Baseline
from lbadvisor.planning.plan import advise_numbers
from lbadvisor.planning.request import Request
from lbadvisor.recipe.parts import PARTS
from lbadvisor.recipe.suggestion import did_you_mean
from lbadvisor.running_statistics import DEFINITIONS

WIDTH = 100
"""Characters in a line of an explanation."""
_TEXTS = Path(__file__).parent / "topics"

TOPICS = {
    "batch": "the four batch sizes",
    "updates": "the clock",
    "lr": "the learning rate",
    "exponent": "the a of lr * r^a",
    "warm-up": "raising the learning rate gradually",
    "regime": "as many updates, not as many epochs",
    "stretch": "how much longer to train",
    "ghost": "batch norm over slices of the batch",
    "running-statistics": "what batch norm uses in evaluation",
    "clip": "the clipping warm-up",
    "noise": "the gradient noise scale",
    "multiplicative-noise": "the paper's other way",
    "regularization": "the paper's negative controls",
    "betas": "the moving averages of Adam and RMSprop",
    "weight-decay": "its horizon",
    "momentum": "kept, and what that means",
    "weight-average": "the moving average of the weights",
    "gap": "the generalization gap",
    "distance": "how far the weights travel",
    "open-questions": "two things called not understood",
}
"""The topics and what each is about, in reading order."""

_OF_FIELDS = {
    "batch.size": "batch",
    "optimizer.lr": "lr",
    "optimizer.weight_decay": "weight-decay",
    "schedule.milestones.weight_decay": "weight-decay",
    "weight_decay": "weight-decay",
    "optimizer": "betas",
    "schedule.milestones.distance": "distance",
    "schedule.distance": "distance",
    "schedule.warmup": "warm-up",
    "schedule": "regime",
    "batch_norm": "ghost",
    "running_statistics": "running-statistics",
    "clipping": "clip",
    "gradient_noise": "multiplicative-noise",
    "regularization": "regularization",
    "momentum": "momentum",
    "weight_ema": "weight-average",
    "measurements": "updates",
    "checkpoints": "updates",
}


def topic_of(line: Adjustment) -> str:
    """The topic that explains a line of a plan: that of the longest beginning of its field."""
    return _OF_FIELDS[max((start for start in _OF_FIELDS if line.field.startswith(start)), key=len)]


def explanation(topic: str) -> str:
    """The text on a topic, as Markdown. Raises `UsageError` for an unknown one."""
    if topic not in TOPICS:
        raise UsageError(f"no topic `{topic}`: {did_you_mean(topic, TOPICS)}")
    text = (_TEXTS / f"{topic}.md").read_text(encoding="utf-8")
    definitions = "\n".join(f"- `{name}`: {one.formula}. {one.source}." for name, one in DEFINITIONS.items())
    filled = text.format(definitions=definitions, **_sample_plans())
    return "\n\n".join([f"# {topic}: {TOPICS[topic]}", *map(_in_lines, filled.strip().split("\n\n"))]) + "\n"


def _in_lines(paragraph: str) -> str:
    """The paragraph, or each item of a list, in lines of at most `WIDTH` characters."""
    items = [" ".join(item.split()) for item in re.split(r"\n(?=- )", paragraph)]
    return "\n".join(
        textwrap.fill(item, WIDTH, subsequent_indent="  " * item.startswith("- "), break_on_hyphens=False)
        for item in items
    )


@cache
def _sample_plans() -> Mapping[str, Mapping[str, Adjustment]]:
    """The lines of a few plans from 128 to 4,096 of 50,000 examples, by plan and by field."""
    sgd = Baseline(
        128, "sgd", lr=0.1, examples=50_000, epochs=200.0, updates=78_125.0, milestones=(31_640.625,),
        milestone_distances=(9.0,), momentum=0.9, weight_decay=1e-4, ema_decay=0.999, measure_every=391.0,
        evaluate_every=391.0, checkpoint_seconds=300.0,
    )  # fmt: skip
    adamw = Baseline(128, "adamw", lr=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01)
    whole = Request(4096, PARTS)
    added = replace(whole, lr_rule=rules.LINEAR, warmup_epochs=5.0, noise="gaussian", dropout=0.5)
    asked = {
        "sgd": (sgd, whole),
        "linear": (sgd, replace(whole, lr_rule=rules.LINEAR)),
        "finite": (sgd, replace(whole, lr_rule=rules.FINITE_POPULATION)),
        "fixed": (sgd, replace(whole, parts=("lr",))),
        "extra": (sgd, replace(added, label_noise=0.1, drop_connect=0.5)),
        "adamw": (adamw, whole),
        "adam_small": (adamw, replace(whole, target_batch_size=512)),
    }
    return {
        name: {line.field: line for line in advise_numbers(baseline, request).adjustments}
        for name, (baseline, request) in asked.items()
    }
