"""A plan in a loop of Accelerate."""

import subprocess
import sys

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import BatchSampler, DataLoader

import lbadvisor
from lbadvisor.errors import RefusedError, UsageError

accelerate = pytest.importorskip("accelerate")

from accelerate import Accelerator  # noqa: E402

from lbadvisor.integrations.accelerate_loop import AccelerateLargeBatch  # noqa: E402


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """Its state is of the whole process."""
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


class Loop:
    """A training script, which may stop early or resume from a folder."""

    def __init__(self, training, accelerator, loader, run=None, plan=None, **optimizer):
        network = training.network()
        self.accelerator = accelerator
        self.large = AccelerateLargeBatch(accelerator, plan or training.plan, run, every=10)
        self.network, self.optimizer, self.loader = self.large.prepare(
            network, training.optimizer(network, **optimizer), loader
        )

    def train(self, batches=None):
        for number, (images, labels) in enumerate(self.loader):
            if number == batches:
                break
            with self.accelerator.accumulate(self.network):
                loss = cross_entropy(self.network(images), labels)
                self.accelerator.backward(loss)
                self.large.step(loss)
                self.optimizer.zero_grad()
        return self.network


def test_the_weights_after_100_updates_are_our_trainers_bits(training, differing):
    assert differing(training.weights, Loop(training, Accelerator(cpu=True), training.loader()).train()) == []


def test_accumulated_batches_make_one_update(training, differing):
    loop = Loop(training, Accelerator(cpu=True, gradient_accumulation_steps=4), training.micro_loader())
    assert differing(training.weights_by_micro_batches, loop.train()) == []
    assert loop.large.update == 100


def test_a_run_tells_what_our_trainer_measures(training, database, stored, assert_measured):
    with lbadvisor.record("theirs", training.plan.adapted, database=database, program="accelerate") as run:
        Loop(training, Accelerator(cpu=True), training.loader(), run).train()
    assert_measured(stored("theirs").by_update)


def test_a_stopped_training_resumes_from_accelerates_checkpoint_bit_for_bit(
    training, database, stored, assert_measured, differing, tmp_path
):
    def record(**more):
        return lbadvisor.record("theirs", training.plan.adapted, database=database, program="accelerate", **more)

    with record() as run:
        loop = Loop(training, Accelerator(cpu=True), training.loader(), run)
        loop.train(35)
        loop.accelerator.save_state(tmp_path / "saved")
        loop.train(12)
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    with record(resume=True) as run:
        resumed = Loop(training, Accelerator(cpu=True), loader := training.loader(), run)
        resumed.accelerator.load_state(tmp_path / "saved")
        loader.batch_sampler.set_update(resumed.large.update)
        resumed.train()
    assert differing(training.weights, resumed.network) == []
    assert_measured(stored("theirs").by_update)


def test_clipping_sees_the_unscaled_gradients_of_fp16_and_a_skipped_step_is_no_update(training, database, stored):
    """Accelerate gives fp16 to GPUs only: here its scaler is put into a loop on the CPU, at a scale that overflows."""
    accelerator = Accelerator(cpu=True)
    accelerator.state._mixed_precision, accelerator.native_amp = "fp16", True
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    with lbadvisor.record("theirs", training.plan.adapted, database=database, program="accelerate") as run:
        loop = Loop(training, accelerator, training.loader(), run, fused=False)
        loop.train()
    skipped = 100 - loop.large.update
    assert 10 < skipped < 30
    assert loop.accelerator.scaler.get_scale() == 2.0 ** (40 - skipped)
    theirs = [*stored("theirs").by_update.values()]
    assert theirs[-1].clipped_share == 0.0
    assert all(0.01 < one.gradient_norm < 10 for one in theirs)


def test_more_updates_than_the_plan_has_are_refused(training):
    loop = Loop(training, Accelerator(cpu=True), training.loader())
    loop.train()
    with pytest.raises(UsageError, match="the plan's 100 updates are made"):
        loop.train(1)


def test_a_state_of_another_plan_is_refused(training, tmp_path):
    loop = Loop(training, Accelerator(cpu=True), training.loader())
    loop.train(2)
    loop.accelerator.save_state(tmp_path)
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    other = Loop(
        training,
        Accelerator(cpu=True),
        training.loader(),
        plan=lbadvisor.plan(training.recipe, to=256, lr_rule="linear"),
    )
    with pytest.raises(RefusedError, match="another plan"):
        other.accelerator.load_state(tmp_path)


@pytest.mark.parametrize(
    ("size", "accumulated", "reason"),
    [
        (128, 1, "128 examples x 1 accumulated x 1 devices, the plan's batch is 256"),
        (16, 16, "batches of 16 would cut the plan's ghosts of 32"),
    ],
)
def test_batches_that_are_not_the_plans_are_refused(training, size, accumulated, reason):
    loader = DataLoader(training.examples, size, drop_last=True)
    with pytest.raises(UsageError, match=reason):
        Loop(training, Accelerator(cpu=True, gradient_accumulation_steps=accumulated), loader)


def test_a_smaller_last_batch_is_told(training):
    loader = DataLoader(training.examples, batch_sampler=BatchSampler(range(1297), 256, drop_last=False))
    with pytest.warns(UserWarning, match="the last batch of each epoch is smaller than the plan's"):
        Loop(training, Accelerator(cpu=True), loader)


SCRIPT = """
import gc
import sys
import torch
from accelerate import Accelerator, DataLoaderConfiguration
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import lbadvisor
from lbadvisor.integrations.accelerate_loop import AccelerateLargeBatch

network, examples, recipe = torch.load(sys.argv[1], weights_only=False)
plan = lbadvisor.plan(recipe, to=256)
accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(split_batches=True))
large = AccelerateLargeBatch(accelerator, plan)
optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
order = lbadvisor.UpdateBatchSampler(examples, plan)
model, optimizer, loader = large.prepare(network, optimizer, DataLoader(examples, batch_sampler=order))
for images, labels in loader:
    loss = cross_entropy(model(images), labels)
    accelerator.backward(loss)
    large.step(loss)
    optimizer.zero_grad()
assert (accelerator.num_processes, len(images), large.update) == (2, 128, 100)
if accelerator.is_main_process:
    torch.save(dict(network.named_parameters()), sys.argv[2])
# Otherwise torch's threads may still run when the interpreter ends, which then aborts.
accelerator.wait_for_everyone()
accelerator.free_memory()
del model, large, optimizer, loader, images, labels, loss
gc.collect()
accelerator.end_training()
"""


def test_two_processes_share_a_batch_and_step_the_rates_once_an_update(training, tmp_path):
    """Running statistics aside: those of plain ddp are the main process's."""
    script, given, made = tmp_path / "script.py", tmp_path / "given", tmp_path / "made"
    script.write_text(SCRIPT)
    torch.save((training.network(), training.examples, training.recipe), given)
    launch = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", str(script), str(given), str(made)]
    subprocess.run([sys.executable, *launch], check=True, timeout=120)
    for name, theirs in torch.load(made).items():
        ours = training.weights[name]
        assert (theirs - ours).norm() <= 1e-5 * ours.norm(), name
