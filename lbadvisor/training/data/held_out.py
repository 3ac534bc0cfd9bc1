"""Which examples of a training set are held out, to be evaluated on. N examples, K classes."""

import torch
from torch import Tensor

from lbadvisor.errors import DataError
from lbadvisor.training.seeds import generator


def parted(labels_N: Tensor, validation_examples: int) -> tuple[Tensor, Tensor]:
    """The numbers of the examples to train on and of those held out, int64, each in the order of the data.

    Each class is held out from by its share of the data, to within one example; which ones is a permutation of each
    class of its own. Both are functions of the labels and of `validation_examples` alone: every run of every seed, and
    every batch size, is judged on the same examples. Raises `DataError` where nothing would be left to train on.
    """
    if not 0 < validation_examples < len(labels_N):
        raise DataError(f"{validation_examples} of {len(labels_N)} examples cannot be held out")
    labels_N = labels_N.cpu()
    counts = torch.bincount(labels_N).tolist()
    held_out_N = torch.zeros(len(labels_N), dtype=torch.bool)
    for label, count in enumerate(_shares(counts, validation_examples)):
        members = torch.nonzero(labels_N == label).flatten()
        order = torch.randperm(len(members), generator=generator(0, "held out", label))
        held_out_N[members[order[:count]]] = True
    return torch.nonzero(~held_out_N).flatten(), torch.nonzero(held_out_N).flatten()


def _shares(counts: list[int], total: int) -> list[int]:
    """`total` shared out in proportion to `counts`: by the largest remainders, of equal ones the first."""
    exact = [count * total for count in counts]
    shares = [product // sum(counts) for product in exact]
    by_remainder = sorted(range(len(counts)), key=lambda i: -(exact[i] % sum(counts)))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares
