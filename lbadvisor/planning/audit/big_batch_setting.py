"""The paper's released code: a command line of `main_normal.py` or `main_gbn.py`.

Source: eladhoffer/bigBatch, main_normal.py, main_gbn.py, utils.py and models/.
"""

import math
from typing import Any

from lbadvisor.errors import UsageError
from lbadvisor.planning import rules
from lbadvisor.planning.audit.foreign import Fact, Foreign, ForeignOptimizer
from lbadvisor.planning.audit.setting_text import SettingText
from lbadvisor.planning.audit.trainer_settings import counted, settings_of

_HARD_CODED = 256
_MODELS = {
    "alexnet": (0.01, 0.9, 5e-4), "resnet": (0.1, 0.9, 1e-4), "mnist_f1": (0.1, 0.9, 1e-4),
    "cifar10_shallow": (0.001, 0.0, 5e-4), "cifar100_shallow": (0.001, 0.0, 5e-4),
}  # fmt: skip
"""Learning rate, momentum and weight decay that each model's own regime starts with."""
_RESTARTS = "bigBatch builds a new optimizer at every epoch, so the momentum starts from 0 once per epoch"
_CLIPPING_NORM = 5.0


def big_batch_setting(text: SettingText, devices: int | None) -> Foreign:
    """What bigBatch will do. Raises `UsageError`."""
    if devices is not None:
        raise UsageError("--devices has no effect: bigBatch's -b is the batch of all its --gpus")
    ghosts = "main_normal.py" not in text.names
    defaults: dict[str, Any] = {
        "batch_size": 2048 if ghosts else 256, "mini_batch_size": 128, "lr_bb_fix": True, "regime_bb_fix": False,
        "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "model": "resnet", "gpus": "0",
    }  # fmt: skip
    aliases = {
        "batch_size": ("-b", "--b"), "mini_batch_size": ("-mb",), "lr": ("--learning_rate",), "model": ("-a",),
        "weight_decay": ("--wd",),
    }  # fmt: skip
    found = settings_of(text, "bigBatch", defaults, aliases)
    batch = counted(found.fact("examples on all devices", "batch_size"))
    if ghosts:
        reference = counted(found.fact("the ghost size", "mini_batch_size"))
        if reference.value > batch.value:
            raise UsageError(f"bigBatch cannot cut a batch of {batch.value:g} into ghosts of {reference.value:g}")
        span = math.ceil(batch.value / (batch.value // reference.value))
    else:
        reference = Fact("a hard-coded number", _HARD_CODED, "main_normal.py; its help says 128")
        span = int(batch.value)
    gpus, model = len(found.value("gpus").split(",")), found.value("model")
    lr, momentum, decay = _MODELS.get(model, (found.value("lr"), found.value("momentum"), found.value("weight_decay")))
    notes = [_RESTARTS] if momentum else []
    if not {"main_gbn.py", "main_normal.py"} & text.names:
        notes.append("the setting does not name the program: this is main_gbn.py; main_normal.py scales from 256")
    own = {"lr", "momentum", "weight_decay"} & set(found.given)
    if model in _MODELS and own:
        notes.append(f"bigBatch ignores {', '.join(sorted(own))}: the model {model} has a regime of its own")
    scales, stretches = found.value("lr_bb_fix"), found.value("regime_bb_fix")
    times = math.ceil(batch.value / reference.value)
    return Foreign(
        trainer="bigBatch",
        factors=(batch,),
        optimizer=ForeignOptimizer("sgd", {"momentum": momentum, "weight_decay": decay}),
        lr=Fact("learning rate", lr, f"the regime of {model}" if model in _MODELS else "--lr"),
        rule=rules.SQRT if scales else rules.NO_RULE,
        rule_source=f"lr_bb_fix{'' if 'lr_bb_fix' in found.given else ', on by default'}: {'on' if scales else 'off'}",
        length="epochs",
        length_source=f"regime_bb_fix: epochs x {times}" if stretches else "--epochs",
        lr_factor=math.sqrt(batch.value / reference.value) if scales else 1.0,
        reference=reference,
        stretch=times if stretches else 1.0,
        statistics=Fact(
            "examples per batch-norm statistic", math.ceil(span / gpus),
            "mini_batch_size" if ghosts and gpus == 1 else f"a pass, on {gpus} GPU{'s' * (gpus > 1)}",
        ),
        clipping=Fact("clipping norm", _CLIPPING_NORM, "every update, hard-coded"),
        notes=tuple(notes),
    )  # fmt: skip
