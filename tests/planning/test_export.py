"""What other trainers are given: the plan's numbers, the reason for each, and what they cannot express."""

import itertools
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from lbadvisor.errors import PlanError
from lbadvisor.planning.export.exported import Exported, TextLine
from lbadvisor.planning.export.planned_training import planned_training
from lbadvisor.planning.export.trainers import TRAINERS
from lbadvisor.planning.plan import advise
from lbadvisor.planning.request import Request
from lbadvisor.planning.rules import LR_RULES
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.schedule import in_updates, rates_at
from lbadvisor.recipe.settings import recipe_of_settings

RECIPES = Path(__file__).parents[2] / "recipes"
ALL_PARTS = ("lr", "ghost", "regime", "clip")
HOFFER = "Hoffer, Hubara, Soudry 2017, arXiv:1705.08741"


def recipe(name, *overrides):
    return load_recipe(RECIPES / f"{name}.toml", overrides)


def exported(trainer, source, target=None, devices=1):
    plan = source if target is None else advise(source, Request(target, ALL_PARTS))
    return TRAINERS[trainer](planned_training(plan, devices))


def module(export):
    names = {}
    exec(compile(export.text, "planned.py", "exec"), names)
    return names


def comments(export):
    return {line.text.strip(): line.comment for line in export.lines}


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_is_exported_for_every_trainer_in_its_language(trainer, path):
    export = exported(trainer, load_recipe(path), 256)
    if export.language == "python":
        compile(export.text, "planned.py", "exec")
    elif export.language == "yaml":
        assert yaml.safe_load(export.text)["SOLVER"]["IMS_PER_BATCH"] == 256
    else:
        assert subprocess.run(["bash", "-n"], input=export.text, text=True, check=False).returncode == 0


@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_setting_has_a_reason_and_a_changed_one_its_rule_and_source(trainer):
    said = comments(exported(trainer, recipe("resnet44"), 4096))
    reasons = set(said.values())
    assert f"0.1 -> 0.565685, sqrt: lr * sqrt(r) ({HOFFER})" in {reason.partition("; ")[0] for reason in reasons}
    assert any(reason.startswith("128 -> 4,096, target: B_L (requested)") for reason in reasons)
    assert any(f"kept, regime adaptation: updates ({HOFFER})" in reason for reason in reasons)
    settings = [text for text in said if text.startswith("--") or (text.endswith(",") and "=" in text)]
    assert [text for text in settings if not said[text] and "model=model" not in text] == []


def test_a_recipe_that_is_not_adapted_is_exported_as_it_is():
    export = exported("torch", recipe("resnet44"))
    assert export.title == "resnet44 at batch size 128: as in the recipe"
    assert comments(export)["UPDATES = 78125"] == "as in the recipe"
    assert "->" not in export.text.replace("-> ", "")


CURVE = ("digits", "schedule.milestones=[]", "schedule.final_lr_factor=0.03")
SCHEDULES = {
    "milestones": ("cifar10_c1", "data.train_examples=5_000"),
    "unequal milestones": ("imagenet_alexnet", "data.train_examples=10_000"),
    "cosine": (*CURVE, 'schedule.decay="cosine"'),
    "linear": (*CURVE, 'schedule.decay="linear"'),
    "exponential": (*CURVE, 'schedule.decay="exponential"'),
}
WARMUPS = {"no warm-up": (), "warm-up": ("schedule.warmup_updates=37", "schedule.warmup_lr_factor=0.2")}


