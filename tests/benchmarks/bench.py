"""What the parts of gpu_speed.py share: the device, the data set, how a call is timed, and what was measured."""

import json
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.utils.deterministic
from contestants import Competitor, Updates, measured, ours

from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.data.in_memory import InMemory


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


AS_A_RUN = Kernels(deterministic=True, filled=False)
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
    quick: bool = False
    ends: float = float("inf")

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def note(self, part: str, **facts: object) -> None:
        """Keep a record, on disk at once: what was measured stays where the rest fails."""
        self.records.append({"part": part, **facts})
        if self.json is not None:
            self.json.write_text(json.dumps(self.records, indent=1) + "\n")

    def show(self, part: str, name: str, seconds: list[float], **facts: object) -> None:
        """Print and keep one line."""
        print(f"  {name:<36} {spread(seconds, 1000)} ms", flush=True)
        self.note(part, name=name, seconds=seconds, **facts)

    def make(self, part: str, piece: Callable[[], object]) -> None:
        """A piece of a part, unless time is up; if it fails, that is noted and the others are still made."""
        if time.monotonic() > self.ends:
            print(f"  left out, time is up: {part}", flush=True)
            self.note(part, left_out=True)
            return
        try:
            piece()
        except Exception as error:
            print(f"  FAILED: {part}: {type(error).__name__}: {error}", flush=True)
            self.note(part, failed=f"{type(error).__name__}: {error}", trace=traceback.format_exc())

    def table(self) -> str:
        """The timed records as a Markdown table."""
        rows = ["| part | what | n | median ms | range |", "|---|---|---|---|---|"]
        for record in self.records:
            seconds = record.get("seconds")
            if isinstance(seconds, list):
                told = ("network", "precision", "batch", "ghost", "name", "shape", "dtype", "memory_format")
                what = ", ".join(f"{key} {record[key]}" for key in told if record.get(key) is not None)
                middle, low, high = (1000 * f(seconds) for f in (statistics.median, min, max))
                rows.append(f"| {record['part']} | {what} | {len(seconds)} | {middle:.3f} | {low:.3f} - {high:.3f} |")
        return "\n".join(rows) + "\n"

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
