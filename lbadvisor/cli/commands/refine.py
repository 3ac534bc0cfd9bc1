"""`lbadvisor refine`: search the scaling exponent, and test whether it beats the theory's."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.command_line import Words
from lbadvisor.errors import UsageError
from lbadvisor.runs.signals import STOPPED_BY_SIGNAL

if TYPE_CHECKING:
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.planning.request import Request
    from lbadvisor.recipe.recipe import Recipe
    from lbadvisor.refine.refine_request import RefineRequest
    from lbadvisor.refine.refinement import Refinement
    from lbadvisor.runs.jobs import Crew
    from lbadvisor.runs.workspace import Workspace


@command
def refine(
    words: Words,
    recipe: options.RecipeFile,
    *,
    target: options.Target = None,
    trials: Annotated[int, typer.Option("--trials", min=1, help="Trials in total, including earlier calls.")] = 12,
    epochs_budget: Annotated[
        float | None,
        typer.Option("--epochs-budget", metavar="E", help="Epochs that all runs of all trials may take together."),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="K", min=1, max=1000, help="Runs per trial, paired by seed.")
    ] = 1,
    seed: options.FirstSeed = 0,
    also: Annotated[
        str | None, typer.Option("--also", metavar="PARTS", help="Search these too: any of stretch,ghost,clip.")
    ] = None,
    bounds: Annotated[
        tuple[float, float], typer.Option("--range", metavar="LOW HIGH", help="Range of exponents to search.")
    ] = (0.0, 1.0),
    metric: Annotated[
        Literal["error", "loss"], typer.Option("--metric", help="Metric to minimize on the held-out examples.")
    ] = "error",
    prune: Annotated[
        bool, typer.Option("--prune", help="Stop trials worse than the median after the first learning-rate drop.")
    ] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Start with the exponent that `lbadvisor calibrate` finds.")
    ] = False,
    adapt: options.Parts = None,
    rules: options.Rules,
    changes: options.Changes,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the refined recipe to this file.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --out overwrite a file.")] = False,
    machine: options.MachineOptions,
    crew: options.CrewOptions,
    database: options.Database = None,
    chart: Annotated[bool, typer.Option("--chart/--no-chart", help="Draw the metric against the exponent.")] = True,
    as_json: options.AsJson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be tried, and do nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no messages.")] = False,
) -> None:
    """Search the exponent a of lr * r^a by training: 0.5, 1.0 and 0 first, then wherever most improvement is expected.

    Trials are judged on examples held out of the training set (a tenth, if the recipe names none). The test set is
    measured once, at the end, at the chosen exponent and at the theory's; if the gain is within the noise, 0.5 is kept.
    A training that breaks down bounds the exponent. Earlier runs in the database are reused as trials. The same command
    resumes a search that was stopped, and several processes may share one. Every trial trains to its end, unless you
    give --prune. With --jobs a point is chosen before the results of the trials beside it are known: the search knows
    less at each choice than in turn, and tries other points.
    """
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.cli.options.adaptation import baseline_recipe, request_of
    from lbadvisor.cli.options.places import crew_of
    from lbadvisor.cli.output import check_out
    from lbadvisor.planning.baseline import baseline_of
    from lbadvisor.recipe.validation import with_validation
    from lbadvisor.refine.search_space import search_space
    from lbadvisor.runs.databases import address_of, opened_to_train

    if out is not None:
        check_out(out, force=force, source=recipe)
    original = baseline_recipe(recipe, changes, words)
    request = request_of(options.Adapt(target=target, parts=adapt, rules=rules), words, baseline_of(original))
    if original.task.kind == "regression" and metric == "error":
        raise UsageError("a regression has no error to minimize: give --metric loss")
    baseline = with_validation(original)
    names = tuple(dict.fromkeys(name.strip() for name in also.split(","))) if also else ()
    space = search_space(baseline, request, *bounds, names)
    display = Display(quiet=quiet)
    if baseline is not original:
        display.show_line(
            f"held out for validation: {baseline.data.validation_examples} of {original.data.train_examples} training "
            "examples, a tenth, evenly by class; the schedule keeps its updates"
        )

    display.show_loading()
    # From here on torch and optuna are needed, which take seconds to import.
    from rich.markup import escape

    from lbadvisor.cli.display.console import print_json, say, stdout
    from lbadvisor.cli.display.render_refinement import print_refinement, refinement_body
    from lbadvisor.refine.refine_request import RefineRequest
    from lbadvisor.runs.workspace import Workspace

    computer, jobs = crew_of(machine, crew, words)
    of_seeds = tuple(range(seed, seed + seeds))
    asked = RefineRequest(baseline, request, space, trials, of_seeds, metric, epochs_budget, prune=prune)
    display.show_line(_price_text(asked))
    if dry_run:
        where = jobs.needed_for(trials).text(machine.threads)
        said = (
            f"would refine into study {asked.study_name} on {where}, database {address_of(database)}; nothing was done"
        )
        say(stdout(), escape(said))
        return
    with opened_to_train(database) as store:
        workspace = Workspace(store, computer)
        if calibrate:
            asked = _calibrated(workspace, asked, display)
        refinement = _refined(workspace, jobs, asked, display)
    if out is not None:
        _write(out, original, request, refinement)
    if as_json:
        print_json(refinement_body(refinement))
    else:
        print_refinement(stdout(), refinement, chart=chart)


def _price_text(asked: "RefineRequest") -> str:
    """What the search costs, before it starts."""
    from lbadvisor.refine.refine_request import price_epochs

    price, seeds = price_epochs(asked, asked.space.theory), "seed" if len(asked.seeds) == 1 else "seeds"
    most = min(asked.trials * price, asked.epochs_budget or math.inf)
    return (
        f"{asked.study_name}: {asked.trials} trials of {price:.4g} epochs ({len(asked.seeds)} {seeds}), "
        f"at most {most:,.6g} epochs in total"
        + ("; --prune stops trials worse than the median after the first learning-rate drop" if asked.prune else "")
    )


def _refined(workspace: "Workspace", crew: "Crew", asked: "RefineRequest", display: "Display") -> "Refinement":
    from lbadvisor.cli.display.refine_display import SearchDisplay
    from lbadvisor.refine.refining import concluded, search_trials, take_in_past
    from lbadvisor.runs.following import Stop, follow
    from lbadvisor.runs.jobs import Asked, begins_a_run
    from lbadvisor.runs.ladder import failure_of
    from lbadvisor.runs.signals import noted_signals

    taken_in, left = take_in_past(workspace, asked)
    if taken_in:
        display.show_line(f"reused: {taken_in} trials from runs in the database")
    needed = crew.needed_for(left)
    display.show_crew(crew, needed, workspace.machine.threads)
    events = needed.events(workspace, Asked(asked.baseline, search_trials, (asked,)))
    with display.progress() as progress:
        shown = SearchDisplay(display, progress, asked, len(needed.devices))
        ended = follow(events, shown.show, begins=lambda told: begins_a_run(told[1]))
    if isinstance(ended, Stop):
        saved = "the trial is saved" if len(needed.devices) == 1 else "the trials are saved"
        lead = "stopped at once" if ended.signal_name is None else f"{ended.signal_name}: {saved}"
        display.show_line(f"{lead}; the same command resumes it")
        raise typer.Exit(STOPPED_BY_SIGNAL)
    if shown.failed:
        raise failure_of(shown.failed)
    with noted_signals():  # the test set is measured once, to its end
        return concluded(workspace, asked)


def _calibrated(workspace: "Workspace", asked: "RefineRequest", display: "Display") -> "RefineRequest":
    """The request with the calibrated exponent as its first trial, if there is one."""
    from dataclasses import replace

    from lbadvisor.cli.commands.calibrate import DEFAULT_EXPONENTS, numbers_of, run_calibration, show_price
    from lbadvisor.diagnostics.calibration.calibration import default_updates, exponent_text
    from lbadvisor.diagnostics.calibration.short_runs import CalibrationRequest
    from lbadvisor.refine.refine_request import trial_plan
    from lbadvisor.refine.study import SharedStudy

    with SharedStudy.open(workspace.store, asked.study_name, asked.space) as study:
        if study.is_begun:
            display.show_line("the study has trials already: calibration is skipped")
            return asked
    tried = numbers_of(DEFAULT_EXPONENTS)
    plan = trial_plan(asked, asked.space.theory)
    length = plan.adapted.schedule.updates or 0
    calibration = CalibrationRequest(
        baseline=asked.baseline,
        # Clipping would bound the steps being compared.
        request=replace(asked.request, parts=tuple(part for part in asked.request.parts if part != "clip")),
        exponents=tried,
        updates=min(default_updates(length, len(tried), len(asked.seeds), plan.batch_ratio), length),
        seeds=asked.seeds,
    )
    show_price(calibration, display)
    matched = run_calibration(workspace.machine, calibration, display).windows[-1].matched
    display.show_line(f"calibrated: exponent {exponent_text(matched, tried)}")
    if matched.value is None:
        return asked
    point = asked.space.at(asked.space.dimensions[0].snapped(matched.value))
    return replace(asked, first=(point,))


def _write(path: Path, original: "Recipe", request: "Request", refinement: "Refinement") -> None:
    """Write the recipe for all training examples at the kept point, with the source of its exponent as a comment."""
    from dataclasses import replace

    from lbadvisor.cli.options.adaptation import write_recipe
    from lbadvisor.refine.search_space import plan_at, point_text

    plan = plan_at(original, request, refinement.space, refinement.kept)
    found = refinement.estimate
    measured = (
        "too few trials ended"
        if found is None
        else f"estimate {found.exponent:.2f} ({found.low:.2f} to {found.high:.2f})"
    )
    source = (
        f"{point_text(refinement.space, refinement.kept)}, refined: study {refinement.study}, {len(refinement.trials)} "
        f"trials on {refinement.validation_examples} held-out examples, {measured}"
    )
    lines = tuple(
        replace(line, formula=f"{line.formula} ({source})") if line.field == "optimizer.lr" else line
        for line in plan.adjustments
    )
    write_recipe(path, replace(plan, adjustments=lines))
