"""What the benchmarks of training share: our loop and a hand-written one, on one data set, and how they are timed.

Nothing here needs a database, or a data set's file.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training.data.dataset import Split
from lbadvisor.training.data.in_memory import InMemory
from lbadvisor.training.data.pixels import normalized
from lbadvisor.training.loop import train
from lbadvisor.training.models import MODELS
from lbadvisor.training.state import start_state

Updates = Iterator[object]
"""An endless training: each step of it makes one update."""


@dataclass(frozen=True, slots=True)
class Competitor:
    """A training under a name; `updates` of it are timed each round."""

    name: str
    training: Updates
    updates: int


def ours(recipe: Recipe, dataset: InMemory, device: torch.device, threads: int) -> Updates:
    """The loop of this project; it measures and evaluates as often as recipes do by default."""
    state = start_state(in_updates(recipe), 0, dataset.shape, dataset.classes, device)
    state.threads = threads
    return train(state, dataset)


def by_hand(recipe: Recipe, dataset: InMemory, device: torch.device) -> Updates:
    """Plain torch on normalized images in the device's memory: a gather for a batch, nothing one could leave out."""
    model, optimizer = model_and_optimizer(recipe, dataset, device)
    bf16 = recipe.compute.precision == "bf16"
    for batch, labels in batches(recipe, dataset, device):
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = model(batch)
        loss = cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield None


def with_accelerate(recipe: Recipe, dataset: InMemory, device: torch.device) -> Updates:
    """The same through Hugging Face Accelerate: its `prepare` and its `backward`."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    # A process has one precision, unless it forgets the last one.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True, mixed_precision="bf16" if recipe.compute.precision == "bf16" else "no")
    model, optimizer = accelerator.prepare(*model_and_optimizer(recipe, dataset, device))
    for batch, labels in batches(recipe, dataset, device):
        loss = cross_entropy(model(batch), labels)
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        optimizer.step()
        yield None


def with_lightning(recipe: Recipe, dataset: InMemory, device: torch.device) -> Updates:
    """The same through Lightning's `Trainer`, without logger, checkpoints and progress bar.

    `fit` does not return between updates: it runs in a thread of its own, which makes one update when it is asked to.
    """
    import lightning

    model, optimizer = model_and_optimizer(recipe, dataset, device)
    asked, made, threads = threading.Semaphore(0), threading.Semaphore(0), torch.get_num_threads()

    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            return cross_entropy(self.model(batch[0]).float(), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer

        def on_train_batch_start(self, *_: object) -> None:
            asked.acquire()

        def on_train_batch_end(self, *_: object) -> None:
            made.release()

    def fit() -> None:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        trainer = lightning.Trainer(
            accelerator="cpu",
            precision="bf16-mixed" if recipe.compute.precision == "bf16" else "32-true",
            max_steps=-1,
            max_epochs=-1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Module(), batches(recipe, dataset, device))

    threading.Thread(target=fit, daemon=True).start()
    while True:
        asked.release()
        made.acquire()
        yield None


def products_alone(recipe: Recipe, dataset: InMemory, device: torch.device) -> Updates:
    """The floor: the network's matrix products and convolutions, forward and backward, and nothing else.

    Each layer alone, on an input of the shape that it gets in training; the first has no gradient for its input.
    """
    model, _ = model_and_optimizer(recipe, dataset, device)
    dtype = torch.bfloat16 if recipe.compute.precision == "bf16" else torch.float32
    kept: list[tuple[nn.Module, Tensor]] = []
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, _: kept.append((layer, inputs[0].detach().to(dtype))))
        for layer in model.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    model(next(batches(recipe, dataset, device))[0])
    for hook in hooks:
        hook.remove()
    model.to(dtype)
    products = [(layer, x.requires_grad_(i > 0), torch.randn_like(layer(x))) for i, (layer, x) in enumerate(kept)]
    while True:
        for layer, x, grad_y in products:
            wanted = [t for t in (x, *layer.parameters()) if t.requires_grad]
            torch.autograd.grad(layer(x), wanted, grad_y)
        yield None


def model_and_optimizer(
    recipe: Recipe, dataset: InMemory, device: torch.device
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A fresh network in its fastest memory format, and torch's fused optimizer for it."""
    torch.manual_seed(0)
    model = MODELS[recipe.model.name](dataset.shape, dataset.classes).to(device)
    if any(p.ndim == 4 for p in model.parameters()):
        model = model.to(memory_format=torch.channels_last)
    return model, torch.optim.SGD(
        model.parameters(), lr=recipe.optimizer.lr, momentum=0.9, weight_decay=recipe.optimizer.weight_decay, fused=True
    )


