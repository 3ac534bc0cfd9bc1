"""`lbadvisor stretch`: find the smallest stretch that closes the gap, and what it saves."""

from typing import TYPE_CHECKING, Annotated

import typer

from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.command_line import Words

if TYPE_CHECKING:
    from lbadvisor.planning.request import Request
    from lbadvisor.recipe.recipe import Recipe


@command
def stretch(
    words: Words,
    recipe: options.RecipeFile,
    *,
    target: options.Target = None,
    margin: Annotated[
        str,
        typer.Option(
            "--margin",
            metavar="M",
            help="What may remain of a closed gap: 20% of the naive gap, or 0.2 points of error.",
        ),
    ] = "20%",
    seeds: Annotated[
        int,
        typer.Option("--seeds", min=2, max=1000, help="Seeds of each arm at most: 3, then one more while undecided."),
    ] = 3,
    rules: options.Rules,
    changes: options.Changes,
    recompute_statistics: options.RecomputeStatistics = False,
    name: options.NewLadder = None,
    machine: options.MachineOptions,
    crew: options.CrewOptions,
    database: options.Database = None,
    dry_run: options.DryLadder = False,
    shown: options.Shown,
) -> None:
    """Find the smallest stretch that closes the gap, and the time it saves next to the full regime.

    Trains the baseline and the naive large batch, then longer and longer adapted ones: the baseline's epochs, then a
    stretch of twice as many again and again, up to the full regime. Ends at the first that closes the gap. The runs are
    those of a ladder: the same command resumes them, several processes may share them, and stored ones are reused.
    """
    from lbadvisor.cli.display.console import say, stdout
    from lbadvisor.cli.display.diagnosis_display import show_diagnosis
    from lbadvisor.cli.display.ladder_display import LadderDisplay
    from lbadvisor.cli.display.reporting import check_reports
    from lbadvisor.cli.options.adaptation import baseline_recipe, request_by, target_of, with_requests
    from lbadvisor.cli.options.places import crew_of
    from lbadvisor.comparison.stretch_search import parse_margin
    from lbadvisor.runs.databases import opened_to_train
    from lbadvisor.runs.names import checked_name, ladder_name_of

    check_reports(shown.html, shown.png)
    asked = request_by(rules, target_of(target), ())
    may_remain = parse_margin(margin)
    baseline = baseline_recipe(recipe, with_requests(changes, None, recomputed=recompute_statistics), words)
    _check(baseline, asked, words)
    given = ladder_name_of(baseline, asked, "stretch") if name is None else checked_name(name, "ladder")
    display = LadderDisplay(quiet=shown.quiet)
    display.of_runs.show_loading()

    from lbadvisor.cli.ladder_session import show_dry_run, train_runs
    from lbadvisor.diagnostics.stretch.stretch_diagnosis import diagnosis_of
    from lbadvisor.runs.jobs import Asked
    from lbadvisor.runs.ladder_runs import planned_runs
    from lbadvisor.runs.stretching import answer_of, stretch_request, train_stretch
    from lbadvisor.runs.workspace import Workspace

    with opened_to_train(database) as store:
        computer, jobs = crew_of(machine, crew, words)
        workspace = Workspace(store, computer)
        request = stretch_request(given, baseline, asked, may_remain, seeds)
        whole = request.ladder
        planned_runs(store, whole)  # refuse before anything is printed on stdout
        display.show_plan((whole,), dry_run=dry_run and not shown.as_json)
        if dry_run:
            show_dry_run(workspace, jobs, (whole,), as_json=shown.as_json)
            if not shown.as_json:
                least = 3 * request.question.first_look
                say(
                    stdout(),
                    f"that is the most: the search ends at the first stretch that closes the gap, after {least} "
                    "runs at the earliest",
                )
            return
        train_runs(workspace, jobs, Asked(baseline, train_stretch, (request,)), (whole,), display)
        answer = answer_of(store, request)
    show_diagnosis(answer, diagnosis_of(answer), shown)


def _check(baseline: "Recipe", asked: "Request", words: Words) -> None:
    """Raise `UsageError` for a target that is not larger than the baseline, and for rules that no arm uses."""
    from lbadvisor.cli.options.effects import refuse_without_effect
    from lbadvisor.errors import UsageError
    from lbadvisor.planning.arms import ARMS
    from lbadvisor.planning.baseline import baseline_of
    from lbadvisor.planning.option_needs import Planned

    if asked.target_batch_size <= baseline.batch.size:
        raise UsageError(
            f"the target batch size {asked.target_batch_size} is not above the baseline's, {baseline.batch.size}"
        )
    arms = (ARMS["gbn"].request, ARMS["ra"].request)
    requests = tuple(arm(asked) for arm in arms if arm is not None)
    refuse_without_effect(words, Planned(baseline_of(baseline), requests))
