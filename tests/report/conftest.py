"""A report of three groups, small and made by hand, for the page, the picture and the browser."""

import math
from array import array
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from lbadvisor.comparison.comparison import Change, Comparison, Gap, Group, GroupGap, Open, RunSummary, Spread
from lbadvisor.planning.adjustments import Adjustment
from lbadvisor.planning.caveats import Caveat
from lbadvisor.records.measured_columns import Columns
from lbadvisor.records.run import Environment, RunStatus
from lbadvisor.report.contents import GroupPlan, GroupRecipe, Report
from lbadvisor.report.curves import group_curves

CPU = Environment("cpu", "a processor", "0.1.0", "3.11.0", "2.15.0", "0123456789abcdef", True)
SENTENCE = "LB is 4.00 points worse than SB. +RA closes 75% of that gap (95% interval 50 to 100%)."


def columns(updates: int, accuracy: float, clipped: float = 0.0) -> Columns:
    """A run measured at each of so many updates of 32 of 1024 examples, evaluated at every second one."""
    u = array("d", range(1, updates + 1))
    return Columns(
        epochs_per_update=1 / 32,
        examples_per_update=32.0,
        of={
            "update": u,
            "seconds": array("d", (0.5 * x for x in u)),
            "loss": array("d", (2.0 / x for x in u)),
            "lr": array("d", (0.05 for _ in u)),
            "gradient_norm": array("d", (1.0 + accuracy / 100 for _ in u)),
            "clipped_share": array("d", (clipped if x < 4 else 0.0 for x in u)),
            "weight_distance": array("d", (1.0 + math.log(x) for x in u)),
            "evaluation_accuracy_percent": array("d", (accuracy - 10 / x if x % 2 == 0 else math.inf for x in u)),
        },
    )


def summary(number: int, name: str, batch_size: int, seed: int) -> RunSummary:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    return RunSummary(
        number, name, "small", batch_size, None, seed, "cpu", RunStatus.COMPLETE, 20, 20, 90.0, 90.0, 10.0, moment
    )


def made_report(labels: tuple[str, str, str]) -> Report:
    """SB with seeds 1 and 2, LB and +RA likewise; the labels may be anything."""
    sb, lb, ra = labels
    names = [f"{label}-{seed}" for label in labels for seed in (1, 2)]
    comparison = Comparison(
        runs=tuple(summary(n, name, 32 if n < 3 else 512, 2 - n % 2) for n, name in enumerate(names, start=1)),
        groups=(
            Group(sb, (1, 2), (1, 2), Spread(2, 98.0, 0.5)),
            Group(lb, (3, 4), (1, 2), Spread(2, 94.0, 1.25)),
            Group(ra, (5, 6), (1, 2), Spread(2, 97.0, 0.25)),
        ),
        changed=(Change("batch.size", (32, 32, 512, 512, 512, 512)), Change("seed", (1, 2, 1, 2, 1, 2))),
        metrics=(),
        gap=Gap(
            points=4.0,
            points_interval=(3.0, 5.0),
            closed_percent=75.0,
            interval=(50.0, 100.0),
            seeds=2,
            naive_group=lb,
            closing_group=ra,
            groups=(
                GroupGap(sb, 0.0, None, None, 2, None, None, None),
                GroupGap(lb, 4.0, (3.0, 5.0), None, 2, None, None, None, p_value=0.01, holm_p_value=0.02),
                GroupGap(
                    ra,
                    1.0,
                    None,
                    Open.ONE_SEED,
                    1,
                    75.0,
                    (50.0, 100.0),
                    None,
                    4.0,
                    2,
                    step_points=3.0,
                    step_interval=(-0.5, 6.5),
                    step_pairs=2,
                    step_p_value=0.07,
                    step_holm_p_value=0.07,
                ),
            ),
            conclusion=SENTENCE,
            tested=2,
        ),
        notes=(f"{ra} says so",),
    )
    return Report(
        title=f"small, batch 32 to 512: {ra}",
        comparison=comparison,
        curves=(
            group_curves(sb, [columns(20, 98.5), columns(20, 97.5)]),
            group_curves(lb, [columns(6, 95.0), columns(6, 93.0)]),
            group_curves(ra, [columns(20, 97.0, clipped=0.5), columns(20, 97.0)]),
        ),
        plans=(
            GroupPlan(
                (ra,),
                (
                    Adjustment("batch.size", 32, 512, "examples", "recipe", "target", "B_L", "asked for", "below N"),
                    Adjustment("optimizer.lr", 0.05, 0.2, "", "recipe", "sqrt", "lr * sqrt(r)", "Hoffer", "noise"),
                    Adjustment("schedule.milestones", (5, 7), (5, 7), "updates", "recipe", "regime", "m", "s", "v"),
                ),
                (Caveat("regime-price", "16 times as many examples"),),
            ),
        ),
        recipes=tuple(
            GroupRecipe(label, f"{place}.toml", f'name = "{label}"\n', (f"lbadvisor train {place}.toml --seed 1",))
            for place, label in enumerate(labels)
        ),
        commands=("lbadvisor compare 1 2 3 4 5 6 --html report.html",),
        environments=(CPU,),
    )


def with_many_groups(report: Report, groups: int) -> Report:
    """The same with the second run of its first group in so many groups of one run each."""
    labels = [f"arm {place}" for place in range(groups)]
    comparison = replace(
        report.comparison,
        runs=tuple(summary(n, label, 32, 1) for n, label in enumerate(labels)),
        groups=tuple(Group(label, (n,), (1,), Spread(1, 90.0 + n / 100, None)) for n, label in enumerate(labels)),
        changed=(Change("optimizer.lr", tuple(n / 1000 for n in range(groups))),),
        gap=replace(
            report.comparison.gap,
            groups=tuple(GroupGap(label, 0.0, None, Open.ONE_SEED, 1, None, None, None) for label in labels),
            closed_percent=None,
            naive_group=None,
            closing_group=None,
        ),
    )
    curves = tuple(group_curves(label, [columns(20, 90.0 + n / 100)]) for n, label in enumerate(labels))
    return replace(report, comparison=comparison, curves=curves, plans=(), recipes=())


@pytest.fixture(scope="session")
def report_of() -> Callable[..., Report]:
    """A function that makes the report, its groups named as asked or SB, LB and +RA."""
    return lambda labels=("SB", "LB", "+RA"): made_report(labels)


@pytest.fixture(scope="session")
def many_groups_report() -> Report:
    """A report of 40 groups of one run each."""
    return with_many_groups(made_report(("SB", "LB", "+RA")), 40)