def batches(recipe: Recipe, dataset: InMemory, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches without end, from images normalized once, with their labels."""
    images, labels = normalized(dataset, dataset.train.images_NCHW), dataset.train.labels_N.to(device)
    crops = recipe.data.augmentation == "pad-crop-flip"
    if images.shape[1] > 1:
        images = images.contiguous(memory_format=torch.channels_last)
    crop = cropped if device.type == "cpu" else cropped_at_once
    # Padded once: a crop is then a slice.
    images, size = pad(images, [4] * 4) if crops else images, recipe.batch.size
    while True:
        order = torch.randperm(len(labels), device=device)
        for start in range(0, len(labels) - size + 1, size):
            chosen = order[start : start + size]
            batch = crop(images, chosen, dataset.shape) if crops else images.index_select(0, chosen)
            yield batch, labels[chosen]


def cropped(padded: Tensor, chosen: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """A random crop and mirror of each chosen image, as views gathered into one channels_last batch."""
    channels, height, width = shape
    batch = torch.empty(len(chosen), channels, height, width).contiguous(memory_format=torch.channels_last)
    corners = torch.randint(0, 9, (len(chosen), 2)).tolist()
    mirrored = (torch.rand(len(chosen)) < 0.5).tolist()
    for i, (image, (top, left), mirror) in enumerate(zip(chosen.tolist(), corners, mirrored, strict=True)):
        crop = padded[image, :, top : top + height, left : left + width]
        batch[i] = crop.flip(2) if mirror else crop
    return batch


def cropped_at_once(padded: Tensor, chosen: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """The same by one gather, drawn on the images' device: a GPU would wait for each of the views."""
    _, height, width = shape
    device = padded.device
    top, left = torch.randint(0, 9, (2, len(chosen), 1), device=device)
    columns = torch.arange(width, device=device)
    mirrored = torch.rand(len(chosen), 1, device=device) < 0.5
    rows = top + torch.arange(height, device=device)
    columns = left + torch.where(mirrored, width - 1 - columns, columns)
    batch = padded.permute(0, 2, 3, 1)[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
    return batch.permute(0, 3, 1, 2)


def measured(competitors: list[Competitor], rounds: int, wait: Callable[[], None] = lambda: None) -> list[list[float]]:
    """Seconds per update, one list a competitor, one number a round; a round before them is not measured.

    `wait` is called around each competitor's updates: it returns when the device has made them.
    """
    seconds: list[list[float]] = [[] for _ in competitors]
    for turn in range(rounds + 1):
        for competitor, its in zip(competitors, seconds, strict=True):
            wait()
            begin = time.perf_counter()
            for _ in range(competitor.updates if turn else 2):
                next(competitor.training)
            wait()
            if turn:
                its.append((time.perf_counter() - begin) / competitor.updates)
    return seconds


def random_images(examples: int, device: torch.device) -> InMemory:
    """Random images of CIFAR-10's shape and kind, in the device's memory."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (examples, 3, 32, 32), dtype=torch.uint8, generator=draws).to(device)
    split = Split(images, torch.randint(0, 10, (examples,), generator=draws).to(device))
    return InMemory(split, split, 10, torch.full((3,), 127.5, device=device), torch.full((3,), 73.9, device=device))


def overridden(recipe: Recipe, tables: dict[str, object]) -> Recipe:
    """The recipe with some tables replaced."""
    return recipe.model_copy(update=tables)
