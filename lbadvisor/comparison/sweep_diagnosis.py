"""What a sweep over batch sizes tells: from which batch size on there is evidence of a gap, in a table and graphs."""

from collections.abc import Callable, Iterator

from lbadvisor.comparison.sweep import Sweep, SweepPoint
from lbadvisor.records.bounded import Bounded
from lbadvisor.records.diagnosis import Diagnosis, Graph, Grid, Series, banded


def diagnosis_of_sweep(sweep: Sweep) -> Diagnosis:
    """Error and gap against the batch size, and what may be concluded."""
    first = sweep.points[0]
    sizes = sorted({point.batch_size for point in sweep.points})
    level, error = (sizes[0], sizes[-1]), _error(first)
    across = [] if error is None else [banded(sweep.reference, level, [error] * 2, "dashed")]
    note = "Bands are 95% intervals over seeds."
    return Diagnosis(
        title=f"{sweep.recipe}: batch {first.batch_size:,} against {', '.join(f'{size:,}' for size in sizes[1:])}",
        conclusion=" ".join(_sentences(sweep)),
        graphs=(
            Graph(
                "Validation error", "batch size", "%", (*across, *_lines(sweep, _error)), logarithmic_x=True,
                note=f"{note} The level line is {sweep.reference}, at a batch of {first.batch_size:,}.",
            ),
            Graph(
                f"Gap to {sweep.reference}", "batch size", "points",
                (Series(sweep.reference, level, (0.0, 0.0), style="dashed"), *_lines(sweep, _gap)),
                logarithmic_x=True, note=f"{note} Above 0, the larger batch is worse.",
            ),
        ),
        grids=(_grid(sweep),),
    )  # fmt: skip


def _error(point: SweepPoint) -> Bounded | None:
    error = point.error_percent
    return None if error is None else Bounded(error, point.error_low, point.error_high)


def _gap(point: SweepPoint) -> Bounded | None:
    return None if point.gap_points is None else Bounded(point.gap_points, point.gap_low, point.gap_high)


def _lines(sweep: Sweep, value_of: Callable[[SweepPoint], Bounded | None]) -> Iterator[Series]:
    for arm in sweep.arms:
        points = [(point.batch_size, value_of(point)) for point in sweep.points_of(arm)]
        known = [(size, value) for size, value in points if value is not None]
        if known:
            yield banded(arm, [size for size, _ in known], [value for _, value in known])


def _grid(sweep: Sweep) -> Grid:
    rows = []
    for point in sweep.points:
        seeds = f"{point.runs}" + (f", {point.diverged} diverged" if point.diverged else "")
        gap = _interval_text(point.gap_low, point.gap_high, "+") or point.gap_open
        evidence = "" if point is sweep.points[0] else "yes" if point.shows_a_gap else "no"
        error = _interval_text(point.error_low, point.error_high)
        rows.append(
            (point.arm, point.batch_size, point.error_percent, point.gap_points, gap, evidence, error, seeds)
        )  # fmt: skip
    return Grid(
        "Error and gap against the batch size",
        ("arm", "batch", "error, %", "gap, points", "gap, 95% interval", "evidence", "error, 95% interval", "seeds"),
        ("", ",d", "z.2f", "+z.2f", "", "", "", ""),
        tuple(rows),
    )


def _interval_text(low: float | None, high: float | None, sign: str = "") -> str | None:
    return None if low is None or high is None else f"{low:{sign}z.2f} to {high:{sign}z.2f}"


def _sentences(sweep: Sweep) -> Iterator[str]:
    for arm in dict.fromkeys(name for name in (sweep.naive, sweep.last) if name is not None):
        yield _from_where_on(arm, sweep)
    tested = sum(point.p_value is not None for point in sweep.points)
    if tested > 1:
        yield f"Evidence is a gap above 0 at 95% after Holm's correction for the {tested} gaps of the sweep."
    pairs = [point.pairs for point in sweep.points[1:] if point.gap_points is not None]
    if pairs and max(pairs) < 2:
        yield "One seed each: nothing may be concluded, for another seed may differ as much."
    diverged = [f"{point.arm} at {point.batch_size:,}" for point in sweep.points if point.diverged]
    if diverged:
        yield f"Runs diverged, and are in no mean: {', '.join(diverged)}."


def _from_where_on(arm: str, sweep: Sweep) -> str:
    """From which batch size on the arm has a gap, as far as the seeds show it."""
    points = sweep.points_of(arm)
    shown = [point for point in points if point.shows_a_gap]
    title = f"the naive large batch {arm}" if arm == sweep.naive else arm
    if not shown:
        largest = max(points, key=lambda point: point.gap_points or 0.0)
        lost = ", no evidence after the correction" if (largest.gap_low or 0.0) > 0 else ""
        known = f" (the largest is {_size(largest)}{lost})" if (largest.gap_points or 0.0) > 0 else ""
        return f"No gap is shown for {title} at any batch size up to {points[-1].batch_size:,}{known}."
    where = f"at {' and '.join(f'{point.batch_size:,}' for point in shown)} only"
    if shown == list(points[-len(shown) :]):
        where = f"from a batch of {shown[0].batch_size:,} on" if len(shown) > 1 else f"at {points[-1].batch_size:,}"
    return f"For {title} there is evidence of a gap {where}: {_size(shown[0])}."


def _size(point: SweepPoint) -> str:
    interval = _interval_text(point.gap_low, point.gap_high, "+")
    how_sure = f"95% {interval}" if interval else f"no interval: {point.gap_open}"
    return f"{point.gap_points:+.2f} points at {point.batch_size:,}, {how_sure}"
