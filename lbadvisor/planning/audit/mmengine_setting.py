"""MMEngine's configurations, in Python or YAML, and the command line of a `tools/train.py` that names one.

Source: mmengine 0.10.7, runner/runner.py, `Runner.scale_lr`: linear, only if enabled, from the batch of all devices
without gradient accumulation.
"""

from typing import cast

from lbadvisor.errors import UsageError
from lbadvisor.planning import rules
from lbadvisor.planning.audit.foreign import Fact, Foreign, ForeignOptimizer, optimizer_name
from lbadvisor.planning.audit.setting_text import SettingText
from lbadvisor.planning.audit.trainer_settings import counted, devices_of, fact_of
from lbadvisor.planning.baseline import OptimizerSettings

_OPTIMIZER = "optim_wrapper.optimizer"


def mmengine_setting(text: SettingText, devices: int | None) -> Foreign:
    """What MMEngine will do; a learning rate that is not given counts as 1. Raises `UsageError`."""
    per_device = _count(text, "examples per device", "train_dataloader.batch_size")
    if per_device is None:
        raise UsageError(
            "MMEngine: the configuration has no train_dataloader.batch_size, the examples per device: give the whole "
            "configuration, or a command line with --cfg-options train_dataloader.batch_size=N"
        )
    count = devices_of(text, devices)
    once = Fact("passes accumulated", 1, "MMEngine's default")
    accumulated = _count(text, "passes accumulated", "optim_wrapper.accumulative_counts") or once
    scales = bool(text.value("auto_scale_lr.enable")) or bool({"--auto-scale-lr", "--auto_scale_lr"} & {*text.words})
    reference = _count(text, "auto_scale_lr.base_batch_size", "auto_scale_lr.base_batch_size")
    if scales and reference is None:
        raise UsageError("MMEngine: auto_scale_lr has no base_batch_size, without which MMEngine stops")
    scaled_for = per_device.value * count.value
    left_out = (
        "MMEngine's rule leaves gradient accumulation out of the batch size (open-mmlab/mmengine#894): it scales for "
        f"{scaled_for:,g} examples per update"
    )
    by_updates = text.value("train_cfg.max_iters") is not None
    norms = repr(text.value("model"))
    synced = "SyncBN" in norms
    span = scaled_for if synced else per_device.value
    source = "SyncBN: over all devices" if synced else "BN, of each device"
    return Foreign(
        trainer="MMEngine",
        factors=(per_device, count, accumulated),
        optimizer=_optimizer(text),
        lr=_number(text, "learning rate", f"{_OPTIMIZER}.lr") or Fact("learning rate", 1.0, "not in the setting"),
        rule=rules.LINEAR if scales else rules.NO_RULE,
        rule_source=f"auto_scale_lr is {'enabled' if scales else 'not enabled'}",
        length="updates" if by_updates else "epochs",
        length_source="train_cfg.max_iters" if by_updates else "train_cfg.max_epochs",
        lr_factor=scaled_for / reference.value if scales and reference else 1.0,
        reference=reference,
        statistics=Fact("examples per batch-norm statistic", span, source) if "BN'" in norms else None,
        clipping=_number(text, "clipping norm", "optim_wrapper.clip_grad.max_norm"),
        notes=(left_out,) if scales and accumulated.value > 1 else (),
    )


def _number(text: SettingText, what: str, path: str) -> Fact | None:
    value = text.value(path)
    return None if value is None else fact_of(what, value, path)


def _count(text: SettingText, what: str, path: str) -> Fact | None:
    found = _number(text, what, path)
    return found and counted(found)


def _optimizer(text: SettingText) -> ForeignOptimizer:
    betas = text.value(f"{_OPTIMIZER}.betas")
    pair = betas if isinstance(betas, list | tuple) and len(betas) == 2 else ()
    facts = {
        name: fact_of("beta", beta, f"{_OPTIMIZER}.betas") for name, beta in zip(("beta1", "beta2"), pair, strict=False)
    }
    for name, key in (("momentum", "momentum"), ("epsilon", "eps"), ("weight_decay", "weight_decay")):
        if found := _number(text, name.replace("_", " "), f"{_OPTIMIZER}.{key}"):
            facts[name] = found
    name = optimizer_name(str(text.value(f"{_OPTIMIZER}.type", "SGD")))
    if name == "rmsprop" and (alpha := _number(text, "alpha", f"{_OPTIMIZER}.alpha")):
        facts["beta2"] = alpha
    return ForeignOptimizer(name, cast("OptimizerSettings", {name: fact.value for name, fact in facts.items()}))
