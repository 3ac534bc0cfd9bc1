"""A training for Lightning: a class to inherit from, the loader and the trainer's arguments."""

from collections.abc import Iterator

from lbadvisor.planning.export.exported import Exported, Row, exported
from lbadvisor.planning.export.planned_training import PlannedTraining
from lbadvisor.planning.export.python_code import (
    Argument,
    call,
    constants,
    function,
    ghost_rows,
    literal,
    optimizer_rows,
)
from lbadvisor.planning.export.unexpressed import unexpressed


def lightning_code(training: PlannedTraining) -> Exported:
    """The training as a Python module with the class `Planned` and the functions `loader` and `trainer`."""
    recipe = training.recipe
    precision = "bf16-mixed" if recipe.compute.precision == "bf16" else "32-true"
    arguments = (
        Argument("max_steps", "UPDATES", training.reason("schedule.updates")),
        literal("max_epochs", -1, "the updates above decide"),
        literal("accumulate_grad_batches", 1, "an update is one batch of each device"),
        literal("devices", training.devices, "they share the batch"),
        literal("precision", precision),
        literal("val_check_interval", recipe.measurements.evaluate_every_updates, training.evaluation_reason),
        literal("check_val_every_n_epoch", None, "the interval is in updates"),
    )
    rows = [
        *constants(training, ["import lightning", "import torch"]),
        *function("class Planned:", "Inherit from it first: class Mine(Planned, lightning.LightningModule)."),
        *_methods(training),
        *function("def loader(data):"),
        "    return torch.utils.data.DataLoader(data, BATCH_SIZE, shuffle=True, drop_last=True)",
        *function("def trainer(**more):"),
        *call("return lightning.Trainer(**dict(", arguments, "    ", ") | more)"),
    ]
    return exported(
        "lightning",
        "python",
        training,
        "Save it as planned.py, then: class Mine(planned.Planned, lightning.LightningModule), with your __init__ and "
        "training_step; planned.trainer().fit(Mine(), planned.loader(data)).",
        rows,
        unexpressed(training, "ghosts", "clipping warm-up", "bf16"),
    )


def _methods(training: PlannedTraining) -> Iterator[Row]:
    if training.recipe.batch_norm.ghost_batch_size is not None:
        yield from ("", "    def configure_model(self):", *ghost_rows(training, "self", " " * 8))
    yield from ("", "    def configure_optimizers(self):", *optimizer_rows(training, "self.parameters()", " " * 8))
    yield '        return [optimizer], [{"scheduler": schedule, "interval": "step"}]'
    if training.recipe.clipping is not None:
        yield from ("", "    def configure_gradient_clipping(self, optimizer, *_, **__):")
        yield "        if self.trainer.global_step < CLIPPED_UPDATES:"
        yield '            self.clip_gradients(optimizer, gradient_clip_val=MAX_NORM, gradient_clip_algorithm="norm")'
