"""What the paper watches in a training, for any model in any loop."""

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lbadvisor.diagnostics.noise.noise_estimate import noise_scale
from lbadvisor.errors import UsageError
from lbadvisor.nn.clipping import ClippingWarmup, gradient_norm
from lbadvisor.nn.two_batches import rest_of, squared_norm, two_batch_moments, untracked
from lbadvisor.nn.weight_distance import distance_of
from lbadvisor.planning.noise_scale import NoiseScale
from lbadvisor.planning.parameter_groups import LR_RATIO


class _Watched(NamedTuple):
    """What is read at once, by its keys in a run's log."""

    lr: float
    gradient_norm: float
    weight_distance: float
    clipped_share: float
    gradient_square: float | None
    gradient_variance: float | None


class Watch:
    """Weight distance, gradient norm, clipped share and noise scale of a model in training.

    Make it before the first update: it keeps a copy of the first weights, which takes as much memory as they do. Call
    `read` between `optimizer.step()` and `schedule.step()`, whenever a measurement is due, and log it into a run:

        >>> import lbadvisor, torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        >>> watch = lbadvisor.Watch(model, optimizer)
        >>> with lbadvisor.record("a-run", {"batch_size": 1, "optimizer": "sgd", "lr": 0.5}) as run:
        ...     loss = model(torch.tensor([3.0, 4.0])).sum()
        ...     loss.backward()
        ...     optimizer.step()
        ...     run.log(1, loss=loss.item(), **watch.read())
        >>> watch.weight_distance()
        2.5

    `clip` is the loop's `ClippingWarmup`, if it has one: the gradient's norm is then that before clipping.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, clip: ClippingWarmup | None = None) -> None:
        self._model, self._optimizer, self._clip = model, optimizer, clip
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._initial = [p.detach().clone() for p in self._parameters]
        self._counted = self._counts()
        self._squares: list[float] = []
        self._variances: list[float] = []
        self._has_new_noise = False

    def weight_distance(self) -> float:
        """L2 norm of w_t - w_0, unitless; it grows as log t in Hoffer et al. 2017 (arXiv:1705.08741), Figure 2."""
        return distance_of(self._parameters, self._initial)

    def gradient_norm(self) -> float:
        """Global L2 norm of the last update's gradient, before the warm-up clipped it; before `zero_grad()`."""
        norm = None if self._clip is None else self._clip.norm
        return float(gradient_norm(list(self._parameters)) if norm is None else norm)

    def read(self) -> dict[str, float]:
        """The numbers of the last update, by the keys of a run's log.

        `lr` (as the schedule gives it), `gradient_norm`, `weight_distance`, the `clipped_share` (0 to 1) of the updates
        since the last call, and, if the noise was read since, `gradient_square` and `gradient_variance`.
        """
        group = self._optimizer.param_groups[0]
        counts, before = self._counts(), self._counted
        clipped, updates = counts[0] - before[0], counts[1] - before[1]
        self._counted = counts
        square = variance = None
        if self._has_new_noise:
            square, variance = self._squares[-1], self._variances[-1]
            self._has_new_noise = False
        numbers = _Watched(
            lr=float(group["lr"]) / group.get(LR_RATIO, 1.0),
            gradient_norm=self.gradient_norm(),
            weight_distance=self.weight_distance(),
            clipped_share=clipped / updates if updates else 0.0,
            gradient_square=square,
            gradient_variance=variance,
        )
        return {key: number for key, number in numbers._asdict().items() if number is not None}

    def untracked(self) -> AbstractContextManager[None]:
        """While entered, batch norm computes as in training but leaves its running statistics as they are."""
        return untracked(self._model)

    def read_noise(self, first_loss: Tensor, first: int, batch_size: int, examples: int | None = None) -> None:
        """Read the gradient's noise from an update's two parts, between `backward()` and `clip.step()`.

        `first_loss` is the mean loss, computed again, of the `first` of its `batch_size` examples: half of them, in
        whole ghost batches. The gradient of the others follows, so it takes one pass of half a batch, say once in 100
        updates (1% of their time):

        >>> import lbadvisor, torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> watch = lbadvisor.Watch(model, torch.optim.SGD(model.parameters(), lr=0.5))
        >>> images = torch.tensor([[3.0, 4.0], [3.0, 3.0], [2.0, 4.0], [4.0, 4.0]])
        >>> model(images).mean().backward()
        >>> with watch.untracked():
        ...     first_loss = model(images[:2]).mean()
        >>> watch.read_noise(first_loss, 2, 4)
        >>> round(watch.noise_scale().examples, 4)
        0.0109

        Both parts must compute as in the update: not so with dropout, which draws other masks, nor with plain batch
        norm, whose statistics span the batch. The estimators are those of McCandlish et al. 2018 (arXiv:1812.06162),
        for examples drawn with replacement. A shuffled DataLoader draws without: give it the number of training
        `examples`; without it the noise scale comes out 1 / (1 - noise scale / examples) times too large. Raises
        `UsageError` without gradients, for a part without examples, and for a batch of more examples than there are.
        """
        if not 0 < first < batch_size:
            raise UsageError(f"the first part has {first} of {batch_size} examples: give it about half of them")
        if examples is not None and batch_size > examples:
            raise UsageError(f"a batch of {batch_size} is not drawn from {examples} examples without replacement")
        watched = [p for p in self._parameters if p.grad is not None]
        if not watched:
            raise UsageError("there are no gradients: read the noise between backward() and zero_grad()")
        both = [p.grad for p in watched if p.grad is not None]
        one = torch.autograd.grad(first_loss, watched)
        two = rest_of(both, one, batch_size, first)
        # Without replacement each is 1/M - 1/N: their difference, and so the variance, is the same.
        seen = 0.0 if examples is None else 1 / examples
        v_small = (1 / first + 1 / (batch_size - first)) / 2 - seen
        of_parts = (squared_norm(one) + squared_norm(two)) / 2
        square, variance = two_batch_moments(of_parts, squared_norm(both), v_small, 1 / batch_size - seen)
        self._squares.append(square)
        self._variances.append(variance)
        self._has_new_noise = True

    def noise_scale(self) -> NoiseScale:
        """The gradient noise scale tr S/|g|^2 over all readings, in examples, with its 95% interval (Fieller).

        A plan takes it as `noise_scale=`. Raises `UsageError` before the first reading.
        """
        if not self._squares:
            raise UsageError("the noise was not read yet: call read_noise in some updates")
        return noise_scale(self._squares, self._variances)

    def state_dict(self) -> dict[str, Any]:
        """The first weights, the counts and the readings so far."""
        return {
            "initial": self._initial, "counted": self._counted, "squares": self._squares, "variances": self._variances,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a `state_dict`."""
        for own, saved in zip(self._initial, state["initial"], strict=True):
            own.copy_(saved)
        self._counted = tuple(state["counted"])
        self._squares, self._variances = list(state["squares"]), list(state["variances"])

    def _counts(self) -> tuple[float, int]:
        """Clipped updates and all updates so far."""
        return (0.0, 0) if self._clip is None else (float(self._clip.clipped), self._clip.update)
