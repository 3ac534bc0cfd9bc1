"""MMEngine's configurations, in Python or YAML, and the command line of a `tools/train.py` that names one.

Source: mmengine 0.10.7, runner/runner.py, `Runner.scale_lr`: linear, only if enabled, from the batch of all devices
without gradient accumulation.
"""

from lbadvisor.errors import UsageError
from lbadvisor.planning import rules
from lbadvisor.planning.audit.foreign import Fact, Foreign, ForeignOptimizer, optimizer_name
from lbadvisor.planning.audit.setting_text import SettingText
from lbadvisor.planning.audit.trainer_settings import devices_of, fact_of

SIGNS = ("auto_scale_lr", "optim_wrapper", "train_dataloader", "dist_train.sh")


def mmengine_setting(text: SettingText, devices: int | None) -> Foreign:
    """What MMEngine will do. Raises `UsageError`."""

    def needed(what: str, path: str) -> Fact:
        if text.value(path) is None:
            raise UsageError(f"MMEngine: the configuration has no {path}, the {what}: give the whole configuration")
        return fact_of(what, text.value(path), path)

    def number(what: str, path: str) -> float | None:
        value = text.value(path)
        return None if value is None else fact_of(what, value, path).value

    factors = (
        needed("examples per device", "train_dataloader.batch_size"),
        devices_of(text, devices),
        fact_of(
            "passes accumulated",
            text.value("optim_wrapper.accumulative_counts", 1),
            "optim_wrapper.accumulative_counts",
        ),
    )
    scales = bool(text.value("auto_scale_lr.enable")) or "auto_scale_lr" in {
        w.strip("-").replace("-", "_") for w in text.words
    }
    has_base = scales or text.value("auto_scale_lr.base_batch_size") is not None
    reference = needed("auto_scale_lr.base_batch_size", "auto_scale_lr.base_batch_size") if has_base else None
    factor = factors[0].value * factors[1].value / reference.value if scales and reference else 1.0
    notes = []
    if scales and factors[2].value > 1:
        notes.append(
            "MMEngine's rule leaves gradient accumulation out of the batch size (open-mmlab/mmengine#894): it scales "
            f"for {factors[0].value * factors[1].value:,g} examples an update"
        )
    by_updates = text.value("train_cfg.max_iters") is not None
    model = repr(text.value("model"))
    synced = "SyncBN" in model
    span = factors[0].value * (factors[1].value if synced else 1)
    optimizer = "optim_wrapper.optimizer"
    betas = text.value(f"{optimizer}.betas")
    beta1, beta2 = betas if isinstance(betas, list | tuple) and len(betas) == 2 else (None, None)
    norm = number("clipping norm", "optim_wrapper.clip_grad.max_norm")
    return Foreign(
        trainer="MMEngine",
        factors=factors,
        optimizer=ForeignOptimizer(
            optimizer_name(str(text.value(f"{optimizer}.type", "SGD"))),
            number("momentum", f"{optimizer}.momentum"),
            None if beta1 is None else fact_of("beta1", beta1, f"{optimizer}.betas").value,
            None if beta2 is None else fact_of("beta2", beta2, f"{optimizer}.betas").value,
            number("epsilon", f"{optimizer}.eps"),
            number("weight decay", f"{optimizer}.weight_decay"),
        ),
        lr=needed("learning rate", f"{optimizer}.lr"),
        rule=rules.LINEAR if scales else rules.NO_RULE,
        rule_source="auto_scale_lr.enable" if scales else "auto_scale_lr is not enabled",
        length="updates" if by_updates else "epochs",
        length_source="train_cfg.max_iters" if by_updates else "train_cfg.max_epochs",
        lr_factor=factor,
        reference=reference,
        statistics=Fact("examples per batch-norm statistic", span, "SyncBN" if synced else "BN, of each device")
        if "BN'" in model
        else None,
        clipping=None if norm is None else Fact("clipping norm", norm, "optim_wrapper.clip_grad"),
        notes=tuple(notes),
    )  # fmt: skip
