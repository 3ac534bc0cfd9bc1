"""What is exported, read by the trainers themselves: their parsers, configurations, optimizers and schedulers."""

import argparse
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lbadvisor.planning.export.planned_training import planned_training
from lbadvisor.planning.export.trainers import TRAINERS
from lbadvisor.planning.plan import advise
from lbadvisor.planning.request import Request
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.schedule import rates_at

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = """
schema = 1
name = "small"
data = {name = "digits", train_examples = 1000}
model = {name = "digits_mlp"}
batch = {size = 10}
schedule = {updates = 300}
"""
SGD = 'optimizer = {name = "sgd", lr = 0.05, momentum = 0.9, weight_decay = 0.01}\n'
ADAMW = 'optimizer = {name = "adamw", lr = 0.002, beta2 = 0.99, epsilon = 1e-7, weight_decay = 0.05}\n'
MILESTONES = ("schedule.milestones=[{update=100, lr_factor=0.5}, {update=200, lr_factor=0.05}]",)
EQUAL_STEPS = ("schedule.milestones=[{update=100, lr_factor=0.5}, {update=200, lr_factor=0.25}]",)
COSINE = ('schedule.decay="cosine"', "schedule.final_lr_factor=0.1")
LINEAR = ('schedule.decay="linear"', "schedule.final_lr_factor=0.1")
EXPONENTIAL = ('schedule.decay="exponential"', "schedule.final_lr_factor=0.1")
WARMUP = ("schedule.warmup_updates=30", "schedule.warmup_lr_factor=0.2")
SCHEDULES = {"constant": (), "milestones": MILESTONES, "cosine": COSINE, "linear": LINEAR, "exponential": EXPONENTIAL}


@pytest.fixture
def plan(tmp_path):
    """Makes the plan of a small recipe, from batches of 10 to batches of 40; its updates are kept."""

    def of(optimizer, *overrides):
        path = tmp_path / "small.toml"
        path.write_text(SMALL + optimizer)
        return advise(load_recipe(path, overrides), Request(40, ("lr", "ghost", "regime", "clip")))

    return of


def text_for(trainer, plan, devices=1):
    return TRAINERS[trainer](planned_training(plan, devices)).text


def names_of(trainer, plan, devices=1):
    names = {"__name__": "planned"}
    exec(compile(text_for(trainer, plan, devices), "planned.py", "exec"), names)
    return names


def planned_rates(plan):
    return [rates_at(plan.adapted, update).lr for update in range(plan.adapted.schedule.updates)]


def rates_of(optimizer, step, updates):
    """The rate of each update, if `step` follows each."""
    rates = []
    for update in range(updates):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        step(update)
    return rates


def largest_difference(rates, plan):
    """As a share of the plan's highest rate."""
    return max(abs(a - b) for a, b in zip(rates, planned_rates(plan), strict=True)) / max(planned_rates(plan))


def settings_of(optimizer, *names):
    groups = optimizer.param_groups
    assert len({str({name: group[name] for name in names}) for group in groups}) == 1
    return {name: groups[0][name] for name in names}


def planned_settings(plan):
    optimizer = plan.adapted.optimizer
    return {
        "betas": (optimizer.beta1, optimizer.beta2),
        "eps": optimizer.epsilon,
        "weight_decay": optimizer.weight_decay,
    }


def network():
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


def examples(count=1000):
    torch.manual_seed(0)
    return torch.utils.data.TensorDataset(torch.randn(count, 4), torch.randint(0, 3, (count,)))


# timm


