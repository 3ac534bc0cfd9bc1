"""Micro-batches are for memory only: the same ghosts, the same gradients to rounding, the same bits after a stop."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from lbadvisor.batch_cuts import ghost_slices
from lbadvisor.errors import OutOfMemoryError, UsageError
from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm
from lbadvisor.planning.batch_division import WholeBatch, check_micro_size, halved_micro_sizes, micro_slices
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Compute
from lbadvisor.training.batch import UpdateBatch
from lbadvisor.training.loop import train
from lbadvisor.training.memory import largest_micro_size, naming_what_fits
from lbadvisor.training.micro_batches import backward
from lbadvisor.training.state import load_checkpoint, save_checkpoint, start_state

CPU = torch.device("cpu")


def recipe(size, ghost=None, **tables):
    body = {
        "schema": 1,
        "name": "tiny",
        "data": {"name": "digits", "train_examples": 1297},
        "model": {"name": "digits_mlp"},
        "batch": {"size": size},
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
        "schedule": {"updates": 6},
        "measurements": {"every_updates": 1},
        "batch_norm": {} if ghost is None else {"ghost_batch_size": ghost},
    }
    return Recipe.model_validate(body | tables)


def batch_of(size, ghost=None, has_batch_norm=None):
    return WholeBatch(size, ghost, has_batch_norm=ghost is not None if has_batch_norm is None else has_batch_norm)


@pytest.mark.parametrize(
    ("size", "ghost", "micro", "slices"),
    [
        (1024, 128, None, (1024,)),
        (1024, 128, 256, (256,) * 4),
        (1024, 128, 384, (384, 384, 256)),
        (848, 128, 256, (256, 256, 256, 80)),  # ghosts 6 * 128 and 80, science.md 4.14
        (848, 128, 384, (384, 384, 80)),
        (1070, 128, 512, (512, 558)),  # the remaining 46 join the last ghost, and so the last slice
        (150, 128, 128, (150,)),
        (10, None, 4, (4, 4, 2)),
        (8, None, 4, (4, 4)),
    ],
)
def test_a_batch_is_cut_between_ghosts(size, ghost, micro, slices):
    assert micro_slices(batch_of(size, ghost), micro) == slices


def test_the_ghosts_of_the_slices_are_the_ghosts_of_the_batch():
    for size in range(20, 200):
        for ghost in (4, 7, 16):
            for micro in range(ghost, size + 1, ghost):
                slices = micro_slices(batch_of(size, ghost), micro)
                assert [g for s in slices for g in ghost_slices(s, ghost)] == list(ghost_slices(size, ghost))


@pytest.mark.parametrize(
    ("size", "ghost", "micro", "has_batch_norm", "said"),
    [
        (100, None, 50, True, "plain batch norm computes its statistics over the whole batch"),
        (100, 32, 48, True, "multiple, such as 32 or 64"),
        (100, 32, 16, True, "multiple, such as 32"),
        (100, 32, 0, True, "between 1 and the batch size 100"),
        (100, None, 101, False, "between 1 and the batch size 100"),
    ],
)
def test_slices_that_would_change_the_statistics_are_refused(size, ghost, micro, has_batch_norm, said):
    with pytest.raises(UsageError, match=said):
        check_micro_size(batch_of(size, ghost, has_batch_norm), micro)


@pytest.mark.parametrize("definition", ["per-update", "mean", "mean-biased", "total"])
def test_statistics_of_all_ghosts_of_a_batch_at_once_forbid_to_cut_it(definition):
    of_all = WholeBatch(100, 32, True, definition)
    with pytest.raises(UsageError, match=f"running_statistics = {definition} combines all ghosts of a batch at once"):
        check_micro_size(of_all, 64)
    assert halved_micro_sizes(of_all) == (100,)
    check_micro_size(of_all, 100)
    check_micro_size(replace(of_all, has_batch_norm=False), 64)


def test_cutting_it_would_change_them():
    """The refusal has teeth: the ghosts' means are 0, 0, 4, 4: an update with 2, or cut, with 0 and then 4."""
    x = torch.tensor([[-1.0], [1.0], [-1.0], [1.0], [3.0], [5.0], [3.0], [5.0]])
    whole, cut = (GhostBatchNorm(1, 2, running_statistics="mean") for _ in range(2))
    whole(x)
    for part in x.split(4):
        cut(part)
    assert whole.running_mean.item() == pytest.approx(0.2)
    assert cut.running_mean.item() == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("size", "ghost", "micro", "has_batch_norm"), [(100, None, 100, True), (100, None, 33, False), (100, 32, 64, True)]
)
def test_other_slices_are_allowed(size, ghost, micro, has_batch_norm):
    check_micro_size(batch_of(size, ghost, has_batch_norm), micro)


