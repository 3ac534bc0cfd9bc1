"""A plan in Lightning's Trainer."""

import re

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import lbadvisor
from lbadvisor.errors import RefusedError, UsageError
from lbadvisor.records.run import RunStatus

lightning = pytest.importorskip("lightning.pytorch")

from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: E402
from lightning.pytorch.plugins import MixedPrecision  # noqa: E402

from lbadvisor.integrations.lightning_callback import LightningLargeBatch, UpdateLoader  # noqa: E402

pytestmark = [
    # Lightning advises a loader of 1297 small images to have workers, and calls what torch 2.14 is about to drop.
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    # A resumed training saves where it saved before.
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]


class Digits(lightning.LightningModule):
    """Written for the baseline: plain batch norm, the small batch's numbers."""

    def __init__(self, training, **optimizer):
        super().__init__()
        self.network = training.network()
        self.training_of, self.of_optimizer = training, optimizer

    def training_step(self, batch, _):
        images, labels = batch
        return cross_entropy(self.network(images), labels)

    def configure_optimizers(self):
        return self.training_of.optimizer(self.network, **self.of_optimizer)


class Validated(Digits):
    """Logs two metrics, by names of its own."""

    def validation_step(self, batch, _):
        images, labels = batch
        logits = self.network(images)
        self.log("right", (logits.argmax(1) == labels).float().mean())
        self.log("nats", cross_entropy(logits, labels))


class Killed(lightning.Callback):
    """Ends the process, as it were, after an update."""

    def __init__(self, update):
        self.update = update

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.update:
            raise MemoryError("killed")


def trainer(*callbacks, updates=100, **settings):
    quiet = {
        "logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu",
        "devices": 1,
        "enable_checkpointing": any(isinstance(one, ModelCheckpoint) for one in callbacks), "log_every_n_steps": 10,
    }  # fmt: skip
    return lightning.Trainer(max_steps=updates, callbacks=[*callbacks], **quiet | settings)


def test_the_weights_after_100_updates_are_our_trainers_bits(training, differing):
    module = Digits(training)
    trainer(LightningLargeBatch(training.plan)).fit(module, training.loader())
    assert differing(training.weights, module.network) == []


def test_accumulated_batches_make_one_update(training, differing):
    module = Digits(training)
    trainer(LightningLargeBatch(training.plan), accumulate_grad_batches=4).fit(module, training.micro_loader())
    assert differing(training.weights_by_micro_batches, module.network) == []


def test_a_run_tells_what_our_trainer_measures(training, database, stored, assert_measured):
    with lbadvisor.record("theirs", training.plan.adapted, database=database, program="lightning") as run:
        callback = LightningLargeBatch(training.plan, run, accuracy="right", loss="nats")
        held_out = DataLoader(training.held_out, batch_size=500)
        trainer(callback).fit(Validated(training), training.loader(), held_out)
    theirs = stored("theirs")
    assert theirs.run.status is RunStatus.COMPLETE
    assert_measured(theirs.by_update)
    last, ours = theirs.by_update[100], training.measured[-1]
    assert last.evaluation_accuracy_percent == pytest.approx(ours.evaluation_accuracy_percent, rel=1e-6)
    assert last.evaluation_loss == pytest.approx(ours.evaluation_loss, rel=1e-6)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_training_resumes_from_lightnings_checkpoint_bit_for_bit(
    training, database, stored, assert_measured, differing, tmp_path, workers
):
    """Killed at 60, within the interval of a measurement and beyond the checkpoint of 35: its run goes back as well."""
    saved = ModelCheckpoint(tmp_path / "saved", every_n_train_steps=35, save_top_k=-1)

    def record(**more):
        return lbadvisor.record("theirs", training.plan.adapted, database=database, program="lightning", **more)

    def loader():
        return UpdateLoader(training.examples, training.plan, num_workers=workers)

    with pytest.raises(MemoryError), record() as run:
        trainer(LightningLargeBatch(training.plan, run), saved, Killed(60)).fit(Digits(training), loader())
    assert stored("theirs").run.status is RunStatus.FAILED
    resumed = Digits(training)
    with record(resume=True) as run:
        path = tmp_path / "saved" / "epoch=0-step=35.ckpt"
        trainer(LightningLargeBatch(training.plan, run), saved).fit(resumed, loader(), ckpt_path=path)
    assert differing(training.weights, resumed.network) == []
    assert_measured(stored("theirs").by_update)