def timm_arguments(plan):
    """The exported array as bash expands it, read as train.py reads it: flags and types are that script's.

    The script is not in timm's package; it hands what it has read to the functions called below.
    """
    from timm.utils import ParseKwargs

    whole = text_for("timm", plan) + 'printf "%s\\n" "${planned[@]}"'
    words = subprocess.run(["bash", "-c", whole], capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in ("batch-size", "grad-accum-steps", "epochs", "cooldown-epochs", "warmup-epochs"):
        parser.add_argument(f"--{flag}", type=int)
    for flag in (
        *(
            "lr",
            "momentum",
            "opt-eps",
            "weight-decay",
            "clip-grad",
            "min-lr",
            "warmup-lr",
            "decay-epochs",
            "decay-rate",
        ),
        *("smoothing", "drop", "bn-momentum", "model-ema-decay"),
    ):
        parser.add_argument(f"--{flag}", type=float, default=argparse.SUPPRESS)
    for flag in ("opt", "sched", "clip-mode", "amp-dtype", "lr-base-scale"):
        parser.add_argument(f"--{flag}", type=str)
    for flag in ("sched-on-updates", "amp", "torchcompile", "model-ema"):
        parser.add_argument(f"--{flag}", action="store_true")
    parser.add_argument("--opt-betas", type=float, nargs="+", default=None)
    parser.add_argument("--decay-milestones", type=int, nargs="+", default=argparse.SUPPRESS)
    parser.add_argument("--opt-kwargs", nargs="*", default={}, action=ParseKwargs)
    arguments = parser.parse_args(words)
    if not hasattr(arguments, "momentum"):
        arguments.momentum = 0.9
    return arguments


def timm_rates(plan, updates_per_epoch):
    from timm.optim import create_optimizer_v2, optimizer_kwargs
    from timm.scheduler import create_scheduler_v2, scheduler_kwargs

    arguments = timm_arguments(plan)
    optimizer = create_optimizer_v2(network(), **optimizer_kwargs(cfg=arguments), **arguments.opt_kwargs)
    scheduler, epochs = create_scheduler_v2(
        optimizer, **scheduler_kwargs(arguments), updates_per_epoch=updates_per_epoch
    )
    rates = rates_of(
        optimizer, lambda update: scheduler.step_update(num_updates=update + 1), epochs * updates_per_epoch
    )
    return optimizer, rates


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_timm_gives_the_plans_rate_to_every_update_of_its_schedules(plan, schedule):
    """25 whole batches of 40 in 1000 examples: 300 updates are 12 epochs, and the milestones whole epochs too."""
    pytest.importorskip("timm")
    made = plan(SGD, *(EQUAL_STEPS if schedule == "milestones" else SCHEDULES[schedule]))
    optimizer, rates = timm_rates(made, 25)
    assert type(optimizer) is torch.optim.SGD
    assert settings_of(optimizer, "momentum", "nesterov", "weight_decay") == {
        "momentum": 0.9, "nesterov": False, "weight_decay": 0.01
    }  # fmt: skip
    expected = planned_rates(made)
    if schedule == "milestones":
        # One update early, as the export says.
        expected[99], expected[199] = expected[100], expected[200]
    if schedule == "exponential":
        # Once an epoch, as the export says.
        expected = [made.adapted.optimizer.lr * 0.1 ** (update // 25 / 12) for update in range(300)]
    assert rates == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("schedule", "share"), [(COSINE, 0.04), (LINEAR, 0.13), ((), 0.04)])
def test_timms_warm_up_departs_from_the_plan_as_the_export_says(plan, schedule, share):
    """30 updates are rounded to an epoch of 25, the rate is full one update later, and no curve has yet begun."""
    pytest.importorskip("timm")
    made = plan(SGD, *schedule, *WARMUP)
    _, rates = timm_rates(made, 25)
    assert rates[0] == pytest.approx(planned_rates(made)[0], rel=1e-9)
    assert rates[30:] == pytest.approx(planned_rates(made)[30:], rel=1e-9)
    assert 0 < largest_difference(rates, made) < 0.15 + share


def test_timm_keeps_resnet44s_rate_but_for_half_an_epoch_around_each_milestone():
    pytest.importorskip("timm")
    made = advise(load_recipe(RECIPES / "resnet44.toml"), Request(4096, ("lr", "ghost", "regime", "clip")))
    _, rates = timm_rates(made, 12)
    expected = planned_rates(made)
    assert len(rates) == 78_120
    differing = {update for update, rate in enumerate(rates) if not math.isclose(rate, expected[update], rel_tol=1e-6)}
    # The milestones 31 641, 47 656 and 64 062 come at 31 643, 47 651 and 64 055: 2, 5 and 7 updates.
    assert differing == {*range(31_641, 31_643), *range(47_651, 47_656), *range(64_055, 64_062)}


def test_timm_makes_the_plans_adamw_with_decay_on_every_parameter(plan):
    pytest.importorskip("timm")
    made = plan(ADAMW, *COSINE)
    optimizer, _ = timm_rates(made, 25)
    assert type(optimizer) is torch.optim.AdamW
    assert settings_of(optimizer, "betas", "eps", "weight_decay") == planned_settings(made)


@pytest.mark.parametrize("name", ["adam", "rmsprop", "adagrad"])
def test_timm_makes_the_other_optimizers(plan, name):
    pytest.importorskip("timm")
    made = plan(f'optimizer = {{name = "{name}", lr = 0.01}}\n')
    optimizer, _ = timm_rates(made, 25)
    assert type(optimizer).__name__.lower() == name
    if name == "rmsprop":
        assert settings_of(optimizer, "alpha", "momentum") == {"alpha": made.adapted.optimizer.beta2, "momentum": 0.0}


# Transformers


@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_transformers_trains_at_the_plans_rates_with_the_exported_pair(plan, schedule, optimizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    made = plan(optimizer, *SCHEDULES[schedule], *WARMUP)
    names = names_of("transformers", made)
    arguments = names["arguments"](str(tmp_path), use_cpu=True, report_to=[], save_strategy="no")
    assert isinstance(arguments, transformers.TrainingArguments)
    assert (arguments.per_device_train_batch_size, arguments.max_steps) == (40, 300)
    assert arguments.learning_rate == made.adapted.optimizer.lr
    pair = names["optimizers"](network())
    assert rates_of(pair[0], lambda _: pair[1].step(), 300) == planned_rates(made)


def test_transformers_trainer_takes_the_arguments_and_the_pair(plan, tmp_path):
    transformers = pytest.importorskip("transformers")
    made = plan(SGD, *MILESTONES)

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = network()

        def forward(self, x, labels):
            logits = self.layers(x)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    names, model = names_of("transformers", made), Network()
    rows = [{"x": x, "labels": y} for x, y in examples()]
    more = {
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    pair = names["optimizers"](model)
    trainer = transformers.Trainer(
        model, names["arguments"](str(tmp_path), **more), train_dataset=rows, eval_dataset=rows[:40], optimizers=pair
    )
    done = trainer.train()
    assert done.global_step == 300
    assert type(model.layers[1]).__name__ == "GhostBatchNorm"
    assert pair[1].get_last_lr() == [rates_at(made.adapted, 300).lr]


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_transformers_own_schedules_are_the_plans_without_a_warm_up(plan, schedule, tmp_path):
    transformers = pytest.importorskip("transformers")
    made = plan(ADAMW, *SCHEDULES[schedule])
    arguments = names_of("transformers", made)["arguments"](str(tmp_path), use_cpu=True, report_to=[])
    words = [
        f"--output_dir={tmp_path}",
        f"--learning_rate={arguments.learning_rate}",
        f"--optim={arguments.optim.value}",
    ]
    (parsed,) = transformers.HfArgumentParser(transformers.TrainingArguments).parse_args_into_dataclasses(words)
    assert (parsed.learning_rate, parsed.optim) == (made.adapted.optimizer.lr, "adamw_torch")
    kind, settings = transformers.Trainer.get_optimizer_cls_and_kwargs(arguments)
    optimizer = kind(network().parameters(), **settings, weight_decay=arguments.weight_decay)
    assert settings_of(optimizer, "betas", "eps", "weight_decay") == planned_settings(made)
    scheduler = transformers.get_scheduler(
        arguments.lr_scheduler_type,
        optimizer,
        int(arguments.warmup_steps),
        arguments.max_steps,
        arguments.lr_scheduler_kwargs,
    )
    assert rates_of(optimizer, lambda _: scheduler.step(), 300) == pytest.approx(planned_rates(made), rel=1e-9)


def test_transformers_makes_the_plans_sgd_from_the_arguments(plan, tmp_path):
    transformers = pytest.importorskip("transformers")
    arguments = names_of("transformers", plan(SGD))["arguments"](str(tmp_path), use_cpu=True, report_to=[])
    kind, settings = transformers.Trainer.get_optimizer_cls_and_kwargs(arguments)
    optimizer = kind(network().parameters(), **settings)
    assert settings_of(optimizer, "lr", "momentum", "nesterov") == {"lr": 0.1, "momentum": 0.9, "nesterov": False}


# Lightning


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*num_workers")
def test_lightning_trains_with_the_exported_class(plan, tmp_path):
    lightning = pytest.importorskip("lightning")
    made = plan(SGD, *MILESTONES, *WARMUP)
    names = names_of("lightning", made)
    rates, clipped = [], []

    class Mine(names["Planned"], lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = network()

        def training_step(self, batch, _):
            rates.append(self.optimizers().param_groups[0]["lr"])
            return torch.nn.functional.cross_entropy(self.network(batch[0]), batch[1])

        def validation_step(self, batch, _):
            pass

        def clip_gradients(self, *_, **words):
            clipped.append((self.trainer.global_step, words["gradient_clip_val"]))

    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = names["trainer"](accelerator="cpu", default_root_dir=tmp_path, **quiet)
    model = Mine()
    loader = names["loader"](examples())
    assert loader.batch_size == 40
    trainer.fit(model, loader, torch.utils.data.DataLoader(examples(40)))
    assert trainer.global_step == 300
    assert rates == planned_rates(made)
    clipping = made.adapted.clipping
    assert clipped == [(update, clipping.max_norm) for update in range(clipping.updates)]
    assert type(model.network[1]).__name__ == "GhostBatchNorm"


# MMEngine


def mmengine_built(plan):
    from mmengine.config import Config
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import PARAM_SCHEDULERS

    config = Config.fromstring(text_for("mmengine", plan), ".py")
    wrapper = build_optim_wrapper(network(), config.optim_wrapper)
    schedulers = [PARAM_SCHEDULERS.build(one, default_args={"optimizer": wrapper}) for one in config.param_scheduler]
    return config, wrapper, schedulers


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("warmup", [(), WARMUP], ids=["", "warm-up"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_mmengines_schedulers_give_the_plans_rate_to_every_update(plan, schedule, warmup):
    pytest.importorskip("mmengine")
    made = plan(SGD, *SCHEDULES[schedule], *warmup)
    config, wrapper, schedulers = mmengine_built(made)
    assert (config.train_dataloader.batch_size, config.train_cfg.max_iters) == (40, 300)
    assert config.optim_wrapper.clip_grad.max_norm == made.adapted.clipping.max_norm

    rates = rates_of(wrapper.optimizer, lambda _: [one.step() for one in schedulers], 300)
    if schedule == "cosine" and warmup:
        # By less than the final rate, a tenth, as the export says.
        assert 0 < largest_difference(rates, made) < 0.1
        assert rates[30:] == pytest.approx(planned_rates(made)[30:], rel=0.002)
    else:
        assert rates == pytest.approx(planned_rates(made), rel=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_mmengines_runner_trains_without_scaling_the_rate(plan, tmp_path):
    pytest.importorskip("mmengine")
    from mmengine.hooks import Hook
    from mmengine.model import BaseModel
    from mmengine.runner import Runner

    rates = []

    class Rates(Hook):
        def before_train_iter(self, runner, **_):
            rates.extend(runner.optim_wrapper.get_lr()["lr"])

    class Network(BaseModel):
        def __init__(self):
            super().__init__()
            self.layers = network()

        def forward(self, inputs, targets, mode):  # noqa: ARG002
            return {"loss": torch.nn.functional.cross_entropy(self.layers(inputs), targets)}

    made = plan(ADAMW, *COSINE)
    config, _, _ = mmengine_built(made)
    config.train_cfg.pop("val_interval")
    runner = Runner(
        Network(),
        work_dir=str(tmp_path),
        train_dataloader={**config.train_dataloader, "dataset": examples(), "collate_fn": {"type": "default_collate"}},
        train_cfg=config.train_cfg,
        optim_wrapper=config.optim_wrapper,
        param_scheduler=config.param_scheduler,
        auto_scale_lr=config.auto_scale_lr,
        default_scope="mmengine",
        experiment_name=tmp_path.name,
        custom_hooks=[Rates()],
    )
    runner.train()
    optimizer = runner.optim_wrapper.optimizer
    assert settings_of(optimizer, "betas", "eps", "weight_decay") == planned_settings(made)
    assert rates == pytest.approx(planned_rates(made), rel=1e-6)


# torchtitan


def torchtitan_config(plan, tmp_path, monkeypatch):
    from torchtitan.config import ConfigManager

    (tmp_path / "planned.py").write_text(text_for("torchtitan", plan))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "planned", raising=False)
    return ConfigManager().parse_args(["--module", "planned", "--config", "planned", "--debug.seed", "1"])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
@pytest.mark.parametrize("warmup", [(), ("schedule.warmup_updates=30",)], ids=["", "warm-up"])
def test_torchtitan_builds_the_plans_optimizer_and_schedule(plan, schedule, warmup, tmp_path, monkeypatch):
    pytest.importorskip("torchtitan")
    made = plan(ADAMW, *SCHEDULES[schedule], *warmup)
    config = torchtitan_config(made, tmp_path, monkeypatch)
    assert (config.training.global_batch_size, config.training.local_batch_size, config.training.steps) == (40, 40, 300)
    assert config.debug.seed == 1
    config.optimizer.implementation = "for-loop"
    optimizers = config.optimizer.build(model_parts=[network()])
    (optimizer,) = optimizers.optimizers
    assert settings_of(optimizer, "betas", "eps", "weight_decay") == planned_settings(made)
    schedulers = config.lr_scheduler.build(optimizers=optimizers, training_steps=config.training.steps)
    rates = rates_of(optimizer, lambda _: schedulers.step(), 300)
    if warmup and schedule != "constant":
        # Decays begin after the warm-up, as the export says.
        assert rates[:1] == pytest.approx(planned_rates(made)[:1], rel=1e-9)
        assert 0 < largest_difference(rates, made) < 0.15
    else:
        assert rates == pytest.approx(planned_rates(made), rel=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_torchtitan_stops_at_an_optimizer_that_it_lacks(plan, tmp_path, monkeypatch):
    pytest.importorskip("torchtitan")
    config = torchtitan_config(plan(SGD, *MILESTONES), tmp_path, monkeypatch)
    with pytest.raises(NotImplementedError, match="SGD"):
        config.optimizer.build(model_parts=[network()])


# Composer and Detectron2, which pins another torch and is not on the index: tested where they are installed


@pytest.mark.filterwarnings("ignore")
def test_composer_trains_with_the_exported_functions(plan):
    composer = pytest.importorskip("composer")
    made = plan(SGD, *MILESTONES, *WARMUP)
    names, rates = names_of("composer", made), []

    class Rates(composer.Callback):
        def batch_start(self, state, logger):  # noqa: ARG002
            rates.append(state.optimizers[0].param_groups[0]["lr"])

    model = composer.models.ComposerClassifier(network(), num_classes=3)
    loader = names["loader"](examples())
    trainer = names["trainer"](model, train_dataloader=loader, callbacks=[Rates()], device="cpu", progress_bar=False)
    trainer.fit()
    assert rates == pytest.approx(planned_rates(made), rel=1e-12)
    assert type(model.module[1]).__name__ == "GhostBatchNorm1d"


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_detectron2_gives_the_plans_rate_to_every_update(plan, schedule, tmp_path):
    pytest.importorskip("detectron2")
    from detectron2.config import get_cfg
    from detectron2.solver import build_lr_scheduler, build_optimizer

    made = plan(SGD, *SCHEDULES[schedule])
    (tmp_path / "planned.yaml").write_text(text_for("detectron2", made))
    config = get_cfg()
    config.merge_from_file(str(tmp_path / "planned.yaml"))
    optimizer = build_optimizer(config, network())
    scheduler = build_lr_scheduler(config, optimizer)
    assert rates_of(optimizer, lambda _: scheduler.step(), 300) == pytest.approx(planned_rates(made), rel=1e-9)
