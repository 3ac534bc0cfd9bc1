"""The options that several commands share, each defined once, and the groups that form one value."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from lbadvisor.cli.options import completion
from lbadvisor.planning.request import BetasRule, WeightDecayRule

Database = Annotated[
    str | None,
    typer.Option(
        "--db", metavar="FILE|URL", help="Database: a file or a server's. Default: LBADVISOR_DB, else db/lbadvisor.db."
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", metavar="DIR", help="Folder of data sets. Default: LBADVISOR_DATA, else the user cache."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
HtmlPage = Annotated[
    Path | None,
    typer.Option(
        "--html", metavar="FILE", help="Write an offline page: answer, plan, charts. Overwrites only its own."
    ),
]
PngPicture = Annotated[
    Path | None, typer.Option("--png", metavar="FILE", help="Write the charts as a picture. Overwrites only its own.")
]
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code", help="Run the code that the stored recipe names, from the working folder, if you trust it."
    ),
]
RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file.", autocompletion=completion.recipes)]
RunNames = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...", help="Runs by name or number, or ladders.", autocompletion=completion.runs_or_ladders
    ),
]
RunNamesOrAll = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN...]",
        help="Runs by name or number, or ladders; default: all.",
        autocompletion=completion.runs_or_ladders,
    ),
]
Target = Annotated[int | None, typer.Option("--to", metavar="B", min=1, help="Target batch size, B_L.")]
Targets = Annotated[
    str | None,
    typer.Option("--to", metavar="B,B...", help="Target batch size, B_L; several, such as 256,1024, make a sweep."),
]
Parts = Annotated[
    str | None,
    typer.Option(
        "--adapt", metavar="PARTS", help="Parts to adapt: all (default), none, or any of lr,ghost,regime,clip."
    ),
]
Ghost = Annotated[
    int | None,
    typer.Option("--ghost", metavar="G", min=2, help="Ghost batch size. Default: the baseline's batch size."),
]
Betas = Annotated[
    BetasRule,
    typer.Option(
        "--betas",
        help="Adam, RMSprop: sde scales both betas; half-life keeps beta1 and beta2's half-life in examples; keep "
        "changes neither; auto: sde while it holds, then half-life.",
    ),
]
WeightDecayBy = Annotated[
    WeightDecayRule,
    typer.Option(
        "--weight-decay",
        help="keep: unchanged, as in the paper; horizon: keep its share of the run; auto: AdamW horizon, others keep.",
    ),
]
NoiseScaleText = Annotated[
    str | None,
    typer.Option(
        "--noise-scale",
        metavar="N|LOW..HIGH|RUN",
        autocompletion=completion.runs,
        help="Gradient noise scale in examples, as `probe noise` measures it, or a run trained with --measure noise.",
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Override a recipe value; repeatable.")
]
ScheduleScale = Annotated[
    float, typer.Option("--schedule-scale", metavar="S", help="Scale the length of the baseline's schedule by S.")
]
RecomputeStatistics = Annotated[
    bool,
    typer.Option(
        "--recompute-statistics", help="Set batch_norm.recompute_at_end: compute exact statistics at the end."
    ),
]
MeasureToo = Annotated[
    str | None,
    typer.Option(
        "--measure",
        metavar="WHAT,...",
        help="Set measurements.also, what else is measured: layers, noise, or both. Changes no result.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Determines everything random.")]
FirstSeed = Annotated[int, typer.Option("--seed", min=0, max=2**62, help="First seed.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1.")]
Micro = Annotated[
    str | None,
    typer.Option("--micro", metavar="N|auto", help="Examples per pass, to save memory; auto: as many as fit."),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        min=1,
        max=4096,
        help="CPU threads of new runs. Default: one per core, shared by the processes that train for this database.",
    ),
]
Shares = Annotated[
    int | None,
    typer.Option(
        "--shares",
        metavar="N",
        min=1,
        max=65536,
        help="Cut each update into N shares: 1, 2, 4 ... N ranks of as many CPU threads train it with the same bits. "
        "Default: one for each rank.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no messages.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="FIELD=VALUE",
        help="Only matching runs: batch=1024, status!=diverged, accuracy>=98, optimizer.lr=0.1; repeatable.",
    ),
]
ProbedExamples = Annotated[
    int | None,
    typer.Option("--examples", metavar="N", min=2, help="Training examples to compute the loss on. Default: 1000."),
]
DryProbe = Annotated[bool, typer.Option("--dry-run", help="Show the cost, and do nothing.")]
NewLadder = Annotated[
    str | None, typer.Option("--name", help="Name of the ladder. Default: derived from recipe, target and options.")
]
DryLadder = Annotated[bool, typer.Option("--dry-run", help="Show what each arm changes and costs, and do nothing.")]
AsMarkdown = Annotated[bool, typer.Option("--md", help="Print Markdown tables.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")]
DrawsGraphs = Annotated[bool, typer.Option("--chart/--no-chart", help="Draw the graphs in the terminal.")]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of every adaptation, whichever parts are adapted."""

    ghost: Ghost = None
    betas: Betas = "auto"
    weight_decay: WeightDecayBy = "auto"


@dataclass(frozen=True, slots=True)
class Adapt:
    """How to adapt the baseline; without a target it is left as it is."""

    target: Target = None
    arm: Annotated[
        str | None,
        typer.Option(
            "--arm",
            metavar="ARM",
            help="Adapt like this arm of a ladder (see `lbadvisor ladder`).",
            autocompletion=completion.arms,
        ),
    ] = None
    parts: Parts = None
    lr_rule: Annotated[
        str, typer.Option("--lr-rule", metavar="RULE", help="sqrt, linear, none, finite-population, or exponent=x.")
    ] = "sqrt"
    rules: Rules = Rules()
    stretch_share: Annotated[
        float,
        typer.Option(
            "--stretch-share", metavar="S", help="With the regime: S times the baseline's updates, from 1/r to 1."
        ),
    ] = 1.0
    distances_from: Annotated[
        str | None,
        typer.Option(
            "--distances-from",
            metavar="RUN",
            autocompletion=completion.runs,
            help="Let milestones come early, at the weight distances of this run of the baseline.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What the command line changes in the recipe before adapting it."""

    schedule_scale: ScheduleScale = 1.0
    overrides: Overrides = None
    precision: Annotated[
        str | None, typer.Option("--precision", help="float32 or bf16; overrides compute.precision.")
    ] = None


@dataclass(frozen=True, slots=True)
class MachineOptions:
    """Which device computes, on how many threads, and where the data sets are."""

    device: Device = "auto"
    micro: Micro = None
    data_dir: DataDir = None
    threads: Threads = None


@dataclass(frozen=True, slots=True)
class CrewOptions:
    """How many runs train at once, and where."""

    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            metavar="N",
            min=1,
            max=1000,
            help="Train N runs at once, each in a process; on the CPU they share its threads. Default: one per device.",
        ),
    ] = None
    devices: Annotated[
        str | None,
        typer.Option(
            "--devices",
            metavar="D,D...",
            help="Divide the jobs between these devices, such as cuda:0,cuda:1. Default: all GPUs, or the CPU.",
        ),
    ] = None
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Train on the nodes of a Ray cluster: auto, or HOST:PORT of its head. Each job has a GPU, or else "
            "--threads CPUs, by default one; as many jobs as there is room for, unless --jobs says how many.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Shown:
    """How a diagnostic's answer is shown."""

    as_json: AsJson = False
    chart: DrawsGraphs = True
    html: HtmlPage = None
    png: PngPicture = None
    quiet: Quiet = False
