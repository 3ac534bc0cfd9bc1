"""A plan in the Trainer of Hugging Face's Transformers."""

from typing import Any

from torch import nn
from torch.optim import Optimizer

from lbadvisor.errors import UsageError
from lbadvisor.integrations.adapted_training import AdaptedTraining, check_batches, check_length, in_ghosts
from lbadvisor.planning.numbers_plan import NumbersPlan
from lbadvisor.records.quantities import ACCURACY, EVALUATION_LOSS, LOSS
from lbadvisor.runs.recorder import RunLog

try:
    from transformers import TrainerCallback, TrainerState, TrainingArguments
except ImportError as error:
    raise ImportError(f"{__name__} needs Transformers: pip install 'lbadvisor[transformers]'") from error

_LOGGED = {"loss": (LOSS.key, 1), "eval_loss": (EVALUATION_LOSS.key, 1), "eval_accuracy": (ACCURACY.key, 100)}


class TransformersLargeBatch(TrainerCallback):
    """Adapts a training of the Hugging Face Trainer: the model, and the optimizer made with the baseline's numbers.

    Give the Trainer `optimizers=large.optimizers, callbacks=[large]`: the arguments' own optimizer, rate and schedule
    then have no effect. `max_steps` is `plan.updates`, and `max_grad_norm` 0: its default, 1, would clip every update.
    Its checkpoints keep the state. Into the `run` of `lbadvisor.record` it logs at `logging_steps`, and of evaluations
    `eval_loss` and `eval_accuracy`, a share from 0 to 1; with several processes, open one only in the first. An update
    that the scaler of fp16 skips is none of the plan's.

    Raises `UsageError` if the arguments do not follow the plan, and what `plan.apply` and `convert_ghost_batchnorm`
    raise; `train` raises `UsageError` for another batch, and `RefusedError` for a checkpoint of another training.
    """

    def __init__(
        self, plan: NumbersPlan, model: nn.Module, optimizer: Optimizer, arguments: TrainingArguments,
        run: RunLog | None = None,
    ) -> None:  # fmt: skip
        check_length(plan, arguments.max_steps)
        if arguments.max_grad_norm:
            raise UsageError(f"max_grad_norm={arguments.max_grad_norm:g} would clip every update: max_grad_norm=0")
        if arguments.deepspeed is not None:
            raise UsageError("DeepSpeed has an optimizer of its own: train on one device, or with ddp")
        self._plan = plan
        # Where the Trainer moves it: the state is made there.
        self._training = AdaptedTraining(plan, in_ghosts(model, plan).to(arguments.device), optimizer, run)
        self.optimizers = (optimizer, self._training)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, *_: Any, **given: Any) -> None:
        """Check that the Trainer has the optimizers, the plan's batch, and a checkpoint of this training, if any."""
        if given["lr_scheduler"] is not self._training:
            raise UsageError("the Trainer has a schedule of its own: give it optimizers=large.optimizers")
        check_batches(self._plan, given["train_dataloader"], args.world_size, args.gradient_accumulation_steps)
        self._training.check_resumed(state.global_step)

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Clip the gradients, which the Trainer has unscaled to log their norm."""
        self._training.clip()

    def on_optimizer_step(self, args: TrainingArguments, state: TrainerState, *_: Any, **given: Any) -> None:  # noqa: ARG002
        """Measure; the Trainer then steps its scheduler, which sets the next rates."""
        if not given["optimizer"].step_was_skipped:
            self._training.measure(state.logging_steps, with_loss=False)

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        """Log the mean loss since the last log, and an evaluation."""
        factors = {key: _LOGGED[key] for key in logs if key in _LOGGED}
        self._training.log(**{own: logs[key] * factor for key, (own, factor) in factors.items()})
