"""The gradient's norm and its clipping."""

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor


def gradient_norm(parameters: list[Tensor]) -> Tensor:
    """Global L2 norm of the gradients, shape ()."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


class Clips(Protocol):
    """A largest global L2 norm, and the number of updates for which it holds; None: all of them."""

    @property
    def max_norm(self) -> float:
        """The largest norm that is not clipped."""

    @property
    def updates(self) -> int | None:
        """The length in updates."""


class HasClipping(Protocol):
    """A plan, or a recipe in updates."""

    @property
    def clipping(self) -> Clips | None:
        """Its clipping; None: no update is clipped."""


class ClippingWarmup:
    """Clips the gradients' global L2 norm in the first updates, as a plan or a recipe in updates says.

    Call `step` once per update, before `optimizer.step()`; with a gradient scaler, after `scaler.unscale_(optimizer)`.
    `update` counts the updates made (the first is 0), `clipped` those that were clipped, and `norm` is that of the last
    update before clipping, None after the warm-up. They are tensors of shape () on the device of the first parameter,
    so that no GPU is waited for.

        >>> import lbadvisor, torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> plan = lbadvisor.plan(batch_size=128, to=2048, updates=1000, examples=50_000)
        >>> clip = lbadvisor.ClippingWarmup(model.parameters(), plan)
        >>> model(torch.tensor([3.0, 4.0])).backward()
        >>> clip.step(), model.weight.grad
        (tensor(5.), tensor([[0.7500, 1.0000]]))

    Source: Hoffer et al. 2017, arXiv:1705.08741, which clips in the first updates but gives neither norm nor length.
    Raises `PlanError` if the plan's length is not known, and `TypeError` without parameters.
    """

    def __init__(
        self, parameters: Iterable[Tensor], plan: HasClipping, *, update: int = 0, clipped: Tensor | None = None
    ) -> None:
        self._parameters = list(parameters)
        if not self._parameters or not isinstance(self._parameters[0], Tensor):
            raise TypeError("there are no parameters to clip: give those of the model, model.parameters()")
        self._clipping = plan.clipping
        self.update = update
        self.norm: Tensor | None = None
        self.clipped = torch.zeros((), device=self._parameters[0].device) if clipped is None else clipped

    def step(self) -> Tensor | None:
        """Clip the gradients of this update; returns their norm before, shape (), or None if the warm-up is over."""
        clipping, update = self._clipping, self.update
        self.update, self.norm = update + 1, None
        if clipping is not None and (clipping.updates is None or update < clipping.updates):
            self.norm = torch.nn.utils.clip_grad_norm_(self._parameters, clipping.max_norm)
            self.clipped.add_(self.norm > clipping.max_norm)
        return self.norm

    def state_dict(self) -> dict[str, Any]:
        """The updates made, and how many of them were clipped."""
        return {"update": self.update, "clipped": self.clipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a `state_dict`."""
        self.update = state["update"]
        self.clipped.copy_(state["clipped"])
