"""timm's `train.py`: its command line and the args.yaml that it writes.

Source: huggingface/pytorch-image-models, train.py: `main` computes the learning rate only without --lr, from the global
batch, and takes the square root for optimizers whose name contains `ada` or `lamb`.
"""

from typing import Any

from lbadvisor.planning import rules
from lbadvisor.planning.audit.foreign import Fact, Foreign, ForeignOptimizer, optimizer_name
from lbadvisor.planning.audit.setting_text import SettingText
from lbadvisor.planning.audit.trainer_settings import Settings, counted, devices_of, fact_of, settings_of
from lbadvisor.planning.baseline import OptimizerSettings

_DEFAULTS: dict[str, Any] = {
    "batch_size": 128, "grad_accum_steps": 1, "lr": None, "lr_base": 0.1, "lr_base_size": 256, "lr_base_scale": "",
    "opt": "sgd", "momentum": 0.9, "weight_decay": 2e-5, "opt_eps": None, "opt_betas": (), "clip_grad": None,
    "clip_mode": "norm", "sync_bn": False, "warmup_epochs": 5, "model_ema": False, "model_ema_decay": 0.9998,
}  # fmt: skip
_ALPHA, _ADAGRAD_EPSILON = 0.9, 1e-8
"""Of RMSprop and Adagrad: timm's own defaults (timm/optim/_optim_factory.py), which are not torch's."""


def timm_setting(text: SettingText, devices: int | None) -> Foreign:
    """What timm will do. Raises `UsageError`."""
    found = settings_of(text, "timm", _DEFAULTS, {"batch_size": ("-b",)})
    factors = (
        counted(found.fact("examples per device", "batch_size")),
        devices_of(text, devices),
        counted(found.fact("passes accumulated", "grad_accum_steps")),
    )
    batch_size = factors[0].value * factors[1].value * factors[2].value
    rule, source, reference, factor = rules.NO_RULE, "--lr is used as it is", None, 1.0
    if not found.value("lr"):
        reference = counted(found.fact("--lr-base-size", "lr_base_size"))
        asked, name = found.value("lr_base_scale"), found.value("opt").lower()
        by_root = asked == "sqrt" if asked else any(word in name for word in ("ada", "lamb"))
        rule = rules.SQRT if by_root else rules.LINEAR
        source = "lr_base_scale" if asked else f"timm's default for {name}"
        factor = (batch_size / reference.value) ** (0.5 if by_root else 1.0)
    span = factors[0].value * (factors[1].value if found.value("sync_bn") else 1)
    synced = "sync_bn: over all devices" if found.value("sync_bn") else "of each device, if the network has batch norm"
    clips = found.value("clip_grad") is not None and found.value("clip_mode") == "norm"
    notes = [
        f"timm's warm-up is in epochs ({found.value('warmup_epochs')}): a larger batch makes it shorter in updates"
    ]
    if found.value("model_ema"):
        decay = found.value("model_ema_decay")
        notes.append(f"timm keeps the weight average's decay, {decay:g}, which acts once per update")
    return Foreign(
        trainer="timm",
        factors=factors,
        optimizer=_optimizer(text, found),
        lr=found.fact("learning rate", "lr" if reference is None else "lr_base"),
        rule=rule,
        rule_source=source,
        length="epochs",
        length_source="--epochs",
        lr_factor=factor,
        reference=reference,
        statistics=Fact("examples per batch-norm statistic", span, synced),
        clipping=found.fact("clipping norm", "clip_grad") if clips else None,
        notes=tuple(notes),
    )  # fmt: skip


def _optimizer(text: SettingText, found: Settings) -> ForeignOptimizer:
    name, epsilon = optimizer_name(found.value("opt")), found.value("opt_eps")
    betas: tuple[float, ...] = found.value("opt_betas") or ()
    beta1, beta2, *_ = (*betas, None, None)
    if name == "rmsprop":
        given = [word.removeprefix("alpha=") for word in text.words if word.startswith("alpha=")]
        alpha = given[-1] if given else text.value("opt_kwargs.alpha", _ALPHA)
        beta2 = fact_of("alpha", alpha, "opt_kwargs").value
    if name == "adagrad" and epsilon is None:
        epsilon = _ADAGRAD_EPSILON
    settings: OptimizerSettings = {"momentum": found.value("momentum"), "beta1": beta1, "beta2": beta2}
    return ForeignOptimizer(name, settings | {"epsilon": epsilon, "weight_decay": found.value("weight_decay")})
