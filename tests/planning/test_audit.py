"""What other trainers do with the batch size: numbers worked by hand from their published code."""

import json
import math

import pytest

from lbadvisor.errors import UsageError
from lbadvisor.planning.audit.audit import audit_of
from lbadvisor.planning.audit.audit_text import diagnosis_of


def audit(*words, form=None, devices=None, tuned=None):
    return audit_of(words, form, devices, tuned)


def row(found, what):
    return next(line for line in found.lines if line.what == what)


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A function that writes a file into an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def write(name, text):
        (tmp_path / name).write_text(text)
        return name

    return write


def test_timm_scales_sgd_linearly_from_256():
    found = audit("./distributed_train.sh 8 /data --model resnet50 -b 512")
    assert (found.trainer, found.batch_size, found.baseline_batch_size) == ("timm", 4096, 256)
    assert (found.lr, found.lr_factor, found.planned_lr_factor) == (1.6, 16, 4)
    assert "timm scales linearly here, by 16; the square-root rule gives 4" in found.departures
    assert (
        "timm makes 1/16 of the baseline's updates; the plan makes as many, in 16 times the epochs" in found.departures
    )
    assert row(found, "examples per device").source == "batch_size"
    assert row(found, "learning rate as written").source == "lr_base: timm's default"


@pytest.mark.parametrize(
    ("words", "lr"),
    [
        ("--opt adamw --lr-base 5e-4", 5e-4 * math.sqrt(1024 / 256)),
        ("--opt lamb --lr-base 5e-3 --lr-base-size 1024", 5e-3),
        ("--opt adamw --lr-base 5e-4 --lr-base-scale linear", 5e-4 * 4),
        ("--opt sgd --lr-base-scale sqrt", 0.2),
        ("--lr 0.3 --lr-base 7", 0.3),
        ("--lr 0 --lr-base 0.1", 0.4),
        ("--opt-eps 1e-3", 0.4),
    ],
)
def test_timm_uses_the_square_root_for_ada_and_lamb_and_lr_as_it_is(words, lr):
    found = audit(*f"torchrun --nproc_per_node=2 train.py /d -b 256 --grad-accum-steps 2 {words}".split())
    assert found.batch_size == 1024
    assert found.lr == pytest.approx(lr)


def test_timm_reads_args_yaml_and_the_command_line_over_it(written):
    name = written(
        "args.yaml", "batch_size: 64\nlr: null\nlr_base: 0.2\nopt: sgd\ngrad_accum_steps: 4\nsync_bn: true\n"
    )
    found = audit(name, devices=2)
    assert (found.batch_size, found.lr) == (512, 0.4)
    assert row(found, "examples per batch-norm statistic").trainer == 128
    over = audit("python", "train.py", "/d", "--config", name, "-b", "128", devices=2)
    assert over.batch_size == 1024


def test_a_script_with_one_command_is_read(written):
    name = written(
        "run.sh",
        "#!/bin/bash\n# timm\nexport OMP_NUM_THREADS=1\npython train.py /d \\\n  -b 512 --lr-base 0.1 && echo done\n",
    )
    assert audit(name, devices=2).lr == 0.4


def test_a_baseline_that_is_not_the_trainers_own_is_said():
    found = audit("train.py /d -b 1024 --lr-base 0.1", tuned=128)
    assert found.planned_lr_factor == pytest.approx(math.sqrt(8))
    assert found.departures[0] == (
        "timm takes --lr-base-size as its baseline (256, not 128) and scales linearly: x4 instead of x2.83"
    )


def test_big_batch_takes_the_ghost_size_as_its_baseline():
    readme = (
        "python main_gbn.py --dataset cifar10 --model resnet --epochs 100 --b 2048 --lr_bb_fix --mini-batch-size 256;"
    )
    found = audit(readme, tuned=128)
    assert found.lr_factor == pytest.approx(math.sqrt(8))
    assert found.departures[0] == (
        "bigBatch takes the ghost size as its baseline (256, not 128) and scales by the square root: "
        "x2.83 instead of x4"
    )
    assert row(found, "updates, times the baseline's").trainer == 1 / 16
    assert row(found, "clipping").trainer == "every update, at 5"


def test_big_batchs_own_baseline_run_gets_less_than_its_learning_rate():
    """main_normal.py divides by a hard-coded 256, by default: at 128 the regime's 0.1 becomes 0.0707."""
    found = audit("python main_normal.py --model resnet -b 128", tuned=128)
    assert found.lr == pytest.approx(0.1 * math.sqrt(0.5))
    assert "x0.707 instead of x1" in found.departures[0]


