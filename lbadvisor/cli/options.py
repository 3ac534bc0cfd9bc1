"""The options that several commands share, each written once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lbadvisor.advisor.axis import Axis

Database = Annotated[
    Path | None,
    typer.Option("--db", metavar="FILE", help="The database. Default: LBADVISOR_DB, else db/lbadvisor.db here."),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="The data sets. Default: LBADVISOR_DATA, else the user's cache."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
HtmlPage = Annotated[
    Path | None,
    typer.Option(
        "--html", metavar="FILE", help="Write a page that opens offline: answer, plan, charts. Replaces its own."
    ),
]
PngPicture = Annotated[
    Path | None, typer.Option("--png", metavar="FILE", help="Write the charts as a picture. Replaces its own.")
]
Target = Annotated[int | None, typer.Option("--to", metavar="B", min=1, help="Target batch size, B_L.")]
Adapt = Annotated[
    str | None,
    typer.Option("--adapt", metavar="PARTS", help="Parts to adapt: all (default), none, some of lr,ghost,regime,clip."),
]
ArmName = Annotated[
    str | None,
    typer.Option("--arm", metavar="ARM", help="Adapt as this arm of a ladder does (see `lbadvisor ladder`)."),
]
StretchShare = Annotated[
    float,
    typer.Option("--stretch-share", metavar="S", help="With the regime: S times the baseline's updates, 1/r to 1."),
]
LrRule = Annotated[
    str,
    typer.Option("--lr-rule", metavar="RULE", help="sqrt, linear, none, finite-population, or exponent=x."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Replace a value of the recipe; may be given again."),
]
ScheduleScale = Annotated[
    float, typer.Option("--schedule-scale", metavar="S", help="Make the baseline's schedule S times as long.")
]
Ghost = Annotated[
    int | None,
    typer.Option("--ghost", metavar="G", min=2, help="Ghost batch size; default: the baseline's batch size."),
]
BetasName = Literal["auto", "sde", "half-life", "keep"]
Betas = Annotated[BetasName, typer.Option("--betas", help="Rule for the betas of Adam and RMSprop.")]
WeightDecayName = Literal["auto", "keep", "horizon"]
WeightDecay = Annotated[
    WeightDecayName,
    typer.Option("--weight-decay", help="keep: as the paper does; horizon: keep the horizon 1/(lr * decay)."),
]
AdaptWithTarget = Annotated[
    str | None,
    typer.Option("--adapt", metavar="PARTS", help="With --to: all, none, or some of lr,ghost,regime,clip."),
]
RecomputeStatistics = Annotated[
    bool,
    typer.Option("--recompute-statistics", help="Set batch_norm.recompute_at_end: at the end, exact statistics."),
]
Precision = Annotated[str | None, typer.Option("--precision", help="float32 or bf16: the recipe's compute.precision.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Everything random is a function of it.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Micro = Annotated[
    str | None,
    typer.Option("--micro", metavar="N|auto", help="Examples at a time, for memory only; auto: as many as fit."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no messages.")]


def replacements(given: list[str] | None, precision: str | None, *, recompute_statistics: bool) -> list[str]:
    """Every `table.key=value` of the command line, those that have an option of their own at the end."""
    found = list(given or ())
    if recompute_statistics:
        found.append("batch_norm.recompute_at_end=true")
    if precision is not None:
        found.append(f"compute.precision={precision}")
    return found


By = Annotated[Axis, typer.Option("--by", help="What the curve is drawn over, and `at` of --columns counts.")]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="COLUMNS",
        help="The metrics wanted, as: best accuracy, update of best, accuracy at 5000, weight distance.",
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="FIELD=VALUE",
        help="Only runs that meet it: batch=1024, status!=diverged, accuracy>=98, optimizer.lr=0.1; may be repeated.",
    ),
]
AsMarkdown = Annotated[bool, typer.Option("--md", help="Print GitHub tables.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")]
