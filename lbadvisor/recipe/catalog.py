"""The data sets, networks and optimizers that `lbadvisor` knows by name, as facts that need no torch."""

from dataclasses import dataclass
from typing import Literal


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
"""Data sets known by name; any other name is a folder of class folders in the data folder."""

BUNDLED = ("digits",)
"""Those that come with scikit-learn and need no folder."""

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

TORCHVISION = "torchvision:"
"""Prefix for the name of a torchvision network."""

TIMM = "timm:"
"""Prefix for the name of a network of timm's, of which nothing is known without timm."""

_TORCHVISION_WITH_BATCH_NORM = """
densenet121 densenet161 densenet169 densenet201 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3
efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7 efficientnet_v2_l efficientnet_v2_m efficientnet_v2_s
maxvit_t mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large
mobilenet_v3_small regnet_x_16gf regnet_x_1_6gf regnet_x_32gf regnet_x_3_2gf regnet_x_400mf regnet_x_800mf
regnet_x_8gf regnet_y_128gf regnet_y_16gf regnet_y_1_6gf regnet_y_32gf regnet_y_3_2gf regnet_y_400mf regnet_y_800mf
regnet_y_8gf resnet101 resnet152 resnet18 resnet34 resnet50 resnext101_32x8d resnext101_64x4d resnext50_32x4d
shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0 vgg11_bn vgg13_bn vgg16_bn vgg19_bn
wide_resnet101_2 wide_resnet50_2
"""
_TORCHVISION_WITHOUT_BATCH_NORM = """
alexnet convnext_base convnext_large convnext_small convnext_tiny squeezenet1_0 squeezenet1_1 swin_b swin_s swin_t
swin_v2_b swin_v2_s swin_v2_t vgg11 vgg13 vgg16 vgg19 vit_b_16 vit_b_32 vit_h_14 vit_l_16 vit_l_32
"""
TORCHVISION_NETWORKS: dict[str, NetworkFacts] = {
    TORCHVISION + name: NetworkFacts(batch_norm, f"torchvision.models.{name}")
    for names, batch_norm in ((_TORCHVISION_WITH_BATCH_NORM, True), (_TORCHVISION_WITHOUT_BATCH_NORM, False))
    for name in names.split()
}
"""Torchvision's classification networks by their names in recipes; a test builds each and compares."""

_WITH_AUXILIARY_OUTPUTS = (f"{TORCHVISION}googlenet", f"{TORCHVISION}inception_v3")


def network_facts(name: str) -> NetworkFacts | None:
    """Facts about the network `name`; None if there is no such network."""
    return NETWORKS.get(name) or TORCHVISION_NETWORKS.get(name)


def why_not_trained(name: str) -> str | None:
    """Why a network that torchvision has is not trained here, as a sentence; None for any other name."""
    if name not in _WITH_AUXILIARY_OUTPUTS:
        return None
    return f"{name} has auxiliary outputs with their own losses, which are not supported"


@dataclass(frozen=True, slots=True)
class OptimizerFacts:
    """An optimizer's default settings in torch (None: it has no such setting), and how it uses them.

    `divides_by` is what its step divides the gradient by: nothing, or the root of a moving average or of the sum of
    the squared gradients. `decoupled_decay`: weight decay acts on the weights, not through the gradient.
    """

    momentum: float | None
    beta1: float | None
    beta2: float | None
    epsilon: float | None
    weight_decay: float
    divides_by: Literal["nothing", "average", "sum"]
    decoupled_decay: bool = False


OPTIMIZERS: dict[str, OptimizerFacts] = {
    "sgd": OptimizerFacts(0.0, None, None, None, 0.0, "nothing"),
    "adam": OptimizerFacts(None, 0.9, 0.999, 1e-8, 0.0, "average"),
    "adamw": OptimizerFacts(None, 0.9, 0.999, 1e-8, 0.01, "average", decoupled_decay=True),
    "rmsprop": OptimizerFacts(0.0, None, 0.99, 1e-8, 0.0, "average"),
    "adagrad": OptimizerFacts(None, None, None, 1e-10, 0.0, "sum"),
}
"""The optimizers that recipes know; a test holds the defaults against torch's and the recipe format's."""
