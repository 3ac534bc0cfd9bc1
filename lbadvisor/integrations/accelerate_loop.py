"""A plan in a loop of Accelerate."""

from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lbadvisor.errors import UsageError
from lbadvisor.integrations.adapted_training import AdaptedTraining, check_batches, in_ghosts
from lbadvisor.planning.numbers_plan import NumbersPlan
from lbadvisor.runs.recorder import RunLog

try:
    from accelerate import Accelerator
except ImportError as error:
    raise ImportError(f"{__name__} needs Accelerate: pip install 'lbadvisor[accelerate]'") from error


class AccelerateLargeBatch:
    """Adapts a loop written for the baseline: `prepare` and `step` instead of the accelerator's and the optimizer's.

    There is no scheduler to prepare: `step` sets the rates once per update, whatever the number of processes.
    `accelerator.save_state` keeps the state; after `load_state`, `update` says where the loader must resume. Into the
    `run` of `lbadvisor.record` it logs one update in `every`; with several processes, open one only in the main one.
    """

    def __init__(
        self, accelerator: Accelerator, plan: NumbersPlan, run: RunLog | None = None, *, every: int = 50
    ) -> None:
        self._accelerator, self._plan, self._run, self._every = accelerator, plan, run, every

    def prepare(
        self, model: nn.Module, optimizer: Optimizer, loader: DataLoader[Any]
    ) -> tuple[nn.Module, Optimizer, DataLoader[Any]]:
        """What `accelerator.prepare` makes of the model in ghosts, the optimizer with the plan applied, the loader.

        Raises `UsageError` if an update would not see the plan's batch or the weights are sharded, and what
        `plan.apply` and `convert_ghost_batchnorm` raise.
        """
        accelerator = self._accelerator
        if accelerator.distributed_type.value not in ("NO", "MULTI_CPU", "MULTI_GPU"):
            raise UsageError(f"the training is distributed as {accelerator.distributed_type.value}: use plain ddp")
        devices = 1 if accelerator.split_batches else accelerator.num_processes
        check_batches(self._plan, loader, devices, accelerator.gradient_accumulation_steps)
        own_model = in_ghosts(model, self._plan).to(accelerator.device)
        self._training = AdaptedTraining(self._plan, own_model, optimizer, self._run)
        accelerator.register_for_checkpointing(self._training)
        model, self._optimizer, loader = accelerator.prepare(own_model, optimizer, loader)
        return model, self._optimizer, loader

    @property
    def update(self) -> int:
        """The number of updates made; one that the scaler of fp16 skips is none."""
        return self._training.update

    def step(self, loss: Tensor) -> None:
        """Count a batch's mean `loss`; if an update is due, clip, step the optimizer, measure, set the next rates.

        Raises `UsageError` once all updates of the plan are made.
        """
        accelerator, training = self._accelerator, self._training
        training.add_loss(loss / accelerator.gradient_accumulation_steps)
        if accelerator.sync_gradients:
            accelerator.unscale_gradients(self._optimizer)
            training.clip()
            self._optimizer.step()
            if not accelerator.optimizer_step_was_skipped:
                training.measure(self._every)
                training.step()
