"""The data sets and networks that `lbadvisor` knows by name, as facts that need no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """A named data set: examples, classes, and an image's (channels, height, width)."""

    train_examples: int
    test_examples: int
    classes: int
    shape: tuple[int, int, int]
    source: str


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """A named network: whether it has batch norm, and where it was published."""

    batch_norm: bool
    source: str


DATASETS: dict[str, DatasetFacts] = {
    "digits": DatasetFacts(1297, 500, 10, (1, 8, 8), "scikit-learn load_digits, 500 held out evenly by class"),
    "mnist": DatasetFacts(60_000, 10_000, 10, (1, 28, 28), "LeCun, Cortes, Burges 1998"),
    "fashion_mnist": DatasetFacts(60_000, 10_000, 10, (1, 28, 28), "Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747"),
    "cifar10": DatasetFacts(50_000, 10_000, 10, (3, 32, 32), "Krizhevsky 2009"),
    "cifar100": DatasetFacts(50_000, 10_000, 100, (3, 32, 32), "Krizhevsky 2009"),
}
"""Data sets that a name alone finds; any other name is a folder of class folders under the data folder."""

TORCHVISION = "torchvision:"
"""Before the name of one of torchvision's own networks, of which nothing is known without torchvision."""

NETWORKS: dict[str, NetworkFacts] = {
    "digits_mlp": NetworkFacts(True, "this project: 64-64-64-64-10 with batch norm"),
    "f1": NetworkFacts(True, "Keskar et al. 2017, arXiv:1609.04836"),
    "c1": NetworkFacts(True, "Keskar et al. 2017, arXiv:1609.04836"),
    "c3": NetworkFacts(True, "Keskar et al. 2017, arXiv:1609.04836"),
    "vgg16": NetworkFacts(True, "Simonyan, Zisserman 2014, arXiv:1409.1556"),
    "resnet20": NetworkFacts(True, "He et al. 2016, arXiv:1512.03385"),
    "resnet32": NetworkFacts(True, "He et al. 2016, arXiv:1512.03385"),
    "resnet44": NetworkFacts(True, "He et al. 2016, arXiv:1512.03385"),
    "resnet56": NetworkFacts(True, "He et al. 2016, arXiv:1512.03385"),
    "resnet110": NetworkFacts(True, "He et al. 2016, arXiv:1512.03385"),
    "wrn16_4": NetworkFacts(True, "Zagoruyko, Komodakis 2016, arXiv:1605.07146"),
    "alexnet_bn": NetworkFacts(True, "Krizhevsky 2014, arXiv:1404.5997, with batch norm"),
}
"""The networks of `lbadvisor.training.models.MODELS`; a test holds the two together."""
