"""A training as plain torch code: a function that trains any network on any data."""

from lbadvisor.planning.export.exported import Exported, Row, TextLine, exported
from lbadvisor.planning.export.planned_training import PlannedTraining
from lbadvisor.planning.export.python_code import constants, function, ghost_rows, optimizer_rows
from lbadvisor.planning.export.unexpressed import unexpressed


def torch_code(training: PlannedTraining) -> Exported:
    """The training as a Python module with a function `train(model, data)`; its learning rates are the recipe's."""
    decays = {m.update: m.weight_decay for m in training.recipe.schedule.milestones if m.weight_decay is not None}
    reason = "from these updates on: " + training.reason("schedule.milestones.weight_decay")
    loss = "mse_loss" if training.recipe.task.kind == "regression" else "cross_entropy"
    rows: list[Row] = [
        *constants(training, ["import torch"]),
        *(("", "", TextLine(f"WEIGHT_DECAYS = {decays}", reason)) if decays else ()),
        *function(f"def train(model, data, loss_of=torch.nn.functional.{loss}):"),
        '    """Train `model` on the device that it is on, on `data`, a dataset of (input, target)."""',
        *ghost_rows(training, "model"),
        *optimizer_rows(training, "model.parameters()"),
        "    loader = torch.utils.data.DataLoader(data, BATCH_SIZE, shuffle=True, drop_last=True)",
        "    device, update = next(model.parameters()).device, 0",
        "    model.train()",
        "    while True:",
        "        for inputs, targets in loader:",
        *(" " * 12 + row for row in _update(training, changes_decay=bool(decays))),
    ]
    several = ("several devices: use DistributedDataParallel, and a DistributedSampler in the loader",)
    return exported(
        "torch",
        "python",
        training,
        "Save it as planned.py, then: planned.train(model, data).",
        rows,
        (several if training.devices > 1 else ())
        + unexpressed(training, "ghosts", "clipping warm-up", "weight decay over time", "bf16"),
    )


def _update(training: PlannedTraining, *, changes_decay: bool) -> list[str]:
    loss = ["loss = loss_of(model(inputs.to(device)), targets.to(device))"]
    if training.recipe.compute.precision == "bf16":
        loss = ["with torch.autocast(device.type, torch.bfloat16):", f"    {loss[0]}"]
    decay = [
        "for group in optimizer.param_groups:",
        '    group["weight_decay"] = WEIGHT_DECAYS.get(update, group["weight_decay"])',
    ]
    clip = ["if update < CLIPPED_UPDATES:", "    torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)"]
    return [
        *loss,
        "optimizer.zero_grad()",
        "loss.backward()",
        *(clip if training.recipe.clipping else []),
        *(decay if changes_decay else []),
        "optimizer.step()",
        "schedule.step()",
        "update += 1",
        "if update == UPDATES:",
        "    return model",
    ]