@pytest.mark.parametrize(
    ("size", "ghost", "has_batch_norm", "sizes"),
    [
        (1024, 128, True, (1024, 512, 256, 128)),
        (848, 128, True, (848, 512, 256, 128)),  # 7 ghosts: 4, 2, 1
        (1000, None, True, (1000,)),
        (10, None, False, (10, 5, 3, 2, 1)),
    ],
)
def test_what_is_tried_is_halved_in_whole_ghosts(size, ghost, has_batch_norm, sizes):
    assert halved_micro_sizes(batch_of(size, ghost, has_batch_norm)) == sizes


def doubles(seed=0):
    """A network with ghosts of 8 in convolution and dense layers, in float64, and a batch of 52: ghosts 6 * 8 and 4."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), GhostBatchNorm(6, 8), nn.ReLU(), nn.Flatten(), nn.Linear(96, 9), GhostBatchNorm(9, 8),
        nn.ReLU(), nn.Linear(9, 5),
    )  # fmt: skip
    return network.double(), torch.randn(52, 3, 6, 6, dtype=torch.float64), torch.randint(0, 5, (52,))


def gradients(network):
    return [p.grad for p in network.parameters()]


@pytest.mark.parametrize("micro", [8, 16, 24, 48])
def test_accumulated_gradients_are_those_of_ghost_batch_norm_in_one_piece(micro):
    """science.md 4.6: gradients to 1e-12, running statistics bit for bit; the last slice is shorter."""
    (whole, images, labels), (cut, _, _) = doubles(), doubles()
    slices = micro_slices(batch_of(52, 8), micro)
    assert len(set(slices)) == 2
    loss = backward(whole, UpdateBatch(images, labels), (52,), Compute())
    sliced = backward(cut, UpdateBatch(images, labels), slices, Compute())
    assert sliced.item() == pytest.approx(loss.item(), rel=1e-14)
    for one, other in zip(gradients(whole), gradients(cut), strict=True):
        assert (one - other).abs().max() < 1e-12
    for one, other in zip(whole.buffers(), cut.buffers(), strict=True):
        assert torch.equal(one, other)


def test_slices_that_all_weigh_the_same_would_not_do():
    """The claim above has teeth: an unweighted mean over 7 slices, the last of half the size, is another gradient."""
    (whole, images, labels), (cut, _, _) = doubles(), doubles()
    backward(whole, UpdateBatch(images, labels), (52,), Compute())
    slices = micro_slices(batch_of(52, 8), 8)
    for part, its_labels in zip(images.split(slices), labels.split(slices), strict=True):
        (nn.functional.cross_entropy(cut(part), its_labels) / len(slices)).backward()
    assert max((a - b).abs().max() for a, b in zip(gradients(whole), gradients(cut), strict=True)) > 1e-4


def started(micro, **tables):
    state = start_state(recipe(100, 16, **tables), 0, (1, 8, 8), 10, CPU)
    state.micro_size = micro
    return state


def test_training_in_micro_batches_is_training_to_rounding(digits):
    """Clipping too, which is of the whole gradient; ghosts 5 * 16 and 20, slices 32, 32, 36."""
    clipping = {"clipping": {"max_norm": 0.5}}
    whole, cut = started(None, **clipping), started(32, **clipping)
    of_whole, of_cut = ([m.measurement for m in train(state, digits)] for state in (whole, cut))
    assert any(m.clipped_share for m in of_whole)
    for one, other in zip(of_whole, of_cut, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-5)
        assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-4)
        assert other.clipped_share == one.clipped_share


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_resumed_run_keeps_its_micro_batches_and_its_bits(digits, tmp_path, precision):
    tables = {"compute": {"precision": precision}}
    straight, first = started(32, **tables), started(32, **tables)
    list(train(straight, digits))
    updates = train(first, digits)
    for _ in range(4):
        next(updates)
    second = started(None, **tables)
    load_checkpoint(save_checkpoint(tmp_path, first), second)
    assert second.micro_size == 32
    list(train(second, digits))
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


SHORT_OF_MEMORY = """
import resource
import sys
from functools import partial

import torch

from lbadvisor.recipe.recipe import Recipe
from lbadvisor.errors import OutOfMemoryError
from lbadvisor.training.data.dataset import Split
from lbadvisor.training.data.in_memory import InMemory
from lbadvisor.training.loop import train
from lbadvisor.training.memory import largest_micro_size, naming_what_fits
from lbadvisor.training.state import start_state

recipe = Recipe.model_validate({
    "schema": 1, "name": "wide", "data": {"name": "own", "train_examples": 8192}, "model": {"name": "f1"},
    "batch": {"size": 8192}, "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    "schedule": {"updates": 2}, "batch_norm": {"ghost_batch_size": 128}, "measurements": {"evaluate_every_updates": 2},
})
split = Split(torch.randint(0, 256, (8192, 1, 28, 28), dtype=torch.uint8), torch.randint(0, 10, (8192,)))
dataset = InMemory(split, split, 10, torch.tensor([128.0]), torch.tensor([70.0]))
build = partial(start_state, recipe, 0, (1, 28, 28), 10, torch.device("cpu"))

torch.set_num_threads(1)
state = build()
state.micro_size = 128
next(train(state, dataset))  # what torch allocates once
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20, resource.RLIM_INFINITY))
state = build()
try:
    list(naming_what_fits(train(state, dataset), state))