def test_clipping_sees_the_unscaled_gradients_of_16_bit_precision(training, database, stored):
    """Scaled by 4096, every gradient would be above the norm of 0.5 and each of the 40 updates clipped."""
    with lbadvisor.record("theirs", training.plan.adapted, database=database, program="lightning") as run:
        precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=4096.0))
        callback = LightningLargeBatch(training.plan, run)
        trainer(callback, plugins=[precision]).fit(Digits(training, fused=False), training.loader())
    for ours in training.measured[:4]:
        theirs = stored("theirs").by_update[ours.update]
        assert theirs.gradient_norm == pytest.approx(ours.gradient_norm, rel=0.1)
        assert theirs.clipped_share == pytest.approx(ours.clipped_share, abs=0.21)


def test_a_plan_of_numbers_leaves_a_model_without_batch_norm_as_it_is(training):
    plan = lbadvisor.plan(batch_size=32, to=256, lr=0.05, updates=3, examples=1297)
    assert plan.ghost_batch_size == 32
    module = Digits(training)
    module.network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    module.of_optimizer = {"weight_decay": 0.0, "momentum": 0.0}
    done = trainer(LightningLargeBatch(plan), updates=3)
    done.fit(module, training.loader())
    assert done.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.05 * 8**0.5)


class Scheduled(Digits):
    """With a scheduler of its own."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 30)]


class ByHand(Digits):
    """Steps its optimizer itself."""

    def __init__(self, training):
        super().__init__(training)
        self.automatic_optimization = False


class Synchronized(Digits):
    """With synchronized batch norm."""

    def __init__(self, training):
        super().__init__(training)
        self.network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(self.network)


@pytest.mark.parametrize(
    ("module", "settings", "reason"),
    [
        (Scheduled, {}, "a scheduler from configure_optimizers"),
        (ByHand, {}, "manual optimization"),
        (Digits, {"gradient_clip_val": 1.0}, "gradient_clip_val"),
        (Digits, {"updates": 101}, "max_steps=101, but the plan has 100 updates: max_steps=100"),
        (Digits, {"updates": -1, "max_epochs": 3}, "max_steps=-1"),
        (Digits, {"plugins": "scaler"}, "a fused optimizer, which unscales 16-bit gradients after clipping"),
        (Digits, {"accumulate_grad_batches": 2}, "256 examples x 2 accumulated x 1 devices, the plan's batch is 256"),
    ],
)
def test_a_trainer_that_would_not_follow_the_plan_is_refused(training, module, settings, reason):
    if "plugins" in settings:
        settings = {"plugins": [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))]}
    with pytest.raises(UsageError, match=re.escape(reason)):
        trainer(LightningLargeBatch(training.plan), **settings).fit(module(training), training.loader())


def test_synchronized_batch_norm_is_refused(training):
    """What Trainer(sync_batchnorm=True) makes of a model."""
    with pytest.raises(RefusedError, match="synchronized batch norm computes its statistics over the whole batch"):
        trainer(LightningLargeBatch(training.plan)).fit(Synchronized(training), training.loader())


def test_a_checkpoint_of_a_training_that_was_not_adapted_is_refused(training, tmp_path):
    saved = ModelCheckpoint(tmp_path, every_n_train_steps=5)
    trainer(saved, updates=5).fit(Digits(training), training.loader())
    path = tmp_path / "epoch=0-step=5.ckpt"
    with pytest.raises(RefusedError, match="has made 5 updates, and 0 of them with the plan"):
        trainer(LightningLargeBatch(training.plan), saved).fit(Digits(training), training.loader(), ckpt_path=path)


def test_a_checkpoint_of_another_plan_is_refused(training, tmp_path):
    saved = ModelCheckpoint(tmp_path, every_n_train_steps=5)
    with pytest.warns(UserWarning, match="max_steps=5 ends before the plan's 100 updates"):
        trainer(LightningLargeBatch(training.plan), saved, updates=5).fit(Digits(training), training.loader())
    other = lbadvisor.plan(training.recipe, to=256, lr_rule="linear")
    path = tmp_path / "epoch=0-step=5.ckpt"
    with pytest.raises(RefusedError, match="another plan"):
        trainer(LightningLargeBatch(other), saved).fit(Digits(training), training.loader(), ckpt_path=path)


def test_a_metric_that_the_model_does_not_log_is_named(training, database):
    with lbadvisor.record("theirs", training.plan.adapted, database=database) as run:
        callback = LightningLargeBatch(training.plan, run, accuracy="acc")
        with pytest.raises(UsageError, match="the model logged no 'acc' in validation, only "):
            trainer(callback).fit(Validated(training), training.loader(), DataLoader(training.held_out, batch_size=500))