def test_big_batchs_regime_stretches_epochs_and_ignores_lr():
    found = audit("python main_normal.py --model resnet -b 2048 --regime_bb_fix --no-lr_bb_fix --lr 9", tuned=128)
    assert (found.lr, found.lr_factor) == (0.1, 1)
    assert row(found, "updates, times the baseline's").trainer == 0.5
    assert any("ignores lr" in note for note in found.notes)


def test_big_batch_cuts_a_batch_into_equal_chunks():
    """`chunk(1000 // 128)` makes 7 chunks of at most 143."""
    found = audit("python main_gbn.py --model resnet -b 1000")
    assert row(found, "examples per batch-norm statistic").trainer == 143


def test_hugging_face_has_no_rule(written):
    arguments = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 4, "learning_rate": 3e-5,
                 "optim": "adamw_torch_fused", "max_steps": -1, "weight_decay": 0.0, "adam_beta2": 0.999}  # fmt: skip
    name = written("training_args.json", json.dumps(arguments))
    found = audit(name, devices=4, tuned=16)
    assert (found.batch_size, found.lr, found.planned_lr_factor) == (256, 3e-5, 4)
    assert "Transformers does not scale the learning rate; the square-root rule gives x4" in found.departures
    assert row(found, "beta2").plan == pytest.approx(0.999**16)
    assert row(found, "updates, times the baseline's").trainer == 1 / 16
    by_steps = written("by_steps.json", json.dumps(arguments | {"max_steps": 1000}))
    assert row(audit(by_steps, devices=4, tuned=16), "updates, times the baseline's").trainer == 1


@pytest.mark.parametrize(
    ("words", "planned"),
    [
        ("train.py /d -b 512 --opt rmsprop", "--optimizer rmsprop --momentum 0.9 --beta2 0.9 --"),
        ("train.py /d -b 512 --opt rmsprop --opt-kwargs alpha=0.95 eps=1", "--beta2 0.95 --"),
        ("train.py /d -b 512 --opt adagrad", "--optimizer adagrad --epsilon 1e-08 --"),
        (
            "run.py --per_device_train_batch_size 512 --optim sgd --optim_args momentum=0.9,weight_decay=0.1",
            "--optimizer sgd --momentum 0.9 --weight-decay-value 0.1",
        ),
        ("run.py --per_device_train_batch_size 512 --optim rmsprop --optim_args alpha=0.95", "--beta2 0.95"),
    ],
)
def test_an_optimizers_settings_are_the_trainers_own_defaults_and_not_torchs(words, planned):
    """timm/optim/_optim_factory.py: RMSprop's alpha 0.9; transformers/trainer_optimizer.py: `optim_args`."""
    assert planned in audit(*words.split(), devices=1, tuned=256).plan_command + " --"


def test_mmengine_reads_the_alpha_of_rmsprop(written):
    optimizer = 'optim_wrapper = dict(optimizer=dict(type="RMSprop", lr=0.1, alpha=0.9))'
    name = written("c.py", f"train_dataloader = dict(batch_size=64)\n{optimizer}\n")
    assert "--beta2 0.9" in audit(name, devices=1, tuned=32).plan_command


def test_big_batch_says_which_program_it_takes_and_resets_only_a_momentum():
    found = audit("-b", "2048", "--lr_bb_fix", "--model", "cifar10_shallow")
    assert any("does not name the program: this is main_gbn.py" in note for note in found.notes)
    assert not any("momentum" in note for note in found.notes)
    named = audit("python main_gbn.py --model resnet -b 2048")
    assert not any("does not name the program" in note for note in named.notes)
    assert any("momentum starts from 0 once per epoch" in note for note in named.notes)


def test_batch_norm_is_not_taken_for_granted():
    found = audit("train.py /d -b 512 --opt adamw --model vit_base", devices=1, tuned=256)
    assert any(said.startswith("timm's batch norm, if there is any, spans 512 examples") for said in found.departures)


def test_a_trainer_state_is_told_from_the_arguments(written):
    with pytest.raises(UsageError, match="does not say how gradients are accumulated"):
        audit(written("trainer_state.json", '{"log_history": [], "global_step": 3, "train_batch_size": 8}'))


MMENGINE = """
_base_ = ["schedule.py"]
train_dataloader = dict(batch_size=8, num_workers=N_WORKERS, dataset=dict(type="X"))
model = dict(backbone=dict(norm_cfg=dict(type="SyncBN")))
raise SystemExit("a configuration is read, not run")
"""
SCHEDULE = """
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.02, momentum=0.9), accumulative_counts=2)
train_cfg = dict(by_epoch=True, max_epochs=12)
auto_scale_lr = dict(enable=False, base_batch_size=16)
"""


