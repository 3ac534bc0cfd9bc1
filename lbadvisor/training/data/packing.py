"""Computed once for a class folder and then cached: its images decoded into one file, or their pixel counts."""

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lbadvisor.errors import DataError, reason_of
from lbadvisor.files import write_atomically
from lbadvisor.training.data.class_folders import ClassFolder, kept_file
from lbadvisor.training.data.dataset import Preparing, Split
from lbadvisor.training.data.decoding import decoded_into, fitted, unchanged
from lbadvisor.training.data.one_at_a_time import one_at_a_time
from lbadvisor.training.out_of_memory import is_of_memory
from lbadvisor.training.shape import Shape

CHUNK = 64
"""Number of images between progress reports and checks for a stop."""


def packed(split: ClassFolder, shape: Shape, image_size: int | None, workers: int) -> Generator[Preparing, None, Split]:
    """The split's images of (C, H, W) `shape` in one memory-mapped file, which is created if needed.

    Creating it needs memory for all images once; the processes of a machine share the file's. Dropping the iterator
    leaves nothing behind.
    """
    file, task = kept_file(split, image_size, "pt"), f"packing {split.title}"

    def make() -> Iterator[Preparing]:
        images_NCHW = torch.empty((len(split.paths), *shape), dtype=torch.uint8)
        pixels_NCHW, reshape = images_NCHW.numpy(), unchanged if image_size is None else fitted(image_size)

        def decode(start: int, end: int) -> None:
            for i in range(start, end):
                decoded_into(pixels_NCHW[i], split.paths[i], reshape)

        yield from _in_chunks(task, len(split.paths), decode, workers)
        _keep(file, {"images": images_NCHW, "labels": split.labels_N})

    yield from _made_once(file, task, make)
    content = _kept(file, mmap=True)
    return Split(content["images"], content["labels"])


def counted(
    split: ClassFolder, shape: Shape, image_size: int | None, workers: int
) -> Generator[Preparing, None, Tensor]:
    """How often each pixel value occurs in each channel of the split's images, int64 (C, 256); counted once and cached.

    For sets that are too large to pack: this gives the same normalization, bit for bit.
    """
    file, task = kept_file(split, image_size, "counts"), f"measuring {split.title}"

    def make() -> Iterator[Preparing]:
        reshape = unchanged if image_size is None else fitted(image_size)
        counts, lock = np.zeros((shape[0], 256), dtype=np.int64), threading.Lock()

        def count(start: int, end: int) -> None:
            pixels_CHW, found = np.empty(shape, dtype=np.uint8), np.zeros_like(counts)
            for i in range(start, end):
                decoded_into(pixels_CHW, split.paths[i], reshape)
                found += [np.bincount(channel.ravel(), minlength=256) for channel in pixels_CHW]
            with lock:
                counts[...] += found

        yield from _in_chunks(task, len(split.paths), count, workers)
        _keep(file, torch.from_numpy(counts))

    yield from _made_once(file, task, make)
    content: Tensor = _kept(file, mmap=False)
    return content


def _made_once(file: Path, task: str, make: Callable[[], Iterator[Preparing]]) -> Iterator[Preparing]:
    """Make the file, unless it exists or another process makes it now, which is waited for."""

    def make_if_missing() -> Generator[Preparing]:
        if not file.exists():
            yield from make()

    if not file.exists():
        yield from one_at_a_time(file.with_suffix(f"{file.suffix}.lock"), task, make_if_missing)


def _keep(file: Path, content: Any) -> None:
    try:
        write_atomically(file, lambda opened: torch.save(content, opened))
    except (OSError, RuntimeError) as error:
        # torch raises a RuntimeError if the disk is full.
        raise DataError(
            f"the file {file} cannot be written ({reason_of(error)}): free disk space, or set XDG_CACHE_HOME"
        ) from error


def _kept(file: Path, *, mmap: bool) -> Any:
    try:
        return torch.load(file, mmap=mmap, weights_only=True)
    except Exception as error:  # nothing documents what damaged bytes make the unpickler raise
        if is_of_memory(error):
            raise
        raise DataError(
            f"the file {file} cannot be read ({reason_of(error)}): delete it, and it will be recreated"
        ) from error


def _in_chunks(task: str, images: int, work: Callable[[int, int], None], workers: int) -> Iterator[Preparing]:
    """Run `work(start, end)` in threads for every chunk of the images; they stop if one fails or this is dropped."""
    yield Preparing(task, 0, images)
    pool = ThreadPoolExecutor(workers)
    try:
        ends = [min(start + CHUNK, images) for start in range(0, images, CHUNK)]
        for future, end in [(pool.submit(work, end - ((end - 1) % CHUNK + 1), end), end) for end in ends]:
            future.result()
            yield Preparing(task, end, images)
    finally:
        pool.shutdown(cancel_futures=True)
