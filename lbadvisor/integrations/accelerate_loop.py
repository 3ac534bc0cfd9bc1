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
    from accelerate import Accelerator, DistributedType
except ImportError as error:
    raise ImportError(f"{__name__} needs Accelerate: pip install 'lbadvisor[accelerate]'") from error


class AccelerateLargeBatch:
    """Adapts a loop of Accelerate that is written for the baseline.

        large = AccelerateLargeBatch(accelerator, plan)
        model, optimizer, loader = large.prepare(model, optimizer, loader)
        for images, labels in loader:
            with accelerator.accumulate(model):
                loss = loss_of(model(images), labels)
                accelerator.backward(loss)
                large.step(loss)
                optimizer.zero_grad()

    There is no scheduler to prepare: `step` sets the rates once per update, whatever the number of processes. With a
    `run` from `lbadvisor.record` it logs one update in `every`; with several processes, open a run only in the main
    one. `accelerator.save_state` and `load_state` keep all of it; `update` says where to resume.
    """

    def __init__(self, accelerator: Accelerator, plan: NumbersPlan, run: RunLog | None = None, *, every: int = 50) -> None:
        self._accelerator, self._plan, self._run, self._every = accelerator, plan, run, every

    def prepare(
        self, model: nn.Module, optimizer: Optimizer, loader: DataLoader[Any]
    ) -> tuple[nn.Module, Optimizer, DataLoader[Any]]:
        """What `accelerator.prepare` returns for the model in ghosts, the optimizer with the plan applied, the loader.

        Raises `UsageError` if an update would not see the plan's batch or the weights are sharded, and what
        `plan.apply` and `convert_ghost_batchnorm` raise.
        """
        accelerator, plan = self._accelerator, self._plan
        replicated = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
        if accelerator.distributed_type not in replicated:
            raise UsageError(f"the training is distributed as {accelerator.distributed_type.value}: one device, or ddp")
        devices = 1 if accelerator.split_batches else accelerator.num_processes
        check_batches(plan, loader, devices, accelerator.gradient_accumulation_steps)
        own_model = in_ghosts(model, plan).to(accelerator.device)
        self._training = AdaptedTraining(plan, own_model, optimizer, self._run)
        accelerator.register_for_checkpointing(self._training)
        model, self._optimizer, loader = accelerator.prepare(own_model, optimizer, loader)
        return model, self._optimizer, loader

    @property
    def update(self) -> int:
        """The number of updates made; one that the scaler of fp16 skipped is none."""
        return self._training.update

    def step(self, loss: Tensor) -> None:
        """Clip, step the optimizer, measure and set the next rates if an update is due; `loss` is this batch's mean.

        Instead of `optimizer.step()`. Raises `UsageError` once all updates of the plan are made.
        """
        accelerator, training = self._accelerator, self._training
        training.add_loss(loss / accelerator.gradient_accumulation_steps)
        if not accelerator.sync_gradients:
            return
        accelerator.unscale_gradients(self._optimizer)
        training.clip()
        self._optimizer.step()
        if not accelerator.optimizer_step_was_skipped:
            training.measure(self._every)
            training.step()
