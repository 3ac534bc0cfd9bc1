"""Detectron2's configurations: YAML, `cfg.SOLVER...` in Python, or the command line of a `train_net.py`.

Source: facebookresearch/detectron2, engine/defaults.py, `DefaultTrainer.auto_scale_workers`, and config/defaults.py.
"""

from lbadvisor.errors import UsageError
from lbadvisor.planning import rules
from lbadvisor.planning.audit.foreign import Fact, Foreign, ForeignOptimizer
from lbadvisor.planning.audit.setting_text import SettingText
from lbadvisor.planning.audit.trainer_settings import counted, devices_of, fact_of

_DEFAULTS = {
    "IMS_PER_BATCH": 16, "REFERENCE_WORLD_SIZE": 0, "BASE_LR": 0.001, "MOMENTUM": 0.9, "WEIGHT_DECAY": 1e-4,
}  # fmt: skip


def detectron2_setting(text: SettingText, devices: int | None) -> Foreign:
    """What Detectron2 will do. Raises `UsageError`."""

    def solver(what: str, key: str) -> Fact:
        given = text.value(f"SOLVER.{key}", text.value(key))
        source = f"SOLVER.{key}" + ("" if given is not None else ": Detectron2's default")
        return fact_of(what, _DEFAULTS[key] if given is None else given, source)

    images, world = counted(solver("SOLVER.IMS_PER_BATCH", "IMS_PER_BATCH")), solver("devices", "REFERENCE_WORLD_SIZE")
    count = devices_of(text, devices)
    scales = world.value not in (0, count.value)
    across = counted(world).value if scales else count.value
    if images.value % across:
        raise UsageError(
            f"Detectron2 refuses SOLVER.IMS_PER_BATCH {images.value:g}, which {across:g} devices cannot share evenly: "
            "give --devices N, or another SOLVER.REFERENCE_WORLD_SIZE"
        )
    momentum, decay = solver("momentum", "MOMENTUM"), solver("weight decay", "WEIGHT_DECAY")
    per_device = images.value / across
    norm = str(text.value("MODEL.RESNETS.NORM", "FrozenBN"))
    span = per_device * (count.value if norm == "SyncBN" else 1)
    per_tensor = "Detectron2 clips each parameter's gradient, not the global norm: the threshold cannot be compared"
    return Foreign(
        trainer="Detectron2",
        factors=(Fact("examples per device", per_device, f"{images.source} / {across:g}"), count),
        optimizer=ForeignOptimizer("sgd", {"momentum": momentum.value, "weight_decay": decay.value}),
        lr=solver("learning rate", "BASE_LR"),
        rule=rules.LINEAR if scales else rules.NO_RULE,
        rule_source=f"auto_scale_workers, {world.source} {world.value:g}",
        length="epochs" if scales else "updates",
        length_source="auto_scale_workers divides MAX_ITER and STEPS" if scales else "SOLVER.MAX_ITER",
        lr_factor=count.value / world.value if scales else 1.0,
        reference=images if scales else None,
        statistics=Fact("examples per batch-norm statistic", span, f"MODEL.RESNETS.NORM {norm}")
        if norm in ("BN", "SyncBN")
        else None,
        notes=(per_tensor,) if text.value("SOLVER.CLIP_GRADIENTS.ENABLED") else (),
    )
