"""Sketches keep the inner products of gradients."""

import pytest
import torch
from torch import nn

from lbadvisor.diagnostics.covariance.sketch import BUCKETS, sketch_of

NETWORK = nn.Sequential(nn.Linear(400, 100), nn.Linear(100, 3))


def gradients(seed):
    draws = torch.Generator().manual_seed(seed)
    return [torch.randn(p.shape, generator=draws) for p in NETWORK.parameters()]


def flat(parts):
    return torch.cat([part.flatten() for part in parts]).double()


def test_a_small_group_is_kept_and_a_large_one_shrinks_to_its_buckets():
    """100 * 400 + 100 parameters into 2048 buckets; 3 * 100 + 3 as they are, but for their signs."""
    sketch = sketch_of(NETWORK, 0)
    assert list(sketch.groups.values()) == [slice(0, BUCKETS), slice(BUCKETS, BUCKETS + 303)]
    one = gradients(1)
    assert sketch.of(one)[BUCKETS:].abs().tolist() == pytest.approx(flat(one[2:]).abs().tolist())


def test_inner_products_are_kept_within_a_few_percent_of_the_norms():
    """Five standard deviations of sqrt(2/2048); and over forty sketches the mean comes closer."""
    one, other = gradients(1), [a + b for a, b in zip(gradients(1), gradients(2), strict=True)]
    true, norms = flat(one) @ flat(other), flat(one).norm() * flat(other).norm()
    found = torch.stack([sketch.of(one) @ sketch.of(other) for sketch in (sketch_of(NETWORK, s) for s in range(40))])
    assert ((found - true).abs() < 5 * (2 / BUCKETS) ** 0.5 * norms).all()
    assert abs(found.mean() - true) < 0.02 * norms


def test_a_sketch_is_a_function_of_the_seed():
    one = gradients(1)
    assert torch.equal(sketch_of(NETWORK, 3).of(one), sketch_of(NETWORK, 3).of(one))
    assert not torch.equal(sketch_of(NETWORK, 3).of(one), sketch_of(NETWORK, 4).of(one))
