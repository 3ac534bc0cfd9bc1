"""Which examples of a training set are held out for evaluation. N examples, K classes."""

import torch
from torch import Tensor

from lbadvisor.errors import DataError
from lbadvisor.training.seeds import generator


def parted(labels_N: Tensor, validation_examples: int) -> tuple[Tensor, Tensor]:
    """The indices of the examples to train on and of those held out, int64, each in the order of the data.

    Each class gives up a share in proportion to its size, to within one example, chosen by a permutation of the class.
    Both are functions of the labels and `validation_examples` alone: every run is judged on the same examples, for any
    seed and batch size. Raises `DataError` if nothing would be left to train on.
    """
    if not 0 < validation_examples < len(labels_N):
        raise DataError(f"cannot hold out {validation_examples} of {len(labels_N)} examples")
    labels_N = labels_N.cpu()
    counts = torch.bincount(labels_N).tolist()
    held_out_N = torch.zeros(len(labels_N), dtype=torch.bool)
    for label, count in enumerate(_shares(counts, validation_examples)):
        members = torch.nonzero(labels_N == label).flatten()
        order = torch.randperm(len(members), generator=generator(0, "held out", label))
        held_out_N[members[order[:count]]] = True
    return torch.nonzero(~held_out_N).flatten(), torch.nonzero(held_out_N).flatten()


def _shares(counts: list[int], total: int) -> list[int]:
    """`total` divided in proportion to `counts` by the largest remainders; of equal remainders, the first wins."""
    exact = [count * total for count in counts]
    shares = [product // sum(counts) for product in exact]
    by_remainder = sorted(range(len(counts)), key=lambda i: -(exact[i] % sum(counts)))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares
