"""The options that several commands share, each written once, and the groups of them that are one value."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

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
RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe's file.")]
Target = Annotated[int | None, typer.Option("--to", metavar="B", min=1, help="Target batch size, B_L.")]
Parts = Annotated[
    str | None,
    typer.Option("--adapt", metavar="PARTS", help="Parts to adapt: all (default), none, some of lr,ghost,regime,clip."),
]
Ghost = Annotated[
    int | None,
    typer.Option("--ghost", metavar="G", min=2, help="Ghost batch size; default: the baseline's batch size."),
]
BetasName = Literal["auto", "sde", "half-life", "keep"]
Betas = Annotated[
    BetasName,
    typer.Option(
        "--betas",
        help="Adam, RMSprop: sde scales both betas; half-life keeps beta2's in examples, and beta1; keep; auto: sde "
        "while it holds, then half-life.",
    ),
]
WeightDecayName = Literal["auto", "keep", "horizon"]
WeightDecayBy = Annotated[
    WeightDecayName,
    typer.Option(
        "--weight-decay",
        help="keep: as the paper does; horizon: keep its share of the run; auto: horizon for AdamW, else keep.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Replace a value of the recipe; may be repeated."),
]
ScheduleScale = Annotated[
    float, typer.Option("--schedule-scale", metavar="S", help="Make the baseline's schedule S times as long.")
]
RecomputeStatistics = Annotated[
    bool,
    typer.Option("--recompute-statistics", help="Set batch_norm.recompute_at_end: at the end, exact statistics."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Everything random is a function of it.")]
FirstSeed = Annotated[int, typer.Option("--seed", min=0, max=2**62, help="The first seed.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Micro = Annotated[
    str | None,
    typer.Option("--micro", metavar="N|auto", help="Examples per pass, to save memory; auto: as many as fit."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no messages.")]
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


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that every adaptation has, whatever parts of it are asked for."""

    ghost: Ghost = None
    betas: Betas = "auto"
    weight_decay: WeightDecayBy = "auto"


@dataclass(frozen=True, slots=True)
class Adapt:
    """How the baseline is adapted; without a target it is not."""

    target: Target = None
    arm: Annotated[
        str | None,
        typer.Option("--arm", metavar="ARM", help="Adapt as this arm of a ladder does (see `lbadvisor ladder`)."),
    ] = None
    parts: Parts = None
    lr_rule: Annotated[
        str,
        typer.Option("--lr-rule", metavar="RULE", help="sqrt, linear, none, finite-population, or exponent=x."),
    ] = "sqrt"
    rules: Rules = Rules()
    stretch_share: Annotated[
        float,
        typer.Option("--stretch-share", metavar="S", help="With the regime: S times the baseline's updates, 1/r to 1."),
    ] = 1.0


@dataclass(frozen=True, slots=True)
class Changes:
    """What the command line changes in the recipe, before anything is adapted."""

    schedule_scale: ScheduleScale = 1.0
    overrides: Overrides = None
    precision: Annotated[
        str | None, typer.Option("--precision", help="float32 or bf16: the recipe's compute.precision.")
    ] = None


@dataclass(frozen=True, slots=True)
class Machine:
    """What computes, and where the data sets lie."""

    device: Device = "auto"
    micro: Micro = None
    data_dir: DataDir = None
