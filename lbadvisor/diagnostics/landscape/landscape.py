"""The training loss as a function of the weights, on examples that stay the same.

P parameters.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lbadvisor.batch_cuts import ghost_slices
from lbadvisor.errors import UsageError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Batch, Compute
from lbadvisor.training.data.dataset import Dataset, LabelledImages
from lbadvisor.training.goal import CROSS_ENTROPY, Goal
from lbadvisor.training.micro_batches import has_batch_norm
from lbadvisor.training.precision import set_tf32
from lbadvisor.training.state import TrainState

EXAMPLES = 1000
ORDER = 0
"""Every probe looks at the first examples of the first epoch of this seed, so that runs are compared on the same."""


@dataclass(frozen=True, slots=True)
class Landscape:
    """The mean loss of all `batches` over the parameters of `model` as one vector, float64 (P).

    Each batch passes through the network alone. Network and derivatives have the parameters' precision; the loss is
    computed and summed in float64. The model belongs to the landscape, which sets its parameters; `weights_P` are those
    it came with.
    """

    model: nn.Module
    batches: tuple[LabelledImages, ...]
    weights_P: Tensor
    goal: Goal = CROSS_ENTROPY

    @property
    def normalized_over(self) -> int | None:
        """Examples that share batch norm's statistics; None without batch norm."""
        return len(self.batches[0][1]) if has_batch_norm(self.model) else None

    @property
    def too_large(self) -> str:
        """The message if memory runs out."""
        inputs, _ = self.batches[0]
        return (
            f"{len(inputs):,} examples at once do not fit into the memory of the device {inputs.device}: "
            "give fewer --examples"
        )

    def loss(self, weights_P: Tensor) -> float:
        """The loss at these weights."""
        self._put(weights_P)
        with torch.no_grad():
            return sum(loss.item() for loss in self._losses())

    def gradient(self, weights_P: Tensor) -> tuple[float, Tensor]:
        """The loss at these weights, and its gradient."""
        self._put(weights_P)
        total, gradient_P = 0.0, torch.zeros_like(weights_P)
        for loss in self._losses():
            gradient_P += _flat(torch.autograd.grad(loss, self._parameters))
            total += loss.item()
        return total, gradient_P

    def curvature(self, weights_P: Tensor, direction_P: Tensor) -> Tensor:
        """The Hessian at these weights times `direction_P`, by differentiating twice."""
        self._put(weights_P)
        product_P = torch.zeros_like(weights_P)
        parts = self._parts(direction_P)
        # Torch's fused attention can be differentiated only once.
        with sdpa_kernel(SDPBackend.MATH):
            for loss in self._losses():
                gradients = torch.autograd.grad(loss, self._parameters, create_graph=True)
                product_P += _flat(torch.autograd.grad(gradients, self._parameters, grad_outputs=parts))
        return product_P

    @property
    def _parameters(self) -> list[Tensor]:
        return list(self.model.parameters())

    def _losses(self) -> Iterator[Tensor]:
        """Each batch's share of the loss, shape ()."""
        examples = sum(len(targets) for _, targets in self.batches)
        for inputs, targets in self.batches:
            outputs: Tensor = self.model(inputs)
            exact = targets.double() if targets.is_floating_point() else targets
            yield self.goal.total(outputs.double(), exact) / examples

    def _parts(self, vector_P: Tensor) -> list[Tensor]:
        """The vector in the shapes of the parameters, and their precision."""
        parameters = self._parameters
        parts = vector_P.split([p.numel() for p in parameters])
        return [part.view(p.shape).to(p.dtype) for part, p in zip(parts, parameters, strict=True)]

    def _put(self, weights_P: Tensor) -> None:
        with torch.no_grad():
            for parameter, part in zip(self._parameters, self._parts(weights_P), strict=True):
                parameter.copy_(part)


def default_examples(recipe: Recipe) -> int:
    """1000, or all training examples if there are fewer."""
    return min(EXAMPLES, recipe.data.train_examples)


def landscape_of(state: TrainState, dataset: Dataset, examples: int) -> Landscape:
    """The loss of `state`'s network on the first `examples` of the training set's shuffled order, not augmented.

    Batch norm uses the statistics of each ghost or batch, as in training, never the running ones, which a network that
    has not been trained does not have; there is no dropout. The network computes in float32, whatever the recipe says.
    Sets torch's number of CPU threads to the state's. Raises `UsageError` if there are fewer examples.
    """
    sizes = statistics_slices(state.recipe, dataset.train_examples, examples)
    torch.set_num_threads(state.threads)
    set_tf32(Compute())
    model = copy.deepcopy(state.model).eval()
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            # Without running statistics a batch norm uses its batch's, in eval() too.
            layer.running_mean = layer.running_var = None
    data = state.recipe.data.model_copy(update={"augmentation": "none"})
    recipe = state.recipe.model_copy(update={"batch": Batch(size=examples), "data": data})
    inputs, targets = dataset.training_batch(recipe, ORDER, 0)
    batches = tuple(zip(inputs.split(sizes), targets.split(sizes), strict=True))
    return Landscape(model, batches, _flat(p.detach() for p in model.parameters()), state.goal)


def statistics_slices(recipe: Recipe, train_examples: int, examples: int) -> tuple[int, ...]:
    """The sizes of the slices that share batch norm's statistics: ghosts, or batches, of the examples.

    Raises `UsageError` if there are fewer examples, or one would be alone in its slice.
    """
    if not 2 <= examples <= train_examples:
        raise UsageError(f"--examples {examples}: give a number from 2 to the {train_examples} training examples")
    sizes = ghost_slices(examples, recipe.batch_norm.ghost_batch_size or recipe.batch.size)
    if min(sizes) == 1 and recipe.batch.size > 1:
        raise UsageError(
            f"--examples {examples}: with ghosts of 2 the last example would be alone: give an even number"
        )
    return sizes


def _flat(tensors: Iterator[Tensor] | tuple[Tensor, ...]) -> Tensor:
    return torch.cat([tensor.reshape(-1).double() for tensor in tensors])
