"""`compute.compile`: the same training to rounding, the same bits after a stop, or an error that says what to do."""

import os
import shutil
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

from lbadvisor.errors import CompilationError
from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm
from lbadvisor.recipe.recipe import Recipe, recipe_hash
from lbadvisor.recipe.recipe_tables import Compute
from lbadvisor.training.batch import UpdateBatch
from lbadvisor.training.compilation import naming_the_compiler, training_forward
from lbadvisor.training.evaluation import evaluate
from lbadvisor.training.loop import train
from lbadvisor.training.micro_batches import backward
from lbadvisor.training.state import load_checkpoint, save_checkpoint, start_state

CPU = torch.device("cpu")
COMPILED = {"compute": {"compile": True}}
BODY = {
    "schema": 1,
    "name": "tiny",
    "data": {"name": "digits", "train_examples": 1297},
    "model": {"name": "digits_mlp"},
    "batch": {"size": 100},
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    "schedule": {"updates": 8},
    "batch_norm": {"ghost_batch_size": 16},
    "clipping": {"max_norm": 0.5},
    "measurements": {"every_updates": 1, "evaluate_every_updates": 4},
}

needs_a_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="no C++ compiler to compile for a CPU with"
)


@pytest.fixture(autouse=True)
def _compilers_warnings():
    """Torch's own modules warn of one another while it compiles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
    torch.compiler.reset()


def started(micro=None, **tables):
    state = start_state(Recipe.model_validate(BODY | tables), 0, (1, 8, 8), 10, CPU)
    state.micro_size = micro
    return state


def test_whether_it_compiles_belongs_to_the_recipe_and_the_default_is_the_network_itself():
    network = nn.Linear(2, 2)
    assert training_forward(network, Compute()) is network
    plain, named, compiled = (
        Recipe.model_validate(BODY | {"compute": c}) for c in ({}, {"compile": False}, {"compile": True})
    )
    assert recipe_hash(plain) == recipe_hash(named) != recipe_hash(compiled)


@needs_a_compiler
@pytest.mark.parametrize("definition", ["sequential", "total"])
def test_ghost_batch_norm_compiled_is_the_same_to_rounding(definition):
    """In float64, the last of six ghosts longer: loss, gradients and buffers, in one graph with its neighbours."""

    def network():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3), GhostBatchNorm(6, 8, running_statistics=definition), nn.ReLU(), nn.Flatten(),
            nn.Linear(96, 5),
        ).double()  # fmt: skip

    eager, of_compiled = network(), network()
    images, labels = torch.randn(51, 3, 6, 6, dtype=torch.float64), torch.randint(0, 5, (51,))
    compute = Compute(compile=True)
    batch = UpdateBatch(images, labels)
    forwards = (eager, training_forward(of_compiled, compute))
    losses = [backward(forward, batch, (51,), compute) for forward in forwards]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-12)
    for one, other in zip(eager.parameters(), of_compiled.parameters(), strict=True):
        assert (one.grad - other.grad).abs().max() < 1e-12
    for one, other in zip(eager.buffers(), of_compiled.buffers(), strict=True):
        assert (one - other).abs().max() < 1e-12


@needs_a_compiler
def test_a_compiled_training_is_training_to_rounding_and_goes_on_bit_for_bit(digits, tmp_path):
    """In micro-batches of two shapes, clipped, stopped and gone on with; its network has the names it always had."""
    eager, straight, first = started(32), started(32, **COMPILED), started(32, **COMPILED)
    of_eager, of_compiled = ([m.measurement for m in train(state, digits)] for state in (eager, straight))
    for one, other in zip(of_eager, of_compiled, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-4)
        assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-3)
    assert any(m.clipped_share for m in of_compiled)
    assert not torch.equal(eager.parameters[0], straight.parameters[0])
    assert list(straight.model.state_dict()) == list(eager.model.state_dict())

    updates = train(first, digits)
    for _ in range(3):
        next(updates)
    second = started(**COMPILED)
    load_checkpoint(save_checkpoint(tmp_path, first), second)
    list(train(second, digits))
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    assert evaluate(second, digits) == evaluate(straight, digits)


@needs_a_compiler
def test_many_trainings_in_one_process_compile(digits):
    """Torch compiles a piece of code 8 times, and would then stop."""
    for _ in range(10):
        list(train(started(**COMPILED, schedule={"updates": 1}), digits))


class _Printing(nn.Module):
    def forward(self, x):
        torch._dynamo.graph_break()
        return x


def test_what_cannot_be_compiled_whole_is_an_error_and_not_half_compiled():
    compute, x = Compute(compile=True), torch.zeros(2)
    forward = training_forward(_Printing(), compute)
    with pytest.raises(CompilationError, match="train without compiling"), naming_the_compiler(compute):
        forward(x)


WITHOUT_COMPILER = """
import os
os.environ["PATH"] = ""
os.environ["CXX"] = "no-such-compiler"
import torch
from torch import nn
from lbadvisor.recipe.recipe_tables import Compute
from lbadvisor.errors import CompilationError
from lbadvisor.training.compilation import naming_the_compiler, training_forward
compute = Compute(compile=True)
try:
    with naming_the_compiler(compute):
        training_forward(nn.ReLU(), compute)(torch.randn(3, 5, requires_grad=True)).sum().backward()
except CompilationError as error:
    print(error)
"""


def test_without_a_compiler_the_error_says_so(tmp_path):
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", WITHOUT_COMPILER], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "compiler" in done.stdout
    assert done.stdout.endswith("train without compiling: --set compute.compile=false\n")
