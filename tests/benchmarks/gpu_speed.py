"""How fast training is on a GPU, next to a hand-written eager loop and to the bound that the device sets.

    python tests/benchmarks/gpu_speed.py [--json gpu.json] [--rounds 5] [--only layers ceilings determinism training]

One command for a CUDA machine, five to ten minutes there; it needs torch, torchvision, pydantic, and no database. On a
CPU it runs to its end with `--device cpu --batches 16 --ghost 8 --rounds 2 --updates 1 --depth 8`, without what only
CUDA has (TF32, peak memory, the cost of determinism, compiled layers).

ResNet-44 on CIFAR-10 in the device's memory: real where LBADVISOR_DATA has it, else random images of its shape, which
is said. "ours" is `lbadvisor.training.loop.train` as a run drives it, its kernels deterministic; "by hand" is the same
training written out in plain torch with plain batch norm, with torch's own choice of kernels and cudnn.benchmark. The
competitors make some updates in turn, round after round, the device awaited around each; a time is the median over the
rounds with its range.

The bound. Operations: 2 for each multiply-add of all convolutions and the linear layer, thrice (forward, backward to
the inputs and to the weights), as `FlopCounterMode` counts them in a forward pass; at the rate of a large matrix
product in the same precision, measured. Bytes: what layers read and write of activations and their gradients, seen by
forward hooks, where a layer is a sweep of its own and ReLU, the sum with the shortcut, casts and pooling are free, done
in passing. With r the bytes of a layer's input, w of its output: a convolution or linear layer moves r + w forward, and
backward 2w (the gradient comes twice, for inputs and for weights) + 2r (its input is read, its input's gradient
written); batch norm moves 2r + w forward, for its statistics need all of its input first, and backward 2(r + w) + r
likewise. Weights and optimizer are left out: less than a thousandth here. In bf16 an activation has 2 bytes, else 4. At
the rate of a large copy, measured. The bound of a time is the larger of the two; their sum is what it is without any
overlap.

Peak memory is what an update adds, at its peak, to what lay there before it: activations, gradients and the batch.
"""

import argparse
import json
import os
import platform
import statistics
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

# Read when CUDA's matrix library starts: as a run sets it, for deterministic products.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch
import torch.utils.deterministic
from contestants import Competitor, Updates, by_hand, measured, ours, overridden, random_images
from ghost_batch_norm import SHAPES
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lbadvisor.nn.ghost_batch_norm import ghost_slices, normalize_at_once
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Compute
from lbadvisor.training.data.in_memory import InMemory
from lbadvisor.training.models import MODELS
from lbadvisor.training.models.resnet import resnet
from lbadvisor.training.precision import set_tf32

RECIPE = Path(__file__).parents[2] / "recipes" / "resnet44.toml"
PARTS = ("layers", "ceilings", "determinism", "training")
PRECISIONS = {"float32": Compute(), "tf32": Compute(tf32=True), "bf16": Compute(precision="bf16")}


