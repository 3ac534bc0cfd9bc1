"""The shape of the images that a network is built for."""

from lbadvisor.errors import DataError

Shape = tuple[int, int, int]
"""Of one image: (channels, height, width)."""


def require_pixels(network: str, shape: Shape, least: int) -> None:
    """Raise `DataError` unless images of `shape` have `least` or more pixels in height and in width."""
    _, height, width = shape
    if min(height, width) < least:
        raise DataError(
            f"{network} cannot take images of {height}x{width} pixels: its strides need at least {least}x{least}; "
            f"take another network or larger images"
        )
