"""Fully connected networks; they take images of any size."""

from itertools import pairwise
from math import prod

from torch import nn

from lbadvisor.training.shape import Shape


def digits_mlp(shape: Shape, classes: int) -> nn.Module:
    """Three hidden layers of 64 with batch norm, for the 8x8 digits: 64-64-64-64-10. (N, C, H, W) -> (N, classes).

    This project's own: a network that trains in seconds and has batch norm in every hidden layer.
    """
    return _perceptron(prod(shape), (64, 64, 64), classes)


def f1(shape: Shape, classes: int) -> nn.Module:
    """F1: five hidden layers of 512 with batch norm, published for MNIST. (N, C, H, W) -> (N, classes).

    Source: Keskar et al. 2017 (arXiv:1609.04836), as in the code released with Hoffer et al. 2017 (github
    eladhoffer/bigBatch, models/mnist_f1.py). In torch's own initialization: uniform within 1/sqrt(inputs), batch norms
    at scale 1 (torch drew that from 0 to 1 in 2017).
    """
    return _perceptron(prod(shape), (512,) * 5, classes)


def _perceptron(inputs: int, hidden: tuple[int, ...], classes: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise((inputs, *hidden)):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], classes))
