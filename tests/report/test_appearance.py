"""Claims about how groups are told apart."""

from itertools import combinations

import pytest

from lbadvisor.report.appearance import (
    DARK_COLOURS,
    DARK_GROUND,
    DISTINCT_GROUPS,
    LIGHT_COLOURS,
    LIGHT_GROUND,
    looks_of,
)

# Machado, Oliveira, Fernandes 2009, severity 1: what is left of linear red, green and blue without one kind of cones.
MACHADO = {
    "none missing": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "red": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "green": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "blue": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}


def linear(colour: str) -> list[float]:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def luminance(rgb: list[float]) -> float:
    return 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]


def lab(rgb: list[float]) -> tuple[float, float, float]:
    """CIE 1976 L*a*b* of linear sRGB, white point D65."""
    red, green, blue = (min(max(part, 0.0), 1.0) for part in rgb)
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = luminance([red, green, blue])
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


@pytest.mark.parametrize(("colours", "ground"), [(LIGHT_COLOURS, LIGHT_GROUND), (DARK_COLOURS, DARK_GROUND)])
def test_each_colour_has_contrast_with_its_ground(colours, ground):
    """WCAG 2.2, 1.4.11: 3 to 1 for what a graphic is read by."""
    for colour in colours:
        lighter, darker = sorted((luminance(linear(colour)), luminance(linear(ground))), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 3, colour


@pytest.mark.parametrize("missing", MACHADO)
@pytest.mark.parametrize("colours", [LIGHT_COLOURS, DARK_COLOURS], ids=["light", "dark"])
def test_colours_stay_apart_for_every_kind_of_cones(colours, missing):
    seen = {
        c: lab([sum(m * x for m, x in zip(row, linear(c), strict=True)) for row in MACHADO[missing]]) for c in colours
    }
    for one, other in combinations(colours, 2):
        distance = sum((a - b) ** 2 for a, b in zip(seen[one], seen[other], strict=True)) ** 0.5
        assert distance >= 13, (one, other)


def test_few_groups_differ_without_their_colour_and_many_are_full_lines():
    looks = looks_of(DISTINCT_GROUPS)
    assert len({(look.dashes, look.marker) for look in looks}) == DISTINCT_GROUPS
    assert {(look.dashes, look.marker) for look in looks_of(DISTINCT_GROUPS + 1)} == {("none", None)}