@dataclass(frozen=True, slots=True)
class Kernels:
    """How torch chooses its kernels; `filled`: memory that is not written yet is filled, torch's default."""

    deterministic: bool
    benchmark: bool = False
    filled: bool = True

    def choose(self) -> None:
        """From now on."""
        torch.use_deterministic_algorithms(self.deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = self.filled  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = self.benchmark


AS_A_RUN = Kernels(deterministic=True)
AS_BY_HAND = Kernels(deterministic=False, benchmark=True)


def under(kernels: Kernels, training: Updates) -> Updates:
    """The same training, its kernels chosen so."""
    while True:
        kernels.choose()
        yield next(training)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all parts share; `records` is what is written as JSON."""

    device: torch.device
    rounds: int
    threads: int
    updates: int | None
    recipe: Recipe
    dataset: InMemory
    records: list[dict[str, object]]
    json: Path | None

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def note(self, part: str, **facts: object) -> None:
        """Keep a record, on disk at once: what was measured stays where the rest fails."""
        self.records.append({"part": part, **facts})
        if self.json is not None:
            self.json.write_text(json.dumps(self.records, indent=1) + "\n")

    def ours(self, recipe: Recipe, kernels: Kernels = AS_A_RUN) -> Updates:
        """Our loop."""
        return under(kernels, ours(recipe, self.dataset, self.device, self.threads))

    def updates_of(self, batch_size: int) -> int:
        """How many updates of a batch size are timed in a round, by default about 8000 examples."""
        return self.updates or max(2, 8192 // batch_size)

    def seconds(self, calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
        """Of one call, a list for each name, one number a round; the calls take turns."""

        def endless(call: Callable[[], object]) -> Iterator[object]:
            while True:
                yield call()

        competitors = [Competitor(name, endless(call), repeats) for name, call in calls.items()]
        return dict(zip(calls, measured(competitors, self.rounds, self.wait), strict=True))


def spread(values: list[float], scale: float = 1.0) -> str:
    """The median, with the range."""
    return f"{scale * statistics.median(values):8.2f} ({scale * min(values):.2f} - {scale * max(values):.2f})"


def show_layers(bench: Bench, batch_size: int, ghost: int) -> None:
    """`normalize_at_once` against `nn.BatchNorm2d`, forward and backward."""
    sizes = ghost_slices(batch_size, ghost)
    factors = (0.1,) * len(sizes)
    print(f"\nBatch norm's layers, batch {batch_size}, ghost {ghost}, forward + backward, ms; n = {bench.rounds}")
    for dtype in (torch.float32, torch.bfloat16):
        for shape in SHAPES:
            x = torch.randn(batch_size, *shape, device=bench.device, dtype=dtype)
            x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
            grad_y, plain = torch.randn_like(x), nn.BatchNorm2d(shape[0]).to(bench.device)
            weight, bias = (torch.ones(shape[0], device=bench.device, requires_grad=True) for _ in range(2))
            mean, var = (torch.ones(shape[0], device=bench.device) for _ in range(2))

            def at_once(
                x: Tensor, weight: Tensor = weight, bias: Tensor = bias, mean: Tensor = mean, var: Tensor = var
            ) -> Tensor:
                return normalize_at_once(x, weight, bias, mean, var, sizes, factors, 1e-5)

            forwards: dict[str, Callable[[Tensor], Tensor]] = {
                "nn.BatchNorm2d": plain,
                "at once": at_once,
            }
            if bench.device.type == "cuda":
                forwards["at once, compiled"] = torch.compile(at_once, fullgraph=True, dynamic=False)

            def once(forward: Callable[[Tensor], Tensor], x: Tensor, grad_y: Tensor) -> None:
                x.grad = None
                forward(x).backward(grad_y)

            AS_A_RUN.choose()
            calls = {name: partial(once, forward, x, grad_y) for name, forward in forwards.items()}
            its = bench.seconds(calls, 10 if bench.device.type == "cuda" else 1)
            kind = f"{'x'.join(map(str, shape))} {str(dtype).removeprefix('torch.')}"
            for name, seconds in its.items():
                ratio = [a / b for a, b in zip(seconds, its["nn.BatchNorm2d"], strict=True)]
                print(
                    f"  {kind:<18} {name:<18} {spread(seconds, 1000)}  over nn.BatchNorm2d {spread(ratio)}", flush=True
                )
                bench.note(
                    "layer", shape=shape, dtype=str(dtype), batch=batch_size, ghost=ghost, name=name, seconds=seconds
                )
    torch.compiler.reset()


def matrix_rates(bench: Bench, precisions: list[str]) -> dict[str, float]:
    """Multiplications and additions per second of a large product, by precision: the median."""
    side, rates = 8192 if bench.device.type == "cuda" else 1024, {}
    for name in precisions:
        set_tf32(PRECISIONS[name])
        dtype = torch.bfloat16 if name == "bf16" else torch.float32
        left, right = (torch.randn(side, side, device=bench.device, dtype=dtype) for _ in range(2))
        out = torch.empty_like(left)
        (seconds,) = bench.seconds({name: partial(torch.mm, left, right, out=out)}, 3).values()
        rates[name] = 2 * side**3 / statistics.median(seconds)
        print(f"  product of {side} x {side}, {name:<8} {rates[name] / 1e12:8.2f} TFLOP/s", flush=True)
        bench.note("product", side=side, precision=name, seconds=seconds)
    return rates


def copy_rate(bench: Bench) -> float:
    """Bytes read and written per second by a large copy: the median."""
    values = (1 << 30 if bench.device.type == "cuda" else 1 << 27) // 4
    source = torch.randn(values, device=bench.device)
    target = torch.empty_like(source)
    (seconds,) = bench.seconds({"copy": partial(target.copy_, source)}, 5).values()
    rate = 2 * source.nbytes / statistics.median(seconds)
    print(f"  copy of {source.nbytes >> 20} MiB             {rate / 1e9:8.0f} GB/s, read and written", flush=True)
    bench.note("copy", bytes=source.nbytes, seconds=seconds)
    return rate


def work_of_an_example(bench: Bench) -> tuple[float, float]:
    """Operations, and activations read and written, of one example in a forward and backward pass.

    See the module's docstring.
    """
    examples = 4
    model = MODELS[bench.recipe.model.name](bench.dataset.shape, bench.dataset.classes).to(bench.device)
    moved = 0

    def watch(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal moved
        r, w = inputs[0].numel(), output.numel()
        is_norm = isinstance(layer, nn.BatchNorm2d)
        moved += 2 * r + w + 2 * (r + w) + r if is_norm else r + w + 2 * w + 2 * r

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            layer.register_forward_hook(watch)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.randn(examples, *bench.dataset.shape, device=bench.device))
    return 3 * counter.get_total_flops() / examples, moved / examples


def show_training(
    bench: Bench, batch_size: int, ghost: int | None, precision: str, compiles: bool, ceilings: dict[str, float]
) -> None:
    """Ours eager and compiled, against by hand and the bound."""
    recipe = overridden(
        bench.recipe,
        {
            "batch": bench.recipe.batch.model_copy(update={"size": batch_size}),
            "batch_norm": bench.recipe.batch_norm.model_copy(update={"ghost_batch_size": ghost}),
            "compute": PRECISIONS[precision],
        },
    )
    compiled = overridden(recipe, {"compute": recipe.compute.model_copy(update={"compile": True})})
    updates = bench.updates_of(batch_size)
    competitors = [
        Competitor("by hand, eager", under(AS_BY_HAND, by_hand(recipe, bench.dataset, bench.device)), updates),
        Competitor("ours", bench.ours(recipe), updates),
    ]
    if compiles:
        competitors.append(Competitor("ours, compiled", bench.ours(compiled), updates))
    seconds = measured(competitors, bench.rounds, bench.wait)
    norm = "plain batch norm" if ghost is None else f"ghost {ghost}"
    print(
        f"\n{recipe.model.name}, batch {batch_size}, {norm}, {precision}; "
        f"n = {bench.rounds} rounds of {updates} updates"
    )
    operations, values = work_of_an_example(bench)
    bound = bounds = None
    if precision in ceilings:
        moved = batch_size * values * (2 if precision == "bf16" else 4)
        bounds = (batch_size * operations / ceilings[precision], moved / ceilings["copy"])
        bound = max(bounds)
        print(
            f"  bound: {batch_size * operations / 1e12:.3f} TFLOP {1000 * bounds[0]:.2f} ms, {moved / 1e9:.2f} GB "
            f"{1000 * bounds[1]:.2f} ms; the larger {1000 * bound:.2f} ms, the sum {1000 * sum(bounds):.2f} ms"
        )
    for competitor, its in zip(competitors, seconds, strict=True):
        peak = peak_bytes(bench, competitor)
        middle = statistics.median(its)
        ratio = statistics.median(hand / one for hand, one in zip(seconds[0], its, strict=True))
        print(
            f"  {competitor.name:<16} {batch_size / middle:10.0f} examples/s  {spread(its, 1000)} ms"
            f"  {ratio:.2f} of by hand"
            + ("" if bound is None else f"  {bound / middle:.0%} of the bound")
            + ("" if peak is None else f"  {peak / 2**30:.2f} GiB"),
            flush=True,
        )
        bench.note(
            "training", network=recipe.model.name, batch=batch_size, ghost=ghost, precision=precision,
            name=competitor.name, updates=updates, seconds=its, bounds=bounds, peak_bytes=peak,
        )  # fmt: skip
    torch.compiler.reset()


def peak_bytes(bench: Bench, competitor: Competitor) -> int | None:
    """What an update adds at its peak to what lies in the device's memory; None on a CPU."""
    if bench.device.type != "cuda":
        return None
    bench.wait()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    next(competitor.training)
    bench.wait()
    return torch.cuda.max_memory_allocated() - before


def show_determinism(bench: Bench, batch_size: int, ghost: int | None, precision: str) -> None:
    """What deterministic kernels cost our loop."""
    recipe = overridden(
        bench.recipe,
        {
            "batch": bench.recipe.batch.model_copy(update={"size": batch_size}),
            "batch_norm": bench.recipe.batch_norm.model_copy(update={"ghost_batch_size": ghost}),
            "compute": PRECISIONS[precision],
        },
    )
    choices = {
        "deterministic, as a run": AS_A_RUN,
        "memory not filled": Kernels(deterministic=True, filled=False),
        "not deterministic": Kernels(deterministic=False),
        "and cudnn.benchmark": AS_BY_HAND,
    }
    updates = bench.updates_of(batch_size)
    competitors = [Competitor(name, bench.ours(recipe, kernels), updates) for name, kernels in choices.items()]
    seconds = measured(competitors, bench.rounds, bench.wait)
    print(
        f"\nCost of determinism, batch {batch_size}, ghost {ghost}, {precision}; n = {bench.rounds} rounds of {updates}"
    )
    for competitor, its in zip(competitors, seconds, strict=True):
        ratios = [one / first for one, first in zip(its, seconds[0], strict=True)]
        print(f"  {competitor.name:<24} {spread(its, 1000)} ms  time over the first's {spread(ratios)}", flush=True)
        bench.note("determinism", batch=batch_size, ghost=ghost, precision=precision, name=competitor.name, seconds=its)


def data_of(recipe: Recipe, device: torch.device) -> tuple[Recipe, InMemory, str]:
    """CIFAR-10 where LBADVISOR_DATA has it, else random images; on the device."""
    folder = Path(os.environ.get("LBADVISOR_DATA", "")) / "cifar10"
    if os.environ.get("LBADVISOR_DATA") and folder.is_dir():
        # Reading class folders needs packages that random images do not.
        from lbadvisor.training.data.preparation import load_dataset

        count = sum(1 for _ in (folder / "train").glob("*/*"))
        recipe = overridden(recipe, {"data": recipe.data.model_copy(update={"train_examples": count})})
        dataset = load_dataset(recipe, folder.parent, device)
        if isinstance(dataset, InMemory):
            return recipe, dataset, f"{count} images of CIFAR-10"
    examples = recipe.data.train_examples if device.type == "cuda" else 2000
    recipe = overridden(recipe, {"data": recipe.data.model_copy(update={"train_examples": examples})})
    return recipe, random_images(examples, device), f"{examples} random images"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 4096])
    parser.add_argument("--ghost", type=int, default=128, help="where a batch is larger")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--depth", type=int, default=44)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, help="a round; as many as have about 8000 examples if not given")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of a CPU")
    parser.add_argument(
        "--compiled", nargs="*", choices=PRECISIONS, help="which are trained compiled too: all, on a CPU float32"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = torch.device(options.device)
    is_cuda = device.type == "cuda"
    torch.set_flush_denormal(True)
    torch.set_num_threads(options.threads)

    name = f"resnet{options.depth}"
    MODELS.setdefault(name, resnet(options.depth))  # a short one for trying this out is in no catalog
    recipe = Recipe.model_validate(tomllib.loads(RECIPE.read_text()))
    recipe = overridden(recipe, {"model": recipe.model.model_copy(update={"name": name})})
    recipe, dataset, images = data_of(recipe, device)
    bench = Bench(device, options.rounds, options.threads, options.updates, recipe, dataset, [], options.json)
    machine = torch.cuda.get_device_name(device) if is_cuda else f"{platform.machine()} CPU, {options.threads} threads"
    print(
        f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, "
        f"{machine}; {images}"
    )
    bench.note("machine", torch=torch.__version__, cuda=torch.version.cuda, device=machine, images=images)
    compiled = (tuple(PRECISIONS) if is_cuda else ("float32",)) if options.compiled is None else options.compiled
    precisions = [p for p in options.precisions if is_cuda or p != "tf32"]
    if not is_cuda:
        print("on a CPU: without TF32, peak memory, the cost of determinism and compiled layers")

    largest = max(options.batches)
    ceilings: dict[str, float] = {}
    if "ceilings" in options.only:
        print("\nCeilings")
        ceilings = {"copy": copy_rate(bench), **matrix_rates(bench, precisions)}
    if "layers" in options.only and largest > options.ghost:
        show_layers(bench, largest, options.ghost)
    if "determinism" in options.only and is_cuda:
        for size in options.batches:
            show_determinism(bench, size, options.ghost if size > options.ghost else None, precisions[-1])
    if "training" in options.only:
        for size in options.batches:
            for ghost in (None, options.ghost) if size > options.ghost else (None,):
                for precision in precisions:
                    show_training(bench, size, ghost, precision, precision in compiled, ceilings)


if __name__ == "__main__":
    main()
