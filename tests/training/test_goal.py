"""What a training minimizes: every example counts the same, however it is cut and whatever its own shape."""

import pytest
import torch
from torch import nn

from lbadvisor.errors import DataError
from lbadvisor.recipe.recipe_tables import Compute
from lbadvisor.training.batch import UpdateBatch
from lbadvisor.training.goal import CROSS_ENTROPY, Goal
from lbadvisor.training.micro_batches import backward

OUTPUTS = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0))
TARGETS = torch.randint(5, (6, 4), generator=torch.Generator().manual_seed(1))


def test_the_loss_of_tokens_is_minus_the_mean_log_probability():
    by_hand = -torch.log_softmax(OUTPUTS.double(), 2).gather(2, TARGETS[..., None]).squeeze(2)
    assert CROSS_ENTROPY.mean(OUTPUTS, TARGETS).item() == pytest.approx(by_hand.mean().item(), rel=1e-6)
    assert CROSS_ENTROPY.each(OUTPUTS, TARGETS).tolist() == pytest.approx(by_hand.mean(1).tolist(), rel=1e-5)
    assert CROSS_ENTROPY.total(OUTPUTS, TARGETS).item() == pytest.approx(by_hand.mean(1).sum().item(), rel=1e-6)


def test_the_accuracy_of_tokens_counts_tokens():
    outputs = nn.functional.one_hot(TARGETS, 5).float()
    outputs[0, 0] = outputs[0, 0].roll(1)
    assert CROSS_ENTROPY.right(outputs, TARGETS).item() == pytest.approx(6 * 23 / 24)


def test_one_class_per_example_has_the_bits_of_torch():
    logits, labels = OUTPUTS[:, 0], TARGETS[:, 0]
    assert torch.equal(CROSS_ENTROPY.mean(logits, labels), nn.functional.cross_entropy(logits, labels))


@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("weighted", [False, True])
def test_slices_of_a_batch_add_up_to_its_gradient(reduction, weighted):
    """With the user's own loss, told of each example or as their mean; weights need each."""
    x, y = OUTPUTS[:, 0], OUTPUTS[:, 1, :2]
    goal = Goal(has_classes=False, own=nn.L1Loss(reduction=reduction))
    weights = torch.arange(6.0) if weighted else None
    gradients = []
    for sizes in ((6,), (4, 2)):
        torch.manual_seed(0)
        network = nn.Linear(5, 2)
        if weighted and reduction == "mean":
            with pytest.raises(DataError, match="make it return shape"):
                backward(network, UpdateBatch(x, y, weights), sizes, Compute(), goal=goal)
            return
        backward(network, UpdateBatch(x, y, weights), sizes, Compute(), goal=goal)
        gradients.append(network.weight.grad)
    assert torch.allclose(*gradients, rtol=1e-5)


def test_a_regression_refuses_shapes_that_torch_would_spread():
    with pytest.raises(DataError, match=r"float32 \(6, 1\), do not have the shape of the targets, float32 \(6\)"):
        Goal(has_classes=False).mean(torch.zeros(6, 1), torch.zeros(6))


def test_a_target_to_leave_out_is_refused_and_not_left_out_in_silence():
    """By default torch's mean is over the other tokens alone, and its sum over all examples is not that mean."""
    targets = TARGETS.clone()
    targets[0, 0] = -100
    for loss in (CROSS_ENTROPY.mean, CROSS_ENTROPY.total, CROSS_ENTROPY.each):
        with pytest.raises(DataError, match="such as padding, take a loss of your own"):
            loss(OUTPUTS, targets)