@pytest.mark.parametrize("warmup", WARMUPS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_exported_learning_rate_is_the_recipes_bit_by_bit(schedule, warmup):
    source = recipe(*SCHEDULES[schedule], *WARMUPS[warmup])
    factor = module(exported("torch", source))["lr_factor"]
    counted = in_updates(source)
    updates = range(counted.schedule.updates)
    assert [source.optimizer.lr * factor(u) for u in updates] == [rates_at(counted, u).lr for u in updates]


SMALL = """
schema = 1
name = "small"
data = {name = "digits", train_examples = 100}
model = {name = "digits_mlp"}
batch = {size = 10}
optimizer = {name = "sgd", lr = 0.5, momentum = 0.9, weight_decay = 0.01}
schedule = {updates = 23, milestones = [{update = 8, lr_factor = 0.5, weight_decay = 0.1}]}
clipping = {max_norm = 0.05, updates = 5}
"""


def test_the_torch_code_trains_as_a_loop_written_by_hand(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(100, 4), torch.randint(0, 3, (100,)))
    first, second = (torch.nn.Linear(4, 3) for _ in range(2))
    second.load_state_dict(first.state_dict())

    torch.manual_seed(1)
    module(exported("torch", load_recipe(path)))["train"](first, data)

    torch.manual_seed(1)
    loader = torch.utils.data.DataLoader(data, 10, shuffle=True, drop_last=True)
    optimizer = torch.optim.SGD(second.parameters(), lr=0.5, momentum=0.9, weight_decay=0.01)
    epochs = itertools.chain.from_iterable(loader for _ in range(3))
    for update, (inputs, targets) in enumerate(itertools.islice(epochs, 23)):
        optimizer.param_groups[0].update(lr=0.5 if update < 8 else 0.25, weight_decay=0.01 if update < 8 else 0.1)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(second(inputs), targets).backward()
        if update < 5:
            torch.nn.utils.clip_grad_norm_(second.parameters(), 0.05)
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_torch_code_trains_with_ghosts(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL + "batch_norm = {ghost_batch_size = 5}\n")
    data = torch.utils.data.TensorDataset(torch.randn(100, 4), torch.randint(0, 4, (100,)))
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 4))
    module(exported("torch", load_recipe(path)))["train"](model, data)
    assert type(model[0]).__name__ == "GhostBatchNorm"
    assert model[0].num_batches_tracked == 46


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "clipping={max_norm=1.0, updates=9}",
            "the clipping warm-up: the plan clips the gradient norm in the first 9 ",
        ),
        ("weight_ema={decay=0.99}", "the moving average of the weights with decay 0.99"),
        ("batch_norm={recompute_at_end=true}", "the exact batch-norm statistics at the end"),
        ('compute={precision="bf16"}', "bfloat16 as the precision"),
        ("compute={compile=true}", "torch.compile"),
        ("compute={tf32=true}", "TensorFloat-32"),
        ("regularization={dropout=0.3}", "dropout of 0.3"),
        ("regularization={label_noise=0.2}", "random labels for a share of 0.2"),
        ("regularization={drop_connect=0.1}", "drop connect of 0.1"),
        ('gradient_noise={kind="gaussian", ratio=8.0}', "multiplicative gradient noise: gaussian, of variance 7"),
        ("batch_norm={momentum=0.3}", "batch norm's momentum of 0.3"),
        ("schedule.milestones[0].weight_decay=0.5", "the weight decay's changes, to 0.5 at update "),
        ("schedule.milestones[0].distance=2.0", "milestones that come early at a weight distance"),
        ("batch_norm={ghost_batch_size=8}", "ghost batch norm: in the plan 8 examples share batch-norm statistics, "),
        ("batch_norm={ghost_batch_size=32}", "ghost batch norm as such: the 32 examples of each device are one ghost"),
    ],
)
def test_what_detectron2_lacks_is_said_only_if_the_training_has_it(override, sentence):
    def said(*overrides):
        return [s for s in exported("detectron2", recipe("digits", *overrides)).cannot if s.startswith(sentence)]

    assert (len(said()), len(said(override))) == (0, 1)


def test_what_a_loader_leaves_out_of_an_epoch_is_counted():
    """50 000 = 12 * 4096 + 848; on 8 devices each has 6250 = 12 * 512 + 106, which is the same 848 in all."""
    for devices in (1, 8):
        cannot = exported("torch", recipe("resnet44"), 4096, devices).cannot
        assert any("leaves 848 of 50,000 examples, 1.7%, out of each epoch" in sentence for sentence in cannot)
    assert not any("batches across" in sentence for sentence in exported("torch", recipe("resnet44"), 5000).cannot)


@pytest.mark.parametrize(
    ("trainer", "per_device"),
    [
        ("timm", "--batch-size 512"),
        ("lightning", "BATCH_SIZE = 512"),
        ("transformers", "BATCH_SIZE = 512"),
        ("torchtitan", "training.local_batch_size = 512"),
        ("mmengine", "batch_size=512,"),
        ("detectron2", "IMS_PER_BATCH: 4096"),
        ("composer", "BATCH_SIZE = 512"),
        ("torch", "BATCH_SIZE = 512"),
    ],
)
def test_a_batch_is_shared_by_devices_as_the_trainer_counts_it(trainer, per_device):
    assert per_device in comments(exported(trainer, recipe("resnet44"), 4096, 8))


def test_devices_that_cannot_share_a_batch_equally_are_refused():
    with pytest.raises(PlanError, match="4,096 examples cannot be shared equally by 3 devices"):
        exported("timm", recipe("resnet44"), 4096, 3)


@pytest.mark.parametrize(
    ("trainer", "off"),
    [
        ("timm", "--lr 0.4"),
        ("mmengine", "auto_scale_lr = dict(enable=False, base_batch_size=2048)"),
        ("detectron2", "REFERENCE_WORLD_SIZE: 0"),
        ("composer", "scale_schedule_ratio=1.0,"),
        ("transformers", "auto_find_batch_size=False,"),
    ],
)
def test_the_trainers_own_scaling_is_off(trainer, off):
    """0.1 * sqrt(2048 / 128) = 0.4; timm scales --lr-base only if --lr is absent."""
    assert off in comments(exported(trainer, recipe("resnet44"), 2048))


