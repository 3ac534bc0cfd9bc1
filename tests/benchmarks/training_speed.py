"""How fast training is next to a hand-written loop with the data in memory, and next to the usual script.

    LBADVISOR_DATA=... python tests/benchmarks/training_speed.py [--rounds 7] [--threads 2] [--only f1 resnet44 ...]

Each competitor makes some updates in turn, round after round, so that all meet the same machine. A ratio is that of one
round; what is printed is the median with the range, next to the median of each competitor's own times. "ours" is
`lbadvisor.training.loop.train` as a run drives it; "by hand" is the same training (network, memory format, optimizer,
augmentation, schedule) written out in plain torch, the data normalized once, in memory; Accelerate and Lightning get
the same batches, if they are installed; "usual" is the script one finds everywhere: a `DataLoader` over single examples
with transforms, `loss.item()` at each step. "products alone" are an update's matrix products and convolutions: the
floor.

MNIST and CIFAR-10 are read from LBADVISOR_DATA. Where it has no CIFAR-10, random images of its shape stand in, which
is said.
"""

import argparse
import os
import platform
import statistics
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from contestants import (
    Competitor,
    Updates,
    by_hand,
    measured,
    ours,
    overridden,
    products_alone,
    random_images,
    with_accelerate,
    with_lightning,
)
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from lbadvisor.errors import DataError
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.data.in_memory import InMemory
from lbadvisor.training.data.preparation import load_dataset
from lbadvisor.training.models import MODELS

CPU = torch.device("cpu")
RECIPES = Path(__file__).parents[2] / "recipes"


