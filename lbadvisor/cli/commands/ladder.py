"""`lbadvisor ladder`: train the arms of the paper's table over seeds."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from lbadvisor.cli.options import completion
from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.command_line import Words
from lbadvisor.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lbadvisor.cli.display.render_sweep import Form
    from lbadvisor.planning.arms import Arm
    from lbadvisor.planning.planned_arms import LeftOut, PlannedArm
    from lbadvisor.planning.request import Request
    from lbadvisor.recipe.recipe import Recipe


@command
def ladder(
    words: Words,
    recipe: options.RecipeFile,
    *,
    targets: options.Targets = None,
    arms: Annotated[
        str,
        typer.Option(
            "--arms",
            metavar="ARM,ARM...",
            autocompletion=completion.arms,
            help="Some of sb, lb, lr, gbn, ra (the paper's), distance, ra-half, ra-0.25 or another share of the "
            "regime, linear, noise, dropout, label-noise, dropconnect; ra:1 is ra with one seed.",
        ),
    ] = "sb,lb,lr,gbn,ra",
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=1000, help="Seeds of each arm: 0, 1, ... N - 1.")] = 3,
    rules: options.Rules,
    noise_scale: options.NoiseScaleText = None,
    changes: options.Changes,
    recompute_statistics: options.RecomputeStatistics = False,
    measure: options.MeasureToo = None,
    name: options.NewLadder = None,
    machine: options.MachineOptions,
    crew: options.CrewOptions,
    database: options.Database = None,
    dry_run: options.DryLadder = False,
    html: options.HtmlPage = None,
    png: options.PngPicture = None,
    as_json: options.AsJson = False,
    as_markdown: options.AsMarkdown = False,
    as_csv: options.AsCsv = False,
    chart: options.DrawsGraphs = True,
    quiet: options.Quiet = False,
) -> None:
    """Train the arms of the paper's table over seeds, and report what closes the gap, with its uncertainty.

    The same command resumes it after Ctrl-C (exit code 75) or a kill. Several processes may share a ladder: each trains
    the next free run. A stored run of the same training is reused, whatever its name. All arms are trained with one
    seed before the next seed starts. A run that fails is reported, and does not stop the others. With several target
    batch sizes each has a ladder of its own, the baseline is trained once, and the report is error and gap against the
    batch size: Figure 1 of Hoffer et al. 2017.
    """
    from lbadvisor.cli.display.ladder_display import LadderDisplay
    from lbadvisor.cli.display.reporting import check_reports
    from lbadvisor.cli.options.adaptation import baseline_recipe, request_by, targets_of, with_requests
    from lbadvisor.cli.options.known_words import noise_scale_of
    from lbadvisor.cli.options.places import crew_of
    from lbadvisor.planning.arms import parse_arms
    from lbadvisor.planning.knowledge import Knowledge
    from lbadvisor.planning.planned_arms import LadderRequest
    from lbadvisor.runs.databases import opened_to_train
    from lbadvisor.runs.names import checked_name, ladder_name_of
    from lbadvisor.runs.reuse import name_of_ladder

    sizes = targets_of(targets)
    check_reports(html, png)
    baseline = baseline_recipe(recipe, with_requests(changes, measure, recomputed=recompute_statistics), words)
    given = None if name is None else checked_name(name, "ladder")
    wanted, known = parse_arms(arms, seeds), Knowledge(noise_scale_of(noise_scale, database))
    if len(sizes) > 1 and wanted[0][0].request is not None:
        raise UsageError(f"--arms {arms}: several target batch sizes are compared with the baseline, so begin with sb")
    asked = [replace(request_by(rules, size, ()), known=known) for size in sizes]
    plans = [_planned(baseline, one, wanted, words) for one in asked]
    display, requests = LadderDisplay(quiet=quiet), []
    for idle in dict.fromkeys(idle for _, left_out in plans for idle in left_out):
        display.say(f"{idle.arm.label} is skipped: it {idle.why}")
    with opened_to_train(database) as store:
        for one, (planned, _) in zip(asked, plans, strict=True):
            size, default = one.target_batch_size, ladder_name_of(baseline, one)
            own = given if given is None or len(sizes) == 1 else f"{given}-{size}"
            if own is None:
                stored = name_of_ladder(store, baseline, size, planned, default)
                display.of_runs.show_stored(stored, default, "ladder")
                own = stored.name
            requests.append(LadderRequest(own, baseline, size, planned))
        if not dry_run:
            display.show_plan(requests, dry_run=False)

        display.of_runs.show_loading()
        # From here on torch is needed, which takes seconds to import.
        from lbadvisor.cli.ladder_session import show_dry_run, show_results, train_runs
        from lbadvisor.runs.jobs import Asked
        from lbadvisor.runs.ladder import train_ladder
        from lbadvisor.runs.ladder_runs import planned_runs
        from lbadvisor.runs.workspace import Workspace

        computer, jobs = crew_of(machine, crew, words)
        workspace = Workspace(store, computer)
        if dry_run:
            # Refuse before anything is printed on stdout.
            planned_runs(store, *requests)
            display.show_plan(requests, dry_run=not as_json)
            show_dry_run(workspace, jobs, requests, as_json=as_json)
        else:
            train_runs(workspace, jobs, Asked(baseline, train_ladder, tuple(requests)), requests, display)
            form: Form = "json" if as_json else "md" if as_markdown else "csv" if as_csv else "table"
            show_results(store, requests, form, options.Shown(as_json, chart, html, png, quiet))


def _planned(
    baseline: "Recipe", asked: "Request", wanted: "Sequence[tuple[Arm, int]]", words: Words
) -> "tuple[tuple[PlannedArm, ...], tuple[LeftOut, ...]]":
    """The arms to train, each with its seeds, and those skipped. Raises `UsageError` for rules that no arm uses."""
    from lbadvisor.cli.options.effects import refuse_without_effect
    from lbadvisor.planning.baseline import baseline_of
    from lbadvisor.planning.option_needs import Planned
    from lbadvisor.planning.planned_arms import planned_arms

    requests = tuple(arm.request(asked) for arm, _ in wanted if arm.request is not None)
    refuse_without_effect(words, Planned(baseline_of(baseline), requests))
    return planned_arms(wanted, baseline, asked)
