"""The parts of gpu_speed.py that take a network, a loop or a data set apart; each is one function of the bench."""

import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from bench import Bench
from contestants import by_hand, overridden
from PIL import Image
from torch.autograd import DeviceType
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.recipe.schedule_tables import Clipping
from lbadvisor.training.data.in_memory import InMemory
from lbadvisor.training.data.preparation import preparing
from lbadvisor.training.environment import make_deterministic
from lbadvisor.training.evaluation import evaluate
from lbadvisor.training.loop import train
from lbadvisor.training.models import MODELS
from lbadvisor.training.precision import set_tf32
from lbadvisor.training.state import TrainState, save_checkpoint, start_state

FROM_TORCHVISION = (
    "alexnet", "vgg11", "vgg11_bn", "resnet18", "resnext50_32x4d", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5",
    "shufflenet_v2_x0_5", "squeezenet1_0", "densenet121", "efficientnet_b0", "regnet_x_400mf", "convnext_tiny",
    "swin_t", "swin_v2_t", "maxvit_t", "vit_b_16",
)  # fmt: skip
"""One of each of its families."""

PIXELS = {
    "alexnet_bn": 224,
    "f1": 28,
    "digits_mlp": 8,
    **dict.fromkeys(FROM_TORCHVISION, 64),
    **dict.fromkeys(("maxvit_t", "vit_b_16"), 224),
}


def started(recipe: Recipe, dataset: InMemory, device: torch.device) -> TrainState:
    """The state before a run's first update, its kernels chosen as a run does."""
    make_deterministic(device)
    return start_state(in_updates(recipe), 0, dataset.shape, dataset.classes, device)


class Operations(TorchDispatchMode):
    """While entered, counts the operations that are not views."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not function.is_view
        return function(*args, **(kwargs or {}))


def counts(bench: Bench, recipe: Recipe) -> None:
    """Operations, kernels and waits for the device of an update that measures nothing."""
    for name, updates in (
        ("ours", train(started(recipe, bench.dataset, bench.device), bench.dataset)),
        ("by hand", by_hand(recipe, bench.dataset, bench.device)),
    ):
        for _ in islice(updates, 3):
            pass
        with Operations() as operations:
            next(updates)
        kernels = waits = None
        if bench.device.type == "cuda":
            bench.wait()
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
                next(updates)
                bench.wait()
            kernels = sum(event.device_type == DeviceType.CUDA for event in profile.events())
            torch.cuda.set_sync_debug_mode("warn")
            try:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    next(updates)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            waits = sum("synchronizing" in str(warning.message) for warning in caught)
        ghost = recipe.batch_norm.ghost_batch_size
        said = f"{name}, batch {recipe.batch.size}, ghost {ghost}"
        print(f"  {said:<36} {operations.count} operations, {kernels} kernels, {waits} waits", flush=True)
        bench.note(
            "counts", batch=recipe.batch.size, ghost=ghost, name=name,
            operations=operations.count, kernels=kernels, waits=waits,
        )  # fmt: skip


def networks(bench: Bench) -> None:
    """Two deterministic updates of every network, and of one of each of torchvision's families: what it raises."""
    make_deterministic(bench.device)
    names = [*MODELS, *(f"torchvision:{name}" for name in FROM_TORCHVISION)]
    for name in names if not bench.quick else ("digits_mlp", "resnet8", "torchvision:alexnet"):
        side = PIXELS.get(name.removeprefix("torchvision:"), 32)
        shape = (1 if name in ("digits_mlp", "f1") else 3, side, side)
        recipe = overridden(bench.recipe, {"model": bench.recipe.model.model_copy(update={"name": name})})
        images, labels = torch.randn(8, *shape, device=bench.device), torch.arange(8, device=bench.device) % 10
        error = None
        try:
            state = start_state(in_updates(recipe), 0, shape, 10, bench.device)
            for _ in range(2):
                state.optimizer.zero_grad()
                cross_entropy(state.model(images), labels).backward()
                state.optimizer.step()
            bench.wait()
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
        print(f"  {name:<32} {'trains' if error is None else error[:80]}", flush=True)
        bench.note("network", name=name, pixels=side, error=error)


def bits(bench: Bench, recipe: Recipe) -> None:
    """Whether two runs have the same bits after some updates, and differ in none of the weights."""
    ends = []
    for _ in range(2):
        state = started(recipe, bench.dataset, bench.device)
        for _ in islice(train(state, bench.dataset), 4):
            pass
        ends.append({name: value.clone() for name, value in state.model.state_dict().items()})
    differing = [name for name, value in ends[0].items() if not torch.equal(value, ends[1][name])]
    precision, ghost = recipe.compute.precision, recipe.batch_norm.ghost_batch_size
    said = "the same bits" if not differing else f"{len(differing)} of {len(ends[0])} tensors differ"
    print(f"  two runs, batch {recipe.batch.size}, ghost {ghost}, {precision}: {said}", flush=True)
    bench.note(
        "bits", batch=recipe.batch.size, ghost=ghost, precision=precision, tf32=recipe.compute.tf32,
        differing=len(differing),
    )  # fmt: skip


