"""A plan in Lightning's Trainer."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from lbadvisor.errors import UsageError
from lbadvisor.integrations.adapted_training import AdaptedTraining, check_batches, check_length, in_ghosts
from lbadvisor.library.example_order import UpdateBatchSampler
from lbadvisor.planning.numbers_plan import NumbersPlan
from lbadvisor.runs.recorder import RunLog

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
except ImportError as error:
    raise ImportError(f"{__name__} needs Lightning: pip install 'lbadvisor[lightning]'") from error


class LightningLargeBatch(Callback):
    """Adapts a Lightning training that is written for the baseline: `Trainer(callbacks=[LightningLargeBatch(plan)])`.

    `configure_optimizers` returns one optimizer with the baseline's numbers and no scheduler; `max_steps` is
    `plan.updates`. The callback gives the model ghost batch norm, adapts the optimizer, sets its rates for each update
    and clips gradients in the first ones, unscaled and accumulated. Its state is in Lightning's checkpoints, from which
    a training resumes bit for bit if its loader does: see `UpdateLoader`.

    With a `run` from `lbadvisor.record` it logs at `log_every_n_steps`; with several processes, open a run only in the
    first. `accuracy` and `loss` name what the model logs in validation: the share of right answers, 0 to 1, as
    torchmetrics gives it, and the mean loss. An update that the scaler of 16-bit precision skips counts, as in Lightning.

    The Trainer raises `UsageError` at the start of `fit` if it would not follow the plan, `PlanError` and `RefusedError`
    if the optimizer does not fit it, and `RefusedError` for a checkpoint of another training.
    """

    def __init__(
        self, plan: NumbersPlan, run: RunLog | None = None, *, accuracy: str | None = None, loss: str | None = None
    ) -> None:
        self._plan, self._run = plan, run
        self._names = {"accuracy": accuracy, "evaluation_loss": loss}
        self._training: AdaptedTraining | None = None
        self._saved: dict[str, Any] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Adapt the model and the optimizer, which exist by now; ghosts keep the parameters that it holds."""
        _check(trainer, pl_module, self._plan)
        in_ghosts(pl_module, self._plan)
        self._training = AdaptedTraining(self._plan, pl_module, trainer.optimizers[0], self._run)
        if self._saved:
            self._training.load_state_dict(self._saved)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Check what is known only now: the loader, and the optimizer's state from a checkpoint."""
        self._adapted.check_resumed(trainer.global_step)
        check_batches(self._plan, trainer.train_dataloader, trainer.world_size, trainer.accumulate_grad_batches)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer  # noqa: ARG002
    ) -> None:  # fmt: skip
        """Clip the gradients of an update."""
        self._adapted.clip()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Measure if an update was made, and set the rates of the next; Lightning has divided an accumulated loss."""
        training = self._adapted
        if outputs is not None:
            training.add_loss(outputs["loss"] if isinstance(outputs, Mapping) else outputs)
        if trainer.global_step > training.update:
            training.measure(trainer.log_every_n_steps or trainer.max_steps)
            training.step()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Log the validation. Raises `UsageError` if the model did not log what was named."""
        if self._training is None or trainer.sanity_checking:
            return
        told, wanted = trainer.callback_metrics, {key: name for key, name in self._names.items() if name is not None}
        if missing := [name for name in wanted.values() if name not in told]:
            raise UsageError(f"the model logged no {missing[0]!r} in validation, only {', '.join(told) or 'nothing'}")
        if wanted:
            shares = {"accuracy": 100}
            self._training.log(**{key: told[name] * shares.get(key, 1) for key, name in wanted.items()})

    def state_dict(self) -> dict[str, Any]:
        """What Lightning's checkpoints keep."""
        return {} if self._training is None else self._training.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state of a checkpoint for the start of `fit`."""
        self._saved = state_dict

    @property
    def _adapted(self) -> AdaptedTraining:
        assert self._training is not None
        return self._training


def _check(trainer: Trainer, model: LightningModule, plan: NumbersPlan) -> None:
    """Raise `UsageError` if the Trainer would not follow the plan."""
    check_length(plan, trainer.max_steps, "max_steps")
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    own = "the plan sets"
    for is_wrong, reason in (
        (not model.automatic_optimization, "manual optimization: use lbadvisor's schedule and ClippingWarmup in it"),
        (len(trainer.optimizers) != 1, f"{len(trainer.optimizers)} optimizers: a plan is for one"),
        (trainer.lr_scheduler_configs, f"a scheduler from configure_optimizers: {own} the rates, so return none"),
        (trainer.gradient_clip_val, f"gradient_clip_val: {own} the clipping, so leave it out"),
        (not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy), "sharded weights: one device, or ddp"),
        (
            scaler is not None and getattr(trainer.optimizers[0], "_step_supports_amp_scaling", False),
            "a fused optimizer with 16-bit precision unscales gradients after they are clipped: fused=False, or bf16",
        ),
    ):
        if is_wrong:
            raise UsageError(f"the training has {reason}")


class UpdateLoader(DataLoader[Any]):
    """The examples of each update, in the order of `lbadvisor.train`, from where Lightning's checkpoint has stopped.

    `more` are the keywords of a `DataLoader` but for the batches. `len` is the length of the training in updates. See
    `UpdateBatchSampler`, also for what it raises.
    """

    def __init__(self, dataset: Dataset[Any], plan: NumbersPlan, seed: int = 0, **more: Any) -> None:
        self._order, self._updates = UpdateBatchSampler(dataset, plan, seed), plan.updates  # type: ignore[arg-type]
        self._update = 0
        super().__init__(dataset, batch_sampler=self._order, **more)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            self._update += 1
            yield batch

    def __len__(self) -> int:
        return self._updates

    def state_dict(self) -> dict[str, Any]:
        """The order, and the batches that were handed out."""
        return self._order.state_dict() | {"update": self._update}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume after those batches. Raises `RefusedError` if the order is another one."""
        self._order.load_state_dict(state)
        self._update = self._order.update
