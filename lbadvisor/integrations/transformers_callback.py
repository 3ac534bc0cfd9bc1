"""A plan in the Trainer of Hugging Face's Transformers."""

from typing import Any

from torch import nn
from torch.optim import Optimizer

from lbadvisor.errors import UsageError
from lbadvisor.integrations.adapted_training import AdaptedTraining, check_batches, check_length, in_ghosts
from lbadvisor.planning.numbers_plan import NumbersPlan
from lbadvisor.runs.recorder import RunLog

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise ImportError(f"{__name__} needs Transformers: pip install 'lbadvisor[transformers]'") from error


class TransformersLargeBatch(TrainerCallback):
    """Adapts a training of the Hugging Face Trainer: its optimizer, made with the baseline's numbers, and its model.

        large = TransformersLargeBatch(plan, model, optimizer, arguments)
        Trainer(model, arguments, train_dataset=data, optimizers=large.optimizers, callbacks=[large]).train()

    It gives the model ghost batch norm, adapts the optimizer, and clips gradients in the first updates. The arguments'
    own optimizer, learning rate and schedule then have no effect; `max_steps` is `plan.updates`, and `max_grad_norm`
    is 0: its default of 1 would clip every update. The state is in the Trainer's checkpoints, as its scheduler's.

    With a `run` from `lbadvisor.record` it logs at `logging_steps`, and evaluations as the Trainer reports them:
    `eval_loss`, and `eval_accuracy` as a share, 0 to 1. With several processes, open a run only in the first. An update
    that the scaler of fp16 skips is none of the plan's.

    Raises `UsageError` if the arguments would not follow the plan, and what `plan.apply` and `convert_ghost_batchnorm`
    raise.
    """

    def __init__(
        self,
        plan: NumbersPlan,
        model: nn.Module,
        optimizer: Optimizer,
        arguments: TrainingArguments,
        run: RunLog | None = None,
    ) -> None:
        check_length(plan, arguments.max_steps, "max_steps")
        if arguments.max_grad_norm:
            raise UsageError(
                f"max_grad_norm={arguments.max_grad_norm:g} clips every update (1.0 is the Trainer's default), and the "
                "plan sets the clipping: max_grad_norm=0"
            )
        if arguments.deepspeed is not None:
            raise UsageError("DeepSpeed has an optimizer of its own: train on one device, or with ddp")
        self._plan = plan
        # Where the Trainer moves it: the state is made there.
        self._training = AdaptedTraining(plan, in_ghosts(model, plan).to(arguments.device), optimizer, run)
        self.optimizers = (optimizer, self._training)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any  # noqa: ARG002
    ) -> None:  # fmt: skip
        """Check that the Trainer has the optimizers, the plan's batch, and the state of its own checkpoint."""
        if kwargs["lr_scheduler"] is not self._training:
            raise UsageError("the Trainer has a schedule of its own: give it optimizers=large.optimizers")
        check_batches(self._plan, kwargs["train_dataloader"], args.world_size, args.gradient_accumulation_steps)
        if state.global_step and not self._training.update:
            self._training.check_resumed(state.global_step)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any  # noqa: ARG002
    ) -> None:  # fmt: skip
        """Clip the gradients, which the Trainer has unscaled to log their norm."""
        self._training.clip()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any  # noqa: ARG002
    ) -> None:  # fmt: skip
        """Measure; the Trainer then steps its scheduler, which sets the next rates."""
        if not kwargs["optimizer"].step_was_skipped:
            self._training.measure(state.logging_steps, with_loss=False)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any  # noqa: ARG002
    ) -> None:  # fmt: skip
        """Log the mean loss since the Trainer's last log, and an evaluation."""
        words = {"loss": ("loss", 1), "eval_loss": ("evaluation_loss", 1), "eval_accuracy": ("accuracy", 100)}
        told = {words[key][0]: value * words[key][1] for key, value in kwargs["logs"].items() if key in words}
        if told:
            self._training.log(**told)