class OneByOne(TorchDataset[tuple[Tensor, Tensor]]):
    """Single examples, transformed when they are asked for, as torchvision's data sets give them."""

    def __init__(self, dataset: InMemory, *, crops: bool) -> None:
        channels, height, _ = dataset.shape
        images = dataset.train.images_NCHW
        self._images = (images[:, 0] if channels == 1 else images.permute(0, 2, 3, 1)).numpy()
        self._labels = dataset.train.labels_N
        mean, deviation = (dataset.mean_C / 255).tolist(), (dataset.deviation_C / 255).tolist()
        augmentation = [transforms.RandomCrop(height, padding=4), transforms.RandomHorizontalFlip()] if crops else []
        self._transform = transforms.Compose(
            [transforms.ToPILImage(), *augmentation, transforms.ToTensor(), transforms.Normalize(mean, deviation)]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._transform(self._images[index]), self._labels[index]


def usual(recipe: Recipe, dataset: InMemory) -> Updates:
    """The usual script."""
    torch.manual_seed(0)
    model = MODELS[recipe.model.name](dataset.shape, dataset.classes)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.optimizer.lr, momentum=0.9, weight_decay=recipe.optimizer.weight_decay
    )
    crops = recipe.data.augmentation == "pad-crop-flip"
    loader = DataLoader(OneByOne(dataset, crops=crops), recipe.batch.size, shuffle=True, drop_last=True)
    running = 0.0
    while True:
        for images, labels in loader:
            optimizer.zero_grad()
            loss = nn.CrossEntropyLoss()(model(images), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
            yield None


def show(title: str, batch_size: int, competitors: list[Competitor], rounds: int) -> None:
    """Measure, and print one table: speed of the first competitor relative to each of the others."""
    print(f"\n{title}; n = {rounds} rounds")
    print(f"  {'':<24} {'updates':>7} {'ms/update':>10} {'examples/s':>11}  first's speed relative to it (range)")
    seconds = measured(competitors, rounds)
    for competitor, its in zip(competitors, seconds, strict=True):
        middle = statistics.median(its)
        ratios = [other / first for first, other in zip(seconds[0], its, strict=True)]
        relative = f"{statistics.median(ratios):.3f} ({min(ratios):.2f} - {max(ratios):.2f})"
        print(
            f"  {competitor.name:<24} {competitor.updates:>7} {1000 * middle:>10.1f} {batch_size / middle:>11.0f}  "
            f"{'' if competitor is competitors[0] else relative}",
            flush=True,
        )


def real_or_random(recipe: Recipe) -> tuple[Recipe, InMemory, str]:
    """The recipe's data set, from LBADVISOR_DATA; else 10 000 random images of CIFAR-10's shape."""
    try:
        given = os.environ.get("LBADVISOR_DATA", "")
        found = Path(given) / recipe.data.name
        if given and found.is_dir():
            count = sum(1 for _ in (found / "train").glob("*/*"))
            recipe = overridden(recipe, {"data": recipe.data.model_copy(update={"train_examples": count})})
        return recipe, load_dataset(recipe, Path(given), CPU), recipe.data.name
    except DataError:
        recipe = overridden(recipe, {"data": recipe.data.model_copy(update={"train_examples": 10_000})})
        return recipe, random_images(10_000, CPU), "random images"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("f1", "resnet44", "bf16", "ghost")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the updates of a round")
    parser.add_argument("--only", nargs="*", choices=parts, default=parts)
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(options.threads)
    print(
        f"torch {torch.__version__}, {platform.machine()} CPU, {torch.get_num_threads()} threads, float32 but for bf16"
    )

    def times(updates: int) -> int:
        return max(1, round(updates * options.scale))

    made = partial(race, rounds=options.rounds, threads=options.threads)
    f1 = load_recipe(RECIPES / "mnist_f1.toml")
    if {"f1", "ghost"} & set(options.only):
        dataset = load_dataset(f1, Path(os.environ["LBADVISOR_DATA"]), CPU)
        if "f1" in options.only:
            made(f1, dataset, "F1 on mnist", times(100), times(50))
        if "ghost" in options.only:
            show_ghosts(f1, dataset, "F1 on mnist", options.threads, options.rounds, times(2))
    if {"resnet44", "bf16", "ghost"} & set(options.only):
        resnet44, dataset, name = real_or_random(load_recipe(RECIPES / "resnet44.toml"))
        if "resnet44" in options.only:
            made(resnet44, dataset, f"ResNet-44 on {name}", times(4), times(4))
        if "bf16" in options.only:
            bf16 = overridden(resnet44, {"compute": resnet44.compute.model_copy(update={"precision": "bf16"})})
            made(bf16, dataset, f"ResNet-44 on {name}, bf16 but for the usual script", times(4), times(4))
        if "ghost" in options.only:
            show_ghosts(resnet44, dataset, f"ResNet-44 on {name}", options.threads, options.rounds, 1)


def show_ghosts(recipe: Recipe, dataset: InMemory, title: str, threads: int, rounds: int, updates: int) -> None:
    """Our loop at 4096 in ghosts of 128 next to the same loop with plain batch norm."""
    size = min(4096, len(dataset.train.labels_N))
    large = overridden(recipe, {"batch": recipe.batch.model_copy(update={"size": size})})
    ghost = overridden(large, {"batch_norm": large.batch_norm.model_copy(update={"ghost_batch_size": 128})})
    competitors = [
        Competitor("ghost 128", ours(ghost, dataset, CPU, threads), updates),
        Competitor("plain batch norm", ours(large, dataset, CPU, threads), updates),
        Competitor("products alone", products_alone(large, dataset, CPU), updates),
    ]
    show(f"{title}, batch {size}", size, competitors, rounds)


def race(
    recipe: Recipe, dataset: InMemory, title: str, updates: int, usual_updates: int, *, rounds: int, threads: int
) -> None:
    """Ours and the others on one recipe."""
    others = {"by hand, in memory": by_hand}
    if find_spec("accelerate"):
        others["Accelerate"] = with_accelerate
    if find_spec("lightning"):
        others["Lightning"] = with_lightning
    competitors = [
        Competitor("ours", ours(recipe, dataset, CPU, threads), updates),
        *(Competitor(name, training(recipe, dataset, CPU), updates) for name, training in others.items()),
        Competitor("usual script", usual(recipe, dataset), usual_updates),
        Competitor("products alone", products_alone(recipe, dataset, CPU), updates),
    ]
    show(f"{title}, batch {recipe.batch.size}", recipe.batch.size, competitors, rounds)


if __name__ == "__main__":
    main()