def test_mmengine_scales_linearly_if_enabled_and_forgets_accumulation(written):
    written("schedule.py", SCHEDULE)
    name = written("config.py", MMENGINE)
    off = audit(name, devices=8)
    assert (off.batch_size, off.lr, off.baseline_batch_size) == (128, 0.02, 16)
    on = audit(f"bash tools/dist_train.sh {name} 8 --auto-scale-lr")
    assert (on.batch_size, on.lr_factor, on.lr) == (128, 4, pytest.approx(0.08))
    assert any("leaves gradient accumulation out" in note for note in on.notes)
    assert row(on, "examples per batch-norm statistic").trainer == 64
    other = audit(f"tools/train.py {name} --auto-scale-lr --cfg-options optim_wrapper.optimizer.lr=0.01", devices=8)
    assert other.lr == pytest.approx(0.04)


DETECTRON2 = """
SOLVER:
  IMS_PER_BATCH: 16
  BASE_LR: 0.1
  REFERENCE_WORLD_SIZE: 8
  MAX_ITER: 5000
  STEPS: (4000,)
"""


def test_detectron2_scales_as_its_own_documentation_does(written):
    """`auto_scale_workers` documents 16 GPUs: batch 32, learning rate 0.2, half the iterations."""
    name = written("config.yaml", DETECTRON2)
    found = audit(name, devices=16)
    assert (found.batch_size, found.lr, found.baseline_batch_size) == (32, 0.2, 16)
    assert row(found, "updates, times the baseline's").trainer == 0.5
    assert audit(name, devices=8).lr == 0.1
    off = audit(f"train_net.py --num-gpus 2 --config-file {name} SOLVER.REFERENCE_WORLD_SIZE 0 SOLVER.BASE_LR 0.4")
    assert (off.batch_size, off.lr) == (16, 0.4)
    assert audit(written("c.py", "cfg.SOLVER.IMS_PER_BATCH = 4\ncfg.SOLVER.BASE_LR = 1.0\n")).batch_size == 4


def test_what_is_missing_is_asked_for_and_never_assumed_in_silence():
    found = audit("train.py /d -b 64 --lr 0.1 --opt sgd")
    assert (found.baseline_batch_size, found.planned_lr_factor, found.departures) == (None, None, ())
    assert any("give --from B" in note for note in found.notes)
    assert any("give --devices N" in note for note in found.notes)
    assert row(found, "devices").source == "not in the setting: one process, the default"
    own = audit("train.py /d -b 64 --opt sgd", devices=8)
    assert any("the baseline is the trainer's own, 256" in note for note in own.notes)


def test_an_unknown_optimizer_has_no_plan():
    found = audit("train.py /d -b 4096 --opt lamb", devices=1)
    assert found.planned_lr_factor is None
    assert any("no rules for the optimizer lamb" in note for note in found.notes)


def test_a_trainer_that_does_what_the_plan_says_departs_in_nothing():
    found = audit("train.py /d -b 256 --opt adamw --lr-base 1e-3", devices=1, tuned=256)
    assert found.departures == ()
    assert "departs from the plan in nothing" in diagnosis_of(found).conclusion


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing.yaml",), "there is no such file"),
        (("foo --bar 1",), "what is read: timm's command line or args.yaml"),
        (("train.py /d -b many",), "invalid int value: 'many'"),
        (("train.py /d -b 0",), "give a whole number above 0"),
        (("train.py /d --lr -1",), "a learning rate of -1"),
        (("train.py --config missing.yaml -b 8",), "missing.yaml cannot be read"),
        (("main_gbn.py -b 64 --mini-batch-size 128",), "cannot cut a batch of 64 into ghosts of 128"),
        (("train_net.py SOLVER.IMS_PER_BATCH 16 --num-gpus 3",), "which 3 devices cannot share evenly"),
        (("main_normal.py -b 128; main_gbn.py -b 256",), "2 commands in one text"),
        (("train.py 'never closed",), "No closing quotation"),
        (("tools/train.py --auto-scale-lr",), "give --format timm|mmengine"),
    ],
)
def test_a_setting_that_cannot_be_read_is_refused(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message.replace("|", r"\|")):
        audit(*words)


def test_devices_are_given_once():
    with pytest.raises(UsageError, match="--devices has no effect: the command line says"):
        audit("torchrun --nproc_per_node=8 train.py /d", devices=4)
    with pytest.raises(UsageError, match="--devices has no effect: bigBatch"):
        audit("main_gbn.py -b 2048", devices=4)
