"""The initialization that the residual networks and VGG were published with."""

from torch import nn


def initialize_he(network: nn.Module) -> None:
    """Draw the weights of every convolution from N(0, 2 / (k * k * output channels)), in place; their biases become 0.

    Source: He et al. 2015 (arXiv:1502.01852), in the fan-out form of He et al. 2016 (arXiv:1512.03385) and Zagoruyko,
    Komodakis 2016 (arXiv:1605.07146). Batch norms begin at scale 1 and shift 0, and linear layers uniformly within
    1/sqrt(inputs), as torch makes them.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
