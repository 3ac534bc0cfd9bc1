"""A plan in Lightning's Trainer."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from lbadvisor.errors import UsageError
from lbadvisor.integrations.adapted_training import AdaptedTraining, check_batches, check_length, in_ghosts
from lbadvisor.library.example_order import UpdateBatchSampler
from lbadvisor.planning.numbers_plan import NumbersPlan
from lbadvisor.records.quantities import ACCURACY, EVALUATION_LOSS
from lbadvisor.runs.recorder import RunLog

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
except ImportError as error:
    raise ImportError(f"{__name__} needs Lightning: pip install 'lbadvisor[lightning]'") from error


class LightningLargeBatch(Callback):
    """Adapts a training of `Trainer(max_steps=plan.updates)`: ghost batch norm, optimizer, rates and clipping.

    `configure_optimizers` returns one optimizer with the baseline's numbers, and no scheduler. Checkpoints keep the
    state; with an `UpdateLoader` a training resumes from them bit for bit. An update that the scaler of 16-bit
    precision skips counts, as in Lightning. Into the `run` of `lbadvisor.record` it logs at `log_every_n_steps`; with
    several processes, open one only in the first. `accuracy` and `loss` name what the model logs in validation: the
    share of right answers, from 0 to 1 as torchmetrics gives it, and the mean loss.

    `fit` raises `UsageError` for a Trainer that would not follow the plan, `PlanError` for another optimizer, and
    `RefusedError` for one adapted before, for synchronized batch norm, and for a checkpoint of another training.
    """

    def __init__(
        self, plan: NumbersPlan, run: RunLog | None = None, *, accuracy: str | None = None, loss: str | None = None
    ) -> None:
        self._plan, self._run = plan, run
        self._names = {ACCURACY.key: accuracy, EVALUATION_LOSS.key: loss}
        self._training: AdaptedTraining | None = None
        self._saved: dict[str, Any] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Adapt the model and the optimizer, which exist by now; ghosts keep the parameters that it holds."""
        _check(trainer, pl_module, self._plan)
        in_ghosts(pl_module, self._plan)
        self._training = AdaptedTraining(self._plan, pl_module, trainer.optimizers[0], self._run)
        if self._saved:
            self._training.load_state_dict(self._saved)

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        """Check what is known only now: the loader, and the optimizer's state from a checkpoint."""
        self._adapted.check_resumed(trainer.global_step)
        check_batches(self._plan, trainer.train_dataloader, trainer.world_size, trainer.accumulate_grad_batches)

    def on_before_optimizer_step(self, *_: Any) -> None:
        """Clip the gradients of an update."""
        self._adapted.clip()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:  # noqa: ARG002
        """Measure if an update was made, and set the rates of the next; Lightning has divided an accumulated loss."""
        training = self._adapted
        if outputs is not None:
            training.add_loss(outputs["loss"])
        if trainer.global_step > training.update:
            training.measure(trainer.log_every_n_steps or trainer.max_steps)
            training.step()

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        """Log the validation. Raises `UsageError` if the model did not log what was named."""
        if self._training is None or trainer.sanity_checking:
            return
        told, wanted = trainer.callback_metrics, {key: name for key, name in self._names.items() if name is not None}
        if missing := [name for name in wanted.values() if name not in told]:
            raise UsageError(f"the model logged no {missing[0]!r} in validation, only {', '.join(told) or 'nothing'}")
        self._training.log(**{key: told[name] * (100 if key == ACCURACY.key else 1) for key, name in wanted.items()})

    def state_dict(self) -> dict[str, Any]:
        """What checkpoints keep."""
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
    check_length(plan, trainer.max_steps)
    scaler, optimizers = getattr(trainer.precision_plugin, "scaler", None), trainer.optimizers
    handles_scaling = any(getattr(optimizer, "_step_supports_amp_scaling", False) for optimizer in optimizers)
    for is_wrong, reason in (
        (not model.automatic_optimization, "manual optimization: use lbadvisor.schedule and ClippingWarmup in it"),
        (len(optimizers) != 1, f"{len(optimizers)} optimizers: a plan is for one"),
        (trainer.lr_scheduler_configs, "a scheduler from configure_optimizers: leave it out, the plan sets the rates"),
        (trainer.gradient_clip_val, "gradient_clip_val: leave it out, the plan sets the clipping"),
        (not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy), "sharded weights: one device, or ddp"),
        (scaler and handles_scaling, "a fused optimizer, which unscales 16-bit gradients after clipping: fused=False"),
    ):
        if is_wrong:
            raise UsageError(f"the training has {reason}")


class UpdateLoader(DataLoader[Any]):
    """A loader of what each update of `lbadvisor.train` sees, in that order, which resumes in Lightning.

    `more` are keywords of `DataLoader`; see `UpdateBatchSampler`. Its length is the whole training's, in updates.
    """

    def __init__(self, dataset: Dataset[Any], plan: NumbersPlan, seed: int = 0, **more: Any) -> None:
        self._order, self._updates, self._given = UpdateBatchSampler(dataset, plan, seed), plan.updates, 0  # type: ignore[arg-type]
        super().__init__(dataset, batch_sampler=self._order, **more)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for given, batch in enumerate(super().__iter__(), start=self._order.update + 1):
            self._given = given
            yield batch

    def __len__(self) -> int:
        return self._updates

    def state_dict(self) -> dict[str, Any]:
        """The order, and how many batches were given."""
        return self._order.state_dict() | {"update": self._given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume after those batches. Raises `RefusedError` if the order is another one."""
        self._order.load_state_dict(state)
