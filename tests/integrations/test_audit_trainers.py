"""`audit` against the trainers themselves: the learning rate that it announces is the one they train with."""

import pytest
import torch

from lbadvisor.planning.audit.audit import audit_of

NETWORK = """
_base_ = ["schedule.py"]
train_dataloader = dict(batch_size=32, num_workers=0, dataset=None, sampler=None)
"""
SCHEDULE = """
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=1e-4))
train_cfg = dict(by_epoch=True, max_epochs=12)
auto_scale_lr = dict(enable=True, base_batch_size=16)
"""


@pytest.mark.filterwarnings("ignore")
def test_mmengine_trains_with_the_learning_rate_that_audit_announces(tmp_path):
    pytest.importorskip("mmengine")
    from mmengine.config import Config
    from mmengine.model import BaseModel
    from mmengine.runner import Runner
    from torch.utils.data import DataLoader, TensorDataset

    class Linear(BaseModel):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def forward(self, inputs, mode="tensor"):
            return {mode: self.layer(inputs)}

    (tmp_path / "schedule.py").write_text(SCHEDULE)
    (tmp_path / "config.py").write_text(NETWORK)
    config = Config.fromfile(tmp_path / "config.py")
    found = audit_of([str(tmp_path / "config.py")], None, 1, None)
    loader = DataLoader(TensorDataset(torch.zeros(64, 2)), batch_size=config.train_dataloader.batch_size)
    runner = Runner(
        Linear(), str(tmp_path / "work"), train_dataloader=loader, train_cfg=config.train_cfg,
        optim_wrapper=config.optim_wrapper, auto_scale_lr=config.auto_scale_lr, default_scope="mmengine",
    )  # fmt: skip
    wrapper = runner.build_optim_wrapper(config.optim_wrapper)
    runner.scale_lr(wrapper, runner.auto_scale_lr)
    assert found.lr == pytest.approx(wrapper.param_groups[0]["lr"])
    assert found.lr == pytest.approx(0.04)
    (tmp_path / "dumped.py").write_text(config.pretty_text)
    assert audit_of([str(tmp_path / "dumped.py")], None, 1, None).lr == found.lr


@pytest.mark.filterwarnings("ignore")
def test_the_trainer_of_transformers_trains_with_what_audit_announces(tmp_path):
    transformers = pytest.importorskip("transformers")
    arguments = transformers.TrainingArguments(
        str(tmp_path / "out"), per_device_train_batch_size=4, gradient_accumulation_steps=3, learning_rate=3e-4,
        weight_decay=0.1, adam_beta2=0.98, use_cpu=True, report_to=[],
    )  # fmt: skip
    (tmp_path / "arguments.json").write_text(arguments.to_json_string())
    found = audit_of([str(tmp_path / "arguments.json")], None, 1, 4)
    trainer = transformers.Trainer(torch.nn.Linear(2, 1), arguments)
    trainer.create_optimizer()
    group = trainer.optimizer.param_groups[0]
    assert found.lr == group["lr"]
    assert found.batch_size == arguments.train_batch_size * arguments.gradient_accumulation_steps
    moved = {line.what: line.trainer for line in found.lines}
    assert (moved["beta2"], moved["weight_decay"]) == (group["betas"][1], group["weight_decay"])


def test_each_optimizer_of_timm_has_a_rule():
    """Timm's train.py takes the square root for names with `ada` or `lamb`; the learning rate follows either way."""
    optim = pytest.importorskip("timm.optim")
    for name in optim.list_optimizers():
        found = audit_of(["train.py", "/d", "-b", "1024", "--opt", name], None, 1, None)
        by_root = any(part in name for part in ("ada", "lamb"))
        assert found.lr == pytest.approx(0.2 if by_root else 0.4), name
    for name, kind in (("adamw", "AdamW"), ("sgd", "SGD"), ("momentum", "SGD"), ("rmsprop", "RMSprop")):
        parameter = torch.nn.Parameter(torch.zeros(1))
        made = optim.create_optimizer_v2([parameter], opt=name, lr=0.1, momentum=0.9)
        planned = audit_of(["train.py", "/d", "-b", "1024", "--opt", name], None, 1, None).plan_command
        assert type(made).__name__ == kind
        assert f"--optimizer {kind.lower()}" in (planned or "")
        settings = made.param_groups[0]
        for word, setting in (("--beta2", "alpha"), ("--momentum", "momentum")):
            assert setting not in settings or f"{word} {settings[setting]:g}" in (planned or "")
