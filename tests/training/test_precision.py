"""What a recipe's `[compute]` does: bfloat16 where it is asked for, in training and evaluation; TF32 on CUDA alone."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from lbadvisor.errors import UsageError
from lbadvisor.recipe.recipe import Recipe, recipe_hash
from lbadvisor.recipe.recipe_tables import Compute
from lbadvisor.training.batch import UpdateBatch
from lbadvisor.training.data.pixels import normalized
from lbadvisor.training.evaluation import evaluate
from lbadvisor.training.loop import train
from lbadvisor.training.micro_batches import backward
from lbadvisor.training.precision import check_capability, check_compute
from lbadvisor.training.state import load_checkpoint, save_checkpoint, start_state

CPU = torch.device("cpu")
BODY = {
    "schema": 1,
    "name": "tiny",
    "data": {"name": "digits", "train_examples": 1297},
    "model": {"name": "digits_mlp"},
    "batch": {"size": 96},
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    "schedule": {"updates": 40},
    "batch_norm": {"ghost_batch_size": 32},
    "measurements": {"every_updates": 3, "evaluate_every_updates": 10},
}
BF16 = {"compute": {"precision": "bf16"}}


def started(**tables):
    return start_state(Recipe.model_validate(BODY | tables), 0, (1, 8, 8), 10, CPU)


def test_the_gradients_are_those_of_torchs_autocast_with_the_loss_in_float32():
    torch.manual_seed(0)
    network, images, labels = nn.Linear(64, 10), torch.randn(32, 64), torch.randint(0, 10, (32,))
    loss = backward(network, UpdateBatch(images, labels), (32,), Compute(precision="bf16"))
    got = network.weight.grad
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(images)
    assert logits.dtype is torch.bfloat16
    expected = nn.functional.cross_entropy(logits.float(), labels)
    expected.backward()
    assert loss.dtype is torch.float32
    assert torch.equal(loss, expected)
    assert torch.equal(got, network.weight.grad)


def test_a_training_in_bf16_learns_and_keeps_float32_weights_and_statistics(digits):
    state = started(**BF16)
    last = [m.measurement for m in train(state, digits) if m is not None][-1]
    assert last.evaluation_accuracy_percent > 90
    assert {v.dtype for v in state.model.state_dict().values()} == {torch.float32, torch.int64}
    plain = started()
    list(train(plain, digits))
    assert not torch.equal(plain.parameters[0], state.parameters[0])


def test_evaluation_is_in_bf16_too(digits):
    state = started(**BF16)
    list(train(state, digits))
    loss, _ = evaluate(state, digits)
    state.model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = state.model(normalized(digits, digits.test.images_NCHW))
    assert loss == pytest.approx(nn.functional.cross_entropy(logits.float(), digits.test.labels_N).item(), rel=1e-5)
    with torch.no_grad():
        exact = nn.functional.cross_entropy(
            state.model(normalized(digits, digits.test.images_NCHW)), digits.test.labels_N
        )
    assert loss != pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize("at", [1, 17])
def test_an_interrupted_run_in_bf16_ends_bitwise_equal(digits, tmp_path, at):
    straight, first = started(**BF16), started(**BF16)
    list(train(straight, digits))
    updates = train(first, digits)
    for _ in range(at):
        next(updates)
    second = started(**BF16)
    load_checkpoint(save_checkpoint(tmp_path, first), second)
    list(train(second, digits))
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_tf32_is_refused_where_there_is_none():
    with pytest.raises(UsageError, match="no meaning on the device cpu"):
        check_compute(Compute(tf32=True), CPU)
    check_compute(Compute(), CPU)


def test_what_a_gpu_lacks_is_refused_by_its_name_and_capability():
    for capability in ((8, 0), (8, 9), (9, 0), (12, 0)):
        check_capability(Compute(tf32=True), "a card", capability)
        check_capability(Compute(precision="bf16"), "a card", capability)
    for capability in ((7, 0), (7, 5)):
        check_capability(Compute(), "Tesla", capability)
        with pytest.raises(UsageError, match=r"the GPU Tesla has no TF32: .* 7\.\d, but .* 8\.0: give .*tf32=false"):
            check_capability(Compute(tf32=True), "Tesla", capability)
        with pytest.raises(UsageError, match=r'has no bf16: .*give --set compute\.precision="float32"'):
            check_capability(Compute(precision="bf16"), "Tesla", capability)


TF32 = """
import torch
from lbadvisor.recipe.recipe_tables import Compute
from lbadvisor.training.precision import set_tf32

{before}
for tf32 in ({order}):
    set_tf32(Compute(tf32=tf32))
    backends = torch.backends
    old = backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32
    new = backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision, backends.cudnn.rnn.fp32_precision
    print(*old, *new)
{after}
"""
SAID = {True: "True True tf32 tf32 tf32", False: "False False ieee ieee ieee"}


@pytest.mark.parametrize(
    ("before", "order", "after"),
    [
        ("", (True, False, True), "assert torch.get_float32_matmul_precision() == 'high'"),
        ("", (False, True, False), "assert torch.get_float32_matmul_precision() == 'highest'"),
        ("torch.backends.fp32_precision = 'tf32'", (False, True), ""),
    ],
)
def test_tf32_is_what_the_recipe_says_by_torchs_old_flags_and_by_its_new_ones(before, order, after):
    """In a process of its own: reading an old flag raises if the new ones say otherwise."""
    program = TF32.format(before=before, order=", ".join(map(str, order)), after=after)
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [SAID[tf32] for tf32 in order]


def test_the_numbers_belong_to_the_recipe_and_the_default_keeps_the_hash_of_before():
    """The hash was noted before there was a `[compute]`, of tests/recipe/test_recipe.py's recipe."""
    body = {
        "schema": 1,
        "name": "small",
        "data": {"name": "digits", "train_examples": 1000},
        "model": {"name": "digits_mlp"},
        "batch": {"size": 50},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "schedule": {"epochs": 10},
    }
    noted = "859ae665a4148c8e3eedfb756cbb46956464bfcb06be3881bef069c00255027b"
    assert recipe_hash(Recipe.model_validate(body)) == noted
    assert recipe_hash(Recipe.model_validate(body | {"compute": {"precision": "float32"}})) == noted
    hashes = {recipe_hash(Recipe.model_validate(body | {"compute": c})) for c in (BF16["compute"], {"tf32": True}, {})}
    assert len(hashes) == 3
