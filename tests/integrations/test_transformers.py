"""A plan in the Trainer of Transformers."""

import pytest
import torch
from torch.nn.functional import cross_entropy

import lbadvisor
from lbadvisor.errors import RefusedError, UsageError
from lbadvisor.records.run import RunStatus

transformers = pytest.importorskip("transformers")

from transformers import Trainer, TrainerCallback, TrainingArguments  # noqa: E402

from lbadvisor.integrations.transformers_callback import TransformersLargeBatch  # noqa: E402


class Digits(torch.nn.Module):
    """A model as the Trainer wants it: keywords in, loss and logits out."""

    def __init__(self, training):
        super().__init__()
        self.network = training.network()

    def forward(self, images, labels):
        logits = self.network(images)
        return {"loss": cross_entropy(logits, labels), "logits": logits}


class InOurOrder(Trainer):
    """Reads our trainer's batches; the Trainer's own order is another random one."""

    def __init__(self, *given, training, **named):
        self.training_of = training
        super().__init__(
            *given, train_dataset=training.examples, data_collator=collated, eval_dataset=training.held_out, **named
        )

    def get_train_dataloader(self):
        loader = self.training_of.loader()
        return self.accelerator.prepare(torch.utils.data.DataLoader(
            self.train_dataset, batch_sampler=loader.batch_sampler, collate_fn=collated
        ))  # fmt: skip


class Stopped(TrainerCallback):
    """Ends the training after an update."""

    def __init__(self, update):
        self.update = update

    def on_step_end(self, args, state, control, **_):  # noqa: ARG002
        control.should_training_stop = state.global_step == self.update


def collated(examples):
    return {"images": torch.stack([x for x, _ in examples]), "labels": torch.stack([y for _, y in examples])}


def share_of_right_ones(evaluated):
    return {"accuracy": float((evaluated.predictions.argmax(1) == evaluated.label_ids).mean())}


@pytest.fixture
def arguments(tmp_path):
    def of(**more):
        settings = {
            "max_steps": 100, "max_grad_norm": 0, "per_device_train_batch_size": 256, "logging_steps": 10,
            "use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no",
            "dataloader_pin_memory": False, "dataloader_drop_last": True, "label_names": ["labels"],
            "per_device_eval_batch_size": 500,
        }  # fmt: skip
        return TrainingArguments(str(tmp_path / "out"), **settings | more)

    return of


def trainer(training, arguments, run=None, *callbacks, plan=None, kind=InOurOrder, **more):
    model = Digits(training)
    large = TransformersLargeBatch(plan or training.plan, model, training.optimizer(model), arguments, run)
    named = {"optimizers": large.optimizers, "callbacks": [large, *callbacks], "training": training} | more
    return kind(model, arguments, **named)


def test_the_weights_after_100_updates_in_our_order_are_our_trainers_bits(training, arguments, differing):
    made = trainer(training, arguments())
    made.train()
    assert differing(training.weights, made.model.network) == []


def test_accumulated_batches_make_one_update(training, arguments, differing):
    class InMicroBatches(InOurOrder):
        def get_train_dataloader(self):
            batches = training.micro_loader().batch_sampler
            return torch.utils.data.DataLoader(self.train_dataset, batch_sampler=batches, collate_fn=collated)

    small = arguments(per_device_train_batch_size=64, gradient_accumulation_steps=4)
    made = trainer(training, small, kind=InMicroBatches)
    made.train()
    assert differing(training.weights_by_micro_batches, made.model.network) == []


def test_a_run_tells_what_our_trainer_measures(training, arguments, database, stored, assert_measured):
    with lbadvisor.record("theirs", training.plan.adapted, database=database, program="transformers") as run:
        evaluating = arguments(eval_strategy="steps", eval_steps=100)
        trainer(training, evaluating, run, compute_metrics=share_of_right_ones).train()
    theirs = stored("theirs")
    assert theirs.run.status is RunStatus.COMPLETE
    assert_measured(theirs.by_update)
    last, ours = theirs.by_update[100], training.measured[-1]
    assert last.evaluation_accuracy_percent == pytest.approx(ours.evaluation_accuracy_percent, rel=1e-6)
    assert last.evaluation_loss == pytest.approx(ours.evaluation_loss, rel=1e-6)


def test_a_stopped_training_resumes_from_the_trainers_checkpoint_bit_for_bit(
    training, arguments, database, stored, assert_measured, differing
):
    def record(**more):
        return lbadvisor.record("theirs", training.plan.adapted, database=database, program="transformers", **more)

    saving = arguments(save_strategy="steps", save_steps=30)
    with record() as run:
        trainer(training, saving, run, Stopped(47)).train()
    with record(resume=True) as run:
        resumed = trainer(training, saving, run)
        resumed.train(resume_from_checkpoint=f"{saving.output_dir}/checkpoint-30")
    assert differing(training.weights, resumed.model.network) == []
    assert_measured(stored("theirs").by_update)


def test_the_trainers_own_loader_trains_in_batches_of_the_plan(training, arguments):
    """Its order is another, so its weights are as well; that it learns is all that can be said of them."""

    class InItsOwnOrder(InOurOrder):
        get_train_dataloader = Trainer.get_train_dataloader

    made = trainer(training, arguments(), kind=InItsOwnOrder, compute_metrics=share_of_right_ones)
    made.train()
    assert made.evaluate()["eval_accuracy"] > 0.9


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"max_grad_norm": 1.0}, "max_grad_norm=1 would clip every update"),
        ({"max_steps": 101}, "max_steps=101, but the plan has 100 updates: max_steps=100"),
        ({"max_steps": -1}, "max_steps=-1, but the plan has 100 updates"),
        ({"gradient_accumulation_steps": 2}, "256 examples x 2 accumulated x 1 devices, the plan's batch is 256"),
    ],
)
def test_arguments_that_would_not_follow_the_plan_are_refused(training, arguments, settings, reason):
    with pytest.raises(UsageError, match=reason):
        trainer(training, arguments(**settings)).train()


def test_a_trainer_with_a_schedule_of_its_own_is_refused(training, arguments):
    with pytest.raises(UsageError, match=r"give it optimizers=large\.optimizers"):
        trainer(training, arguments(), optimizers=(None, None)).train()


def test_a_checkpoint_of_another_plan_is_refused(training, arguments):
    saving = arguments(save_strategy="steps", save_steps=5)
    trainer(training, saving, None, Stopped(5)).train()
    other = trainer(training, saving, plan=lbadvisor.plan(training.recipe, to=256, lr_rule="linear"))
    with pytest.raises(RefusedError, match="another plan"):
        other.train(resume_from_checkpoint=f"{saving.output_dir}/checkpoint-5")
