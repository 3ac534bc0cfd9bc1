"""The Hugging Face Trainer: its `TrainingArguments`, as JSON or as a command line.

Source: transformers 5, training_args.py: the effective batch is per_device_train_batch_size * devices *
gradient_accumulation_steps, and nothing else depends on it.
"""

from typing import Any

from lbadvisor.errors import UsageError
from lbadvisor.planning import rules
from lbadvisor.planning.audit.foreign import Foreign, ForeignOptimizer, optimizer_name
from lbadvisor.planning.audit.setting_text import SettingText
from lbadvisor.planning.audit.trainer_settings import Settings, counted, devices_of, fact_of, settings_of
from lbadvisor.planning.baseline import OptimizerSettings

_DEFAULTS: dict[str, Any] = {
    "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "learning_rate": 5e-5,
    "optim": "adamw_torch_fused", "weight_decay": 0.0, "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8,
    "max_grad_norm": 1.0, "max_steps": -1, "auto_find_batch_size": False, "optim_args": "",
}  # fmt: skip
_OPTIM_ARGS = ("momentum", "alpha", "eps", "weight_decay")


def transformers_setting(text: SettingText, devices: int | None) -> Foreign:
    """What the Trainer will do. Raises `UsageError`."""
    if "log_history" in text.values:
        raise UsageError(
            "a trainer_state.json does not say how gradients are accumulated: give the arguments instead, as "
            "`TrainingArguments.to_json_string()` writes them"
        )
    found = settings_of(text, "Transformers", _DEFAULTS, {})
    in_updates = found.value("max_steps") > 0
    halves = (
        "auto_find_batch_size halves the batch when memory runs out, and leaves the learning rate as it is: the "
        "numbers here then no longer hold"
    )
    return Foreign(
        trainer="Transformers",
        factors=(
            counted(found.fact("examples per device", "per_device_train_batch_size")),
            devices_of(text, devices),
            counted(found.fact("passes accumulated", "gradient_accumulation_steps")),
        ),
        optimizer=_optimizer(found),
        lr=found.fact("learning rate", "learning_rate"),
        rule=rules.NO_RULE,
        rule_source="the Trainer has no rule",
        length="updates" if in_updates else "epochs",
        length_source="max_steps" if in_updates else "num_train_epochs",
        clipping=found.fact("clipping norm", "max_grad_norm") if found.value("max_grad_norm") else None,
        notes=(halves,) if found.value("auto_find_batch_size") else (),
    )


def _optimizer(found: Settings) -> ForeignOptimizer:
    """Adam's settings have arguments of their own; those of the others are in `optim_args`: momentum=0.9,alpha=0.99."""
    name, decay = optimizer_name(found.value("optim")), found.value("weight_decay")
    if name in ("adam", "adamw"):
        beta1, beta2, epsilon = (found.value(f"adam_{setting}") for setting in ("beta1", "beta2", "epsilon"))
        return ForeignOptimizer(name, {"beta1": beta1, "beta2": beta2, "epsilon": epsilon, "weight_decay": decay})
    words = [word.partition("=") for word in found.value("optim_args").replace(" ", "").split(",")]
    given = {key: fact_of(key, value, "optim_args").value for key, _, value in words if key in _OPTIM_ARGS}
    settings: OptimizerSettings = {"weight_decay": given.get("weight_decay", decay), "momentum": given.get("momentum")}
    return ForeignOptimizer(name, settings | {"beta2": given.get("alpha"), "epsilon": given.get("eps")})
