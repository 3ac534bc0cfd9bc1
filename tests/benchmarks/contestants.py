"""What the benchmarks of training share: our loop and those of others, on one data set, and how they are timed.

Nothing here needs a database, or a data set's file. A `Script` is what a training script makes before its loop: by hand
(data in memory, nothing one could leave out) or the usual way (a `DataLoader` over single examples with transforms);
the loop is then written out, or left to Lightning or Accelerate.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy, linear, pad
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data import Dataset as TorchDataset

from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training.data.dataset import Split
from lbadvisor.training.data.in_memory import InMemory
from lbadvisor.training.data.pixels import normalized
from lbadvisor.training.loop import train
from lbadvisor.training.models import MODELS
from lbadvisor.training.shape import Shape
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


@dataclass(frozen=True, slots=True)
class Script:
    """A network, its optimizer, and what gives an epoch's batches."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    batches: Iterable[tuple[Tensor, Tensor]]
    bf16: bool


class FromMemory(IterableDataset[tuple[Tensor, Tensor]]):
    """Batches gathered from normalized images in the device's memory."""

    def __init__(self, recipe: Recipe, dataset: InMemory, device: torch.device, memory_format: torch.memory_format):
        self._size, self._shape = recipe.batch.size, dataset.shape
        self._labels = dataset.train.labels_N.to(device)
        images = normalized(dataset, dataset.train.images_NCHW).contiguous(memory_format=memory_format)
        self._crop = None
        if recipe.data.augmentation == "pad-crop-flip":
            self._crop = cropped if device.type == "cpu" else cropped_at_once
            # Padded once: a crop is then a slice.
            images = pad(images, [4] * 4)
        self._images = images

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self._labels), device=self._labels.device)
        for start in range(0, len(order) - self._size + 1, self._size):
            chosen = order[start : start + self._size]
            if self._crop is None:
                images = self._images.index_select(0, chosen)
            else:
                images = self._crop(self._images, chosen, self._shape)
            yield images, self._labels[chosen]


def script_by_hand(recipe: Recipe, dataset: InMemory, device: torch.device) -> Script:
    """Plain torch at its fastest: channels_last for convolutions, the fused optimizer, data in memory."""
    torch.manual_seed(0)
    model = MODELS[recipe.model.name](dataset.shape, dataset.classes).to(device)
    memory_format = torch.contiguous_format
    if any(p.ndim == 4 for p in model.parameters()):
        memory_format = torch.channels_last
        model = model.to(memory_format=memory_format)
    batches = FromMemory(recipe, dataset, device, memory_format)
    return Script(model, _sgd(recipe, model, fused=True), batches, recipe.compute.precision == "bf16")


def usual_script(recipe: Recipe, dataset: InMemory) -> Script:
    """What one finds everywhere."""
    torch.manual_seed(0)
    model = MODELS[recipe.model.name](dataset.shape, dataset.classes)
    crops = recipe.data.augmentation == "pad-crop-flip"
    loader = DataLoader(OneByOne(dataset, crops=crops), recipe.batch.size, shuffle=True, drop_last=True)
    return Script(model, _sgd(recipe, model, fused=None), loader, recipe.compute.precision == "bf16")


def _sgd(recipe: Recipe, model: nn.Module, *, fused: bool | None) -> torch.optim.Optimizer:
    optimizer = recipe.optimizer
    return torch.optim.SGD(
        model.parameters(), lr=optimizer.lr, momentum=0.9, weight_decay=optimizer.weight_decay, fused=fused
    )


class OneByOne(TorchDataset[tuple[Tensor, Tensor]]):
    """Single examples, transformed when they are asked for, as torchvision's data sets give them."""

    def __init__(self, dataset: InMemory, *, crops: bool) -> None:
        from torchvision import transforms

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


def by_hand(recipe: Recipe, dataset: InMemory, device: torch.device) -> Updates:
    """The loop by hand."""
    script = script_by_hand(recipe, dataset, device)
    while True:
        for images, labels in script.batches:
            with torch.autocast(device.type, torch.bfloat16, enabled=script.bf16):
                logits = script.model(images)
            loss = cross_entropy(logits.float(), labels)
            script.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            script.optimizer.step()
            yield None


def usual(recipe: Recipe, dataset: InMemory) -> Updates:
    """The usual loop: it looks at the loss of every update."""
    script, running = usual_script(recipe, dataset), 0.0
    while True:
        for images, labels in script.batches:
            script.optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=script.bf16):
                loss = nn.CrossEntropyLoss()(script.model(images), labels)
            loss.backward()
            script.optimizer.step()
            running += loss.item()
            yield None


def accelerated(script: Script) -> Updates:
    """The loop as users of Accelerate write it, its progress and trackers left out."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, mixed_precision="bf16" if script.bf16 else "no")
    model, optimizer, loader = accelerator.prepare(script.model, script.optimizer, as_loader(script))
    while True:
        for images, labels in loader:
            optimizer.zero_grad()
            loss = cross_entropy(model(images), labels)
            accelerator.backward(loss)
            optimizer.step()
            yield None


def fit_with_lightning(script: Script, updated: Callable[[], None]) -> None:
    """Train with Lightning's `Trainer`, its logging, checkpoints and progress switched off, until `updated` raises."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = script.model

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            images, labels = batch
            return cross_entropy(self.model(images), labels)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return script.optimizer

        def on_train_batch_end(self, *_: object) -> None:
            updated()

    trainer = lightning.Trainer(
        accelerator="cpu", devices=1, precision="bf16-mixed" if script.bf16 else "32-true", max_epochs=-1,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(), as_loader(script))


def as_loader(script: Script) -> "DataLoader[tuple[Tensor, Tensor]]":
    """The batches as what frameworks take: a `DataLoader`."""
    batches = script.batches
    return DataLoader(batches, batch_size=None) if isinstance(batches, FromMemory) else batches


def products(recipe: Recipe, dataset: InMemory) -> Updates:
    """The matrix products or convolutions of an update and nothing else: forward, to the weights, and to the inputs."""
    script = script_by_hand(recipe, dataset, torch.device("cpu"))
    dtype = torch.bfloat16 if script.bf16 else torch.float32
    work: list[tuple[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor, Tensor]] = []

    def watch(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x, weight = (t.detach().to(dtype) for t in (inputs[0], layer.weight))
        # Nothing is trained through the first layer's input.
        x.requires_grad_(bool(work))
        call = partial(conv2d, stride=layer.stride, padding=layer.padding) if isinstance(layer, nn.Conv2d) else linear
        work.append((call, x, weight.requires_grad_(), torch.randn_like(output, dtype=dtype)))

    for layer in script.model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(watch)
    with torch.no_grad():
        script.model(next(iter(script.batches))[0])
    while True:
        for call, x, weight, grad in work:
            torch.autograd.grad(call(x, weight), [x, weight] if x.requires_grad else [weight], grad)
        yield None


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


def random_images(examples: int, device: torch.device, shape: Shape = (3, 32, 32)) -> InMemory:
    """Random images in ten classes, by default of CIFAR-10's shape, in the device's memory."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (examples, *shape), dtype=torch.uint8, generator=draws).to(device)
    split = Split(images, torch.randint(0, 10, (examples,), generator=draws).to(device))
    mean, deviation = (torch.full(shape[:1], value, device=device) for value in (127.5, 73.9))
    return InMemory(split, split, 10, mean, deviation)


def overridden(recipe: Recipe, tables: dict[str, object]) -> Recipe:
    """The recipe with some tables replaced."""
    return recipe.model_copy(update=tables)
