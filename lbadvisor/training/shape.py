"""The shape of the images that a network is built for."""

from lbadvisor.errors import DataError

Shape = tuple[int, ...]
"""Shape of one input; of an image: (channels, height, width)."""


def require_pixels(network: str, shape: Shape, least: int) -> None:
    """Raise `DataError` unless images of `shape` are at least `least` pixels high and wide."""
    _, height, width = shape
    if min(height, width) < least:
        raise DataError(
            f"{network} cannot take images of {height}x{width} pixels: its strides need at least {least}x{least}; "
            f"choose another network or larger images"
        )
