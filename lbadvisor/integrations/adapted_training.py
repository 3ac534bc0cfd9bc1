"""A plan in a training that another library runs: what all of them share."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lbadvisor.errors import RefusedError, UsageError
from lbadvisor.library.ghosts import convert_ghost_batchnorm
from lbadvisor.library.scheduling import schedule
from lbadvisor.library.watch import Watch
from lbadvisor.nn.clipping import ClippingWarmup
from lbadvisor.planning.numbers_plan import NumbersPlan
from lbadvisor.planning.parameter_groups import is_adapted
from lbadvisor.planning.plan import Plan
from lbadvisor.runs.recorder import RunLog
from lbadvisor.training.micro_batches import has_batch_norm


class AdaptedTraining:
    """Applies a plan before the first update; has its rates, as a scheduler has, its clipping and measurements."""

    def __init__(self, plan: NumbersPlan, model: nn.Module, optimizer: Optimizer, run: RunLog | None) -> None:
        plan.apply(optimizer)
        self._plan, self._optimizer, self._run = plan, optimizer, run
        self._schedule = schedule(optimizer, plan)
        self._clip = ClippingWarmup(model.parameters(), plan)
        self._watch = None if run is None else Watch(model, optimizer, self._clip)
        self._losses, self._logged = torch.zeros_like(self._clip.clipped), 0
        self.clip, self.step, self.get_last_lr = self._clip.step, self._schedule.step, self._schedule.get_last_lr

    @property
    def update(self) -> int:
        """The number of updates made."""
        return self._schedule.last_epoch

    def add_loss(self, loss: Tensor) -> None:
        """Add a share of an update's mean loss, to be logged as the mean over the updates since the last log."""
        self._losses.add_(loss.detach())

    def measure(self, every: int, *, with_loss: bool = True) -> None:
        """Log the update just made if it is the last one or one in `every`; before `step` and `zero_grad`."""
        update = self.update + 1
        if self._run is None or self._watch is None or (update % every and update != self._plan.updates):
            return
        loss = {"loss": self._losses.item() / (update - self._logged)} if with_loss else {}
        self._run.log(update, **loss, **self._watch.read())
        self._losses.zero_()
        self._logged = update

    def log(self, **numbers: float | Tensor) -> None:
        """Log what else is known after the last update, if any was made."""
        if self._run is not None and self.update and numbers:
            self._run.log(self.update, **numbers)

    def state_dict(self) -> dict[str, Any]:
        """The plan, and all that changes."""
        return {
            "plan": str(self._plan), "schedule": self._schedule.state_dict(), "clip": self._clip.state_dict(),
            "losses": (self._losses, self._logged), "watch": None if self._watch is None else self._watch.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a `state_dict`. Raises `RefusedError` if it is of another plan, or lacks the first weights."""
        if state["plan"] != str(self._plan):
            raise RefusedError("the checkpoint is of another plan: resume with that one, or train from the start")
        if self._watch is not None:
            if state["watch"] is None:
                raise RefusedError("the checkpoint is of a training that was not recorded: resume without a run")
            self._watch.load_state_dict(state["watch"])
        self._clip.load_state_dict(state["clip"])
        self._losses.copy_(state["losses"][0])
        self._logged = state["losses"][1]
        self._schedule.load_state_dict(state["schedule"])

    def check_resumed(self, update: int) -> None:
        """Raise `RefusedError` unless the library, which has made `update` updates, resumed this training."""
        if bool(update) != bool(self.update) or not is_adapted(self._optimizer):
            made = f"the trainer has made {update:,} updates, and {self.update:,} of them with the plan"
            raise RefusedError(f"{made}: resume from a checkpoint of the adapted training, or make all anew")


def in_ghosts(model: nn.Module, plan: NumbersPlan) -> nn.Module:
    """The model with the plan's ghost batch norm, if it has any; numbers alone do not know if the model has batch norm.

    Raises `UsageError` if the model of a recipe's plan has none, and `RefusedError` if it is synchronized.
    """
    ghost_batch_size = plan.ghost_batch_size
    recipe = plan.adapted if isinstance(plan, Plan) else None
    if ghost_batch_size is None or (recipe is None and not has_batch_norm(model)):
        return model
    if any(isinstance(layer, nn.SyncBatchNorm) for layer in model.modules()):
        spans = f"synchronized batch norm computes its statistics over the whole batch, not over {ghost_batch_size}"
        raise RefusedError(f"{spans}: do not synchronize it, or plan without ghosts (adapt='lr,regime,clip')")
    running_statistics = "sequential" if recipe is None else recipe.batch_norm.running_statistics
    return convert_ghost_batchnorm(model, ghost_batch_size, running_statistics)


def check_length(plan: NumbersPlan, max_steps: int) -> None:
    """Raise `UsageError` unless training ends with the plan; warn if it ends before."""
    if not 0 < max_steps <= plan.updates:
        raise UsageError(f"max_steps={max_steps}, but the plan has {plan.updates} updates: max_steps={plan.updates}")
    if max_steps < plan.updates:
        warnings.warn(f"max_steps={max_steps} ends before the plan's {plan.updates:,} updates", stacklevel=2)


def check_batches(plan: NumbersPlan, loader: Any, devices: int, accumulated: int) -> None:
    """Raise `UsageError` if an update does not see the plan's batch, in whole ghosts; warn of smaller last batches.

    Each of the `devices` accumulates so many batches. A loader that does not tell their size is not checked.
    """
    batches, ghost_batch_size = getattr(loader, "batch_sampler", None), plan.ghost_batch_size
    size = getattr(batches, "batch_size", None)
    if size is None:
        return
    if size * devices * accumulated != plan.batch_size:
        seen = f"an update would see {size:,} examples x {accumulated} accumulated x {devices} devices"
        raise UsageError(f"{seen}, the plan's batch is {plan.batch_size:,}: change the loader or the accumulation")
    if ghost_batch_size is not None and size != plan.batch_size and size % ghost_batch_size:
        raise UsageError(f"batches of {size} would cut the plan's ghosts of {ghost_batch_size}: use a multiple of it")
    if not getattr(batches, "drop_last", True) and len(loader.dataset) % size:
        warnings.warn("the last batch of each epoch is smaller than the plan's: use drop_last=True", stacklevel=2)
