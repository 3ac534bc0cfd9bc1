"""How groups look: if there are few, each has its own dashes and marker, so colour alone never distinguishes them."""

from dataclasses import dataclass

LIGHT_COLOURS = ("#222222", "#B3361B", "#0F6CBF", "#B08900", "#007A5E", "#C95FA9")
DARK_COLOURS = ("#F2F2F2", "#F0705A", "#62AEFF", "#F5D04C", "#2FB58B", "#E6A3D8")
"""Chosen for this page: each has a contrast of 3 or more with its ground (WCAG 2.2, 1.4.11), and each two stay apart
for readers without red, green or blue cones (CIELAB distance of 13 or more in the model of Machado et al. 2009)."""

DISTINCT_GROUPS = 12
"""Of more groups no eye tells the dashes apart: they are thin full lines, found by hovering and by switching."""
LIGHT_GROUND = "#FFFFFF"
DARK_GROUND = "#14171C"
DASHES = ("none", "7 3", "2 3", "8 3 2 3", "14 4")
"""As SVG's `stroke-dasharray`."""
MARKERS = {
    "circle": "M18 3a4 4 0 1 0 .01 0z",
    "square": "M14 3h8v8h-8z",
    "triangle-up": "M18 2l5 9h-10z",
    "diamond": "M18 1.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z",
    "x": "M14.5 2l3.5 3.5l3.5 -3.5l1.5 1.5l-3.5 3.5l3.5 3.5l-1.5 1.5l-3.5 -3.5l-3.5 3.5l-1.5 -1.5l3.5 -3.5l-3.5 -3.5z",
    "cross": "M16.5 2h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5z",
    "star": "M18 1l1.8 4h4.2l-3.3 2.7l1.3 4.3l-4 -2.6l-4 2.6l1.3 -4.3l-3.3 -2.7h4.2z",
}
"""Plotly's names, and the same as a path in a box of 36 x 14."""


@dataclass(frozen=True, slots=True)
class Look:
    """The colours of a group on light and dark ground, its dashes as SVG has them, its marker as plotly names it.

    `marker` is None if there are too many groups for markers.
    """

    light: str
    dark: str
    dashes: str
    marker: str | None


def looks_of(groups: int) -> tuple[Look, ...]:
    """The look of each of so many groups; up to `DISTINCT_GROUPS` none is told from another by colour alone."""
    distinct, markers = groups <= DISTINCT_GROUPS, tuple(MARKERS)
    return tuple(
        Look(
            LIGHT_COLOURS[index % len(LIGHT_COLOURS)],
            DARK_COLOURS[index % len(DARK_COLOURS)],
            DASHES[index % len(DASHES)] if distinct else DASHES[0],
            markers[index % len(markers)] if distinct else None,
        )
        for index in range(groups)
    )
