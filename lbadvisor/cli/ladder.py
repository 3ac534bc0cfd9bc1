"""`lbadvisor ladder`: the arms of the paper's table, over seeds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbadvisor.cli import options
from lbadvisor.errors import UsageError

if TYPE_CHECKING:
    from lbadvisor.advisor.arms import LeftOut, PlannedArm
    from lbadvisor.advisor.recipe import Recipe


def ladder(
    recipe: Annotated[Path, typer.Argument(help="The baseline's file.")],
    target: options.Target = None,
    arms: Annotated[
        str,
        typer.Option(
            "--arms",
            metavar="ARM,ARM...",
            help="Some of sb, lb, lr, gbn, ra (the paper's), ra-half, linear, noise, dropout, label-noise, "
            "dropconnect; ra:1 is ra with one seed.",
        ),
    ] = "sb,lb,lr,gbn,ra",
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=1000, help="Seeds of each arm: 0, 1, ... N - 1.")] = 3,
    schedule_scale: options.ScheduleScale = 1.0,
    ghost: options.Ghost = None,
    betas: options.Betas = "auto",
    weight_decay: options.WeightDecay = "auto",
    overrides: options.Overrides = None,
    recompute_statistics: options.RecomputeStatistics = False,
    name: Annotated[
        str | None, typer.Option("--name", help="The ladder's name; made from recipe and target if not given.")
    ] = None,
    device: options.Device = "auto",
    precision: options.Precision = None,
    micro: options.Micro = None,
    database: options.Database = None,
    data_dir: options.DataDir = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what each arm changes and costs, and do nothing.")
    ] = False,
    html: options.HtmlPage = None,
    png: options.PngPicture = None,
    as_json: options.AsJson = False,
    as_markdown: options.AsMarkdown = False,
    as_csv: options.AsCsv = False,
    quiet: options.Quiet = False,
) -> None:
    """Train the arms of the paper's table over seeds, and say what closes the gap, with its uncertainty.

    The same command again goes on where it stopped, after Ctrl-C (exit code 75) or a kill; a run of the very same
    recipe and seed that the database has already is taken, and not trained again. All arms are trained with one seed
    before the next seed begins.
    """
    from lbadvisor.cli.adaptation import baseline_recipe
    from lbadvisor.cli.ladder_display import LadderDisplay
    from lbadvisor.cli.names import checked_name, ladder_name_of
    from lbadvisor.cli.reporting import check_reports

    if target is None:
        raise UsageError("give the target batch size: --to B")
    if as_json + as_markdown + as_csv > 1:
        raise UsageError("--json, --md and --csv exclude one another: give one")
    if dry_run and (html or png or as_markdown or as_csv):
        raise UsageError("--dry-run trains nothing, so there are no results to write: it goes with --json, or alone")
    check_reports(html, png)
    given = options.replacements(overrides, precision, recompute_statistics=recompute_statistics)
    baseline = baseline_recipe(recipe, given, schedule_scale)
    planned, left_out = _planned(baseline, target, arms, seeds, ghost, betas, weight_decay)
    ladder_name = checked_name(name, "ladder") if name is not None else ladder_name_of(baseline, target)
    display = LadderDisplay(quiet=quiet)
    for idle in left_out:
        display.say(f"{idle.arm.label} is left out: it {idle.why}")
    if not dry_run:
        display.show_plan(ladder_name, baseline, target, planned, dry_run=False)

    # From here on torch is needed, which takes seconds to import.
    from lbadvisor.cli.ladder_session import Form, show_dry_run, show_results, train_to_the_end
    from lbadvisor.cli.session import micro_size
    from lbadvisor.ladder import LadderRequest, planned_runs
    from lbadvisor.runner import chosen_device
    from lbadvisor.store import default_database_path
    from lbadvisor.training.data import default_data_dir

    request = LadderRequest(
        name=ladder_name,
        baseline=baseline,
        target_batch_size=target,
        arms=planned,
        device=chosen_device(device),
        database=database or default_database_path(),
        data_dir=data_dir or default_data_dir(),
        micro=micro_size(micro),
    )
    if dry_run:
        # What is refused is told before anything is on stdout.
        planned_runs(request)
        display.show_plan(ladder_name, baseline, target, planned, dry_run=not as_json)
        show_dry_run(request, as_json=as_json)
    else:
        train_to_the_end(request, display)
        form: Form = "json" if as_json else "md" if as_markdown else "csv" if as_csv else "table"
        show_results(request, form, html, png)


def _planned(
    baseline: "Recipe",
    target: int,
    arms: str,
    seeds: int,
    ghost: int | None,
    betas: options.BetasName,
    weight_decay: options.WeightDecayName,
) -> "tuple[tuple[PlannedArm, ...], tuple[LeftOut, ...]]":
    from lbadvisor.advisor.arms import parse_arms, planned_arms
    from lbadvisor.advisor.request import Request

    if target == baseline.batch.size:
        raise UsageError(f"the target batch size {target} is the baseline's own: a ladder leads to a larger one")
    asked = Request(target, (), ghost_batch_size=ghost, betas=betas, weight_decay=weight_decay)
    planned, left_out = planned_arms(parse_arms(arms, seeds), baseline, asked)
    if sum(arm.seeds for arm in planned) < 2:
        raise UsageError(
            f"a ladder of one run compares nothing: give more arms or seeds, or `lbadvisor train ... --arm {arms}`"
        )
    return planned, left_out