def test_timm_counts_whole_epochs_of_whole_batches():
    """12 updates an epoch: 78 125 / 12 = 6510.4, 31 641 / 12 = 2636.75, 47 656 / 12 = 3971.3, 64 062 / 12 = 5338.5."""
    said = comments(exported("timm", recipe("resnet44"), 4096))
    assert said["--epochs 6510"].startswith("78,120 updates for 78,125: ")
    milestones = said["--decay-milestones 2637 3971 5338 --decay-rate 0.1"]
    assert milestones.startswith("31,644, 47,652, 64,056 updates for 31,641, 47,656, 64,062: ")


def test_milestones_with_factors_of_their_own_are_told_to_a_trainer_with_one():
    """AlexNet's rates fall by 0.5, 0.2, 0.5 and 0.2, to 0.01 in all: four factors of 0.01^(1/4) = 0.3162."""
    for trainer in ("timm", "detectron2"):
        cannot = exported(trainer, recipe("imagenet_alexnet"), 256).cannot
        assert any("0.5, 0.1, 0.05, 0.01 of the rate: one factor from each to the next, 0.3162" in s for s in cannot)
        assert not any("of the rate: one factor" in s for s in exported(trainer, recipe("resnet44"), 256).cannot)
    gammas = {text for text in comments(exported("mmengine", recipe("imagenet_alexnet"))) if "MultiStepLR" in text}
    assert gammas == {
        "dict(type='MultiStepLR', by_epoch=False, milestones=[100091, 200182], gamma=0.5),",
        "dict(type='MultiStepLR', by_epoch=False, milestones=[150137, 250228], gamma=0.2),",
    }


def test_detectron2_gets_the_published_keys_alone():
    """Of detectron2/config/defaults.py at github facebookresearch/detectron2; the package is not on the index."""
    published = {
        "LR_SCHEDULER_NAME", "MAX_ITER", "BASE_LR", "BASE_LR_END", "MOMENTUM", "NESTEROV", "WEIGHT_DECAY",
        "WEIGHT_DECAY_NORM", "GAMMA", "STEPS", "WARMUP_FACTOR", "WARMUP_ITERS", "WARMUP_METHOD", "CHECKPOINT_PERIOD",
        "IMS_PER_BATCH", "REFERENCE_WORLD_SIZE", "BIAS_LR_FACTOR", "WEIGHT_DECAY_BIAS", "CLIP_GRADIENTS", "AMP",
    }  # fmt: skip
    overrides = ("optimizer.lr=1e-05", "schedule.warmup_updates=5", "schedule.warmup_lr_factor=0.5")
    solver = yaml.safe_load(exported("detectron2", recipe("resnet44", *overrides)).text)["SOLVER"]
    assert solver.keys() <= published
    # From 0.5 to 1 in five updates: 0.6 first, and 4 later 1.
    assert (solver["WARMUP_FACTOR"], solver["WARMUP_ITERS"]) == (0.6, 4)
    assert solver["BASE_LR"] == 1e-05


def test_a_text_begins_with_what_it_is_and_what_it_lacks():
    export = Exported(
        "torch",
        "python",
        "small at batch size 8",
        "Run it.",
        (TextLine("x = 1", "one"), TextLine("y = 22")),
        ("z",),
    )
    assert export.text == (
        "# small at batch size 8\n# Run it.\n#\n# Not expressed here:\n# - z\n\nx = 1  # one\ny = 22\n"
    )


def test_the_linear_rule_is_named_with_its_source():
    plan = advise(recipe("resnet44"), Request(4096, ("lr",), lr_rule=LR_RULES["linear"]))
    said = comments(TRAINERS["timm"](planned_training(plan)))
    assert said["--lr 3.2"].startswith("0.1 -> 3.2, linear: lr * r (Goyal et al. 2017, arXiv:1706.02677)")


def test_numbers_that_a_recorded_training_lacks_are_not_made_up():
    known = {"batch_size": 32, "optimizer": "adamw", "lr": 0.001, "examples": 1000, "epochs": 3}
    assert "lr=0.001," in comments(exported("mmengine", recipe_of_settings(known, "mine", "my trainer")))
    del known["lr"]
    with pytest.raises(PlanError, match=r"recorded without optimizer\.lr: add what it had"):
        exported("mmengine", recipe_of_settings(known, "mine", "my trainer"))


def test_the_loss_of_a_regression_and_a_users_own_are_told():
    data, network = 'data={factory="mine:data", train_examples=1297}', 'model={factory="mine:network"}'
    regression = exported("torch", recipe("digits", 'task={kind="regression"}', data, network))
    assert "def train(model, data, loss_of=torch.nn.functional.mse_loss):" in regression.text
    assert "the loss (the mean squared error)" in regression.cannot[-1]
    own = exported("torch", recipe("digits", 'task={loss={factory="torch.nn:HuberLoss"}}', data, network))
    assert "the loss (torch.nn:HuberLoss)" in own.cannot[-1]


def test_timms_own_network_is_named_in_its_command():
    assert "--model resnet18 " in exported("timm", recipe("digits", 'model.name="timm:resnet18"')).usage
    assert "--model MODEL " in exported("timm", recipe("digits")).usage