except OutOfMemoryError as error:
    print(error)
print(largest_micro_size(build, dataset))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory as Linux does")
def test_where_memory_is_short_the_largest_micro_batch_that_fits_is_found():
    """F1 keeps 5 layers of 512 floats thrice, 30 kB an image: in 200 MiB there is no place for 8192 (250 MB)."""
    done = subprocess.run([sys.executable, "-c", SHORT_OF_MEMORY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said, found = done.stdout.splitlines()
    assert said.endswith(
        "memory of the device cpu in micro-batches of 8192 examples: give --micro 4096, or --micro auto"
    )
    assert int(found) in (256, 512, 1024, 2048, 4096)


OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.1 GiB"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported at another call"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("unable to mmap 503318373 bytes from file </x.pt>: Cannot allocate memory (12)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:80] DefaultCPUAllocator: not enough memory: you tried to"),
    MemoryError("Unable to allocate 7.28 TiB for an array with shape (1000000000000,) and data type float64"),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x64 and 784x512)"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    ValueError("out of memory"),
]


@pytest.mark.parametrize("error", OF_MEMORY, ids=lambda error: str(error)[:50])
def test_memory_that_runs_out_is_known_by_whatever_says_it(digits, error):
    """`--micro auto` halves, and a run says what to try, whichever library was the one to find no memory."""
    state = started(48)
    with pytest.raises(OutOfMemoryError, match=r"micro-batches of 48 examples: give --micro 32, or --micro auto"):
        list(naming_what_fits(raising(error), state))
    tried = []

    def build():
        tried.append(1)
        state = started(None)
        if len(tried) in (2, 3):  # for the first two sizes, 100 and 48
            state.model.register_forward_hook(lambda *_: next(raising(error)))
        return state

    assert largest_micro_size(build, digits) == 32


@pytest.mark.parametrize("error", OTHERS, ids=lambda error: str(error)[:50])
def test_another_error_is_not_of_memory(error):
    with pytest.raises(type(error)) as caught:
        list(naming_what_fits(raising(error), started(48)))
    assert caught.value is error


def raising(error):
    """An iterator that ends like this."""
    yield from ()
    raise error


BUILT_WITHOUT_MEMORY = """
import resource
from pathlib import Path

import torch

from lbadvisor.recipe.recipe import Recipe
from lbadvisor.errors import OutOfMemoryError
from lbadvisor.training.state import start_state

recipe = Recipe.model_validate({
    "schema": 1, "name": "wide", "data": {"name": "own", "train_examples": 10}, "model": {"name": "f1"},
    "batch": {"size": 4}, "optimizer": {"name": "sgd", "lr": 0.1}, "schedule": {"updates": 2},
})
used = next(int(l.split()[1]) for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, ((used + 200_000) * 1024, resource.RLIM_INFINITY))
try:
    start_state(recipe, 0, (3, 1024, 1024), 10, torch.device("cpu"))
except OutOfMemoryError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory as Linux does")
def test_a_network_that_the_memory_does_not_hold_is_said_to_be_that():
    """The first layer of F1 has 3 * 1024 * 1024 * 512 weights there, 6.4 GB, and there are 200 MB."""
    done = subprocess.run([sys.executable, "-c", BUILT_WITHOUT_MEMORY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "the network f1 for images of 1024x1024 pixels in 10 classes does not fit into the memory of the device cpu: "
        "free memory, or choose a smaller network or smaller images\n"
    )


RESUMED_WITHOUT_MEMORY = """
import resource
import sys
from pathlib import Path

import torch

from lbadvisor.recipe.recipe import Recipe
from lbadvisor.errors import OutOfMemoryError
from lbadvisor.training.state import load_checkpoint, save_checkpoint, start_state

recipe = Recipe.model_validate({
    "schema": 1, "name": "wide", "data": {"name": "own", "train_examples": 10}, "model": {"name": "f1"},
    "batch": {"size": 4}, "optimizer": {"name": "sgd", "lr": 0.1}, "schedule": {"updates": 2},
})
state = start_state(recipe, 0, (3, 128, 128), 10, torch.device("cpu"))
path = save_checkpoint(Path(sys.argv[1]), state)
used = next(int(l.split()[1]) for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, ((used + int(sys.argv[2]) * 1000) * 1024, resource.RLIM_INFINITY))
try:
    load_checkpoint(path, state)
except OutOfMemoryError as error:
    print(str(error).replace(str(path), "PATH"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory as Linux does")
@pytest.mark.parametrize("megabytes", [50, 150], ids=["while it is read", "while it is unpacked"])
def test_a_checkpoint_that_the_memory_does_not_hold_is_said_to_be_that(tmp_path, megabytes):
    """The first layer of F1 has 3 * 128 * 128 * 512 weights there, 101 MB, and they are read and then unpacked."""
    command = [sys.executable, "-c", RESUMED_WITHOUT_MEMORY, str(tmp_path), str(megabytes)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the memory of the device cpu does not hold the state in PATH: free memory\n"
