"""Adaptive average pooling that a GPU can differentiate with the same bits every time. N images, C channels."""

import torch
from torch import Tensor, nn


class AveragingPool(nn.Module):
    """`nn.AdaptiveAvgPool2d` as two matrix products, for torch has no deterministic gradient of it on a GPU.

    Output cell i of n averages the inputs from floor(i m / n) to ceil((i + 1) m / n) of m. Equal up to rounding; equal
    if the image has the wanted size already.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = height, width

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, height, width), in the dtype of `x_NCHW`."""
        if x_NCHW.shape[-2:] == self.size:
            return x_NCHW
        rows, columns = (
            _shares(inputs, outputs, x_NCHW) for inputs, outputs in zip(x_NCHW.shape[-2:], self.size, strict=True)
        )
        # Outside autocast: 1/7 in bfloat16 is wrong in the third digit.
        with torch.autocast(x_NCHW.device.type, enabled=False):
            return (rows @ x_NCHW.to(rows.dtype) @ columns.T).to(x_NCHW.dtype)


def _shares(inputs: int, outputs: int, like: Tensor) -> Tensor:
    """The share of each input in each output: (outputs, inputs), at least float32, made on the device of `like`."""
    place = torch.arange(inputs, device=like.device)
    cell = torch.arange(outputs, device=like.device)[:, None]
    first, end = cell * inputs // outputs, ((cell + 1) * inputs + outputs - 1) // outputs
    within = (place >= first) & (place < end)
    return within.to(torch.promote_types(like.dtype, torch.float32)) / (end - first)


def with_deterministic_pooling(model: nn.Module) -> nn.Module:
    """`model`, every adaptive average pooling of it to more than one pixel replaced by `AveragingPool`."""
    for name, layer in model.named_children():
        if isinstance(layer, nn.AdaptiveAvgPool2d):
            wanted = layer.output_size
            height, width = wanted if isinstance(wanted, tuple) else (wanted, wanted)
            if height is not None and width is not None and (height, width) != (1, 1):
                setattr(model, name, AveragingPool(height, width))
        else:
            with_deterministic_pooling(layer)
    return model