def assembly(bench: Bench, recipe: Recipe) -> None:
    """A batch drawn, gathered, augmented and normalized, and nothing else."""
    update = iter(range(1 << 30))
    calls = {"assembly": lambda: bench.dataset.training_batch(recipe, 0, next(update))}
    (seconds,) = bench.seconds(calls, bench.updates_of(recipe.batch.size)).values()
    bench.show("assembly", f"batch {recipe.batch.size}", seconds, batch=recipe.batch.size)


def graphs(bench: Bench, recipe: Recipe) -> None:
    """The hand-written update as one CUDA graph, its batch gathered outside: what launching kernels costs."""
    if bench.device.type != "cuda":
        return
    state = started(recipe, bench.dataset, bench.device)
    set_tf32(recipe.compute)
    model, optimizer = state.model, torch.optim.SGD(state.model.parameters(), lr=0.1, momentum=0.9, fused=True)
    images, labels = (t.clone() for t in bench.dataset.training_batch(recipe, 0, 0))

    def update() -> None:
        optimizer.zero_grad(set_to_none=False)
        with torch.autocast("cuda", torch.bfloat16, enabled=recipe.compute.precision == "bf16"):
            logits = model(images)
        cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            update()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        update()
    number = iter(range(1 << 30))

    def replayed() -> None:
        for kept, new in zip((images, labels), bench.dataset.training_batch(recipe, 0, next(number)), strict=True):
            kept.copy_(new)
        graph.replay()

    repeats = bench.updates_of(recipe.batch.size)
    precision = "tf32" if recipe.compute.tf32 else recipe.compute.precision
    for name, seconds in bench.seconds({"eager": update, "graph": replayed}, repeats).items():
        said = f"{name}, batch {recipe.batch.size}, {precision}"
        bench.show("graphs", said, seconds, batch=recipe.batch.size, precision=precision)


def the_rest(bench: Bench, recipe: Recipe) -> None:
    """What surrounds an update: evaluation, saving, clipping, micro-batches, streaming."""
    size = recipe.batch.size
    state = started(recipe, bench.dataset, bench.device)
    with tempfile.TemporaryDirectory() as folder:
        calls: dict[str, Callable[[], object]] = {
            "evaluation": partial(evaluate, state, bench.dataset),
            "saving": partial(save_checkpoint, Path(folder), state),
        }
        for name, seconds in bench.seconds(calls, 1).items():
            bench.show("the rest", name, seconds)
    clipped = overridden(recipe, {"clipping": Clipping(max_norm=0.1, updates=1 << 20)})
    ghost = recipe.batch_norm.ghost_batch_size or size
    for name, chosen, micro in (
        ("plain", recipe, None),
        ("clipping", clipped, None),
        ("micro-batches", recipe, max(ghost, size // 4)),
    ):
        state = started(chosen, bench.dataset, bench.device)
        state.micro_size = micro
        updates = train(state, bench.dataset)
        (seconds,) = bench.seconds({name: partial(next, updates)}, bench.updates_of(size)).values()
        bench.show("the rest", f"update, {name}, batch {size}", seconds, batch=size)


def streaming(bench: Bench, recipe: Recipe) -> None:
    """Images decoded as they are needed, against the same images in memory: examples a second of batches alone."""
    examples, side = (64, 32) if bench.quick else (2048, 160)
    with tempfile.TemporaryDirectory() as folder:
        draws = np.random.default_rng(0)
        for split, count in (("train", examples), ("test", 4)):
            for i in range(count):
                place = Path(folder) / "photos" / split / "ab"[i % 2]
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draws.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(place / f"{i}.jpg")
        data = recipe.data.model_copy(
            update={"name": "photos", "train_examples": examples, "image_size": side, "validation_examples": None}
        )
        photos = overridden(
            recipe,
            {"data": data, "batch": recipe.batch.model_copy(update={"size": min(recipe.batch.size, examples // 2)})},
        )
        progress = preparing(photos, Path(folder), bench.device, packed_at_most_bytes=0)
        while True:
            try:
                next(progress)
            except StopIteration as end:
                dataset = end.value
                break
        update = iter(range(1 << 30))
        begin, batches = time.perf_counter(), 2 if bench.quick else 16
        for _ in range(batches):
            dataset.training_batch(photos, 0, next(update))
        bench.wait()
        rate = batches * photos.batch.size / (time.perf_counter() - begin)
        print(f"  streamed: {rate:.0f} images of {side}x{side} pixels a second", flush=True)
        bench.note("streaming", pixels=side, examples_per_second=rate)
