"""`lbadvisor plan`: what a larger batch changes, why, and at what cost."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbadvisor.cli.options import completion
from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.command_line import Words
from lbadvisor.cli.options.known_words import MEASURE, KnownWords
from lbadvisor.planning.rank_plan import MOST_RANKS

if TYPE_CHECKING:
    from lbadvisor.diagnostics.update_timing import Timing
    from lbadvisor.planning.baseline import Baseline
    from lbadvisor.planning.numbers_plan import NumbersPlan
    from lbadvisor.planning.plan import Plan
    from lbadvisor.planning.rank_plan import RankPlan
    from lbadvisor.planning.request import Request


@dataclass(frozen=True, slots=True)
class Numbers:
    """The known numbers of a baseline without a recipe."""

    batch_size: Annotated[int | None, typer.Option("--from", min=1, metavar="B", help="Baseline batch size.")] = None
    lr: Annotated[float | None, typer.Option("--lr", help="Baseline learning rate (with --from).")] = None
    epochs: Annotated[float | None, typer.Option("--epochs", help="Baseline length in epochs (with --from).")] = None
    examples: Annotated[int | None, typer.Option("--examples", help="Training examples (with --from).")] = None
    optimizer: Annotated[
        str, typer.Option("--optimizer", help="sgd, adam, adamw, rmsprop or adagrad (with --from).")
    ] = "sgd"
    momentum: Annotated[float | None, typer.Option("--momentum", help="Momentum (with --from).")] = None
    beta1: Annotated[float | None, typer.Option("--beta1", help="Beta1 (with --from).")] = None
    beta2: Annotated[float | None, typer.Option("--beta2", help="Beta2, RMSprop's alpha (with --from).")] = None
    epsilon: Annotated[float | None, typer.Option("--epsilon", help="Epsilon (with --from).")] = None
    weight_decay_value: Annotated[
        float | None, typer.Option("--weight-decay-value", help="Weight decay (with --from).")
    ] = None

    def baseline(self, batch_size: int) -> "Baseline":
        """The baseline at `batch_size`. Raises `PlanError` for an impossible number."""
        from lbadvisor.planning.baseline import baseline_of_numbers

        return baseline_of_numbers(
            batch_size,
            self.lr,
            self.epochs,
            self.examples,
            self.optimizer,
            momentum=self.momentum,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            weight_decay=self.weight_decay_value,
        )


@dataclass(frozen=True, slots=True)
class SharedWords:
    """The ranks that share a batch."""

    ranks: Annotated[
        int | None,
        typer.Option(
            "--ranks",
            metavar="N",
            min=1,
            max=MOST_RANKS,
            help="Show how N ranks, as torchrun starts them, would share each batch.",
        ),
    ] = None
    micro: Annotated[
        int | None,
        typer.Option("--micro", metavar="N", min=1, help="Examples per pass, to save memory (with --ranks)."),
    ] = None

    def plan_of(self, made: "NumbersPlan", baseline: "Baseline") -> "RankPlan | None":
        """How they share the plan's batch; None without --ranks. Raises `UsageError`."""
        from lbadvisor.planning.batch_division import WholeBatch
        from lbadvisor.planning.plan import Plan
        from lbadvisor.planning.rank_plan import rank_plan

        if self.ranks is None:
            return None
        ghost = made.adapted.batch_norm.ghost_batch_size if isinstance(made, Plan) else made.ghost_batch_size
        batch = WholeBatch(made.batch_size, ghost, baseline.has_batch_norm, baseline.running_statistics)
        return rank_plan(batch, self.ranks, self.micro)


@command
def plan(
    words: Words,
    recipe: Annotated[
        Path | None,
        typer.Argument(
            help="Recipe file; without one, give --from.", metavar="[RECIPE]", autocompletion=completion.recipes
        ),
    ] = None,
    *,
    numbers: Numbers,
    adapt: options.Adapt,
    known: KnownWords,
    shared: SharedWords,
    device: options.Device = "auto",
    data_dir: options.DataDir = None,
    changes: options.Changes,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the adapted recipe to this file.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --out overwrite a file.")] = False,
    shown: options.Shown,
) -> None:
    """Show what a larger batch changes: each line old -> new with formula and source, then what it costs.

    `lbadvisor plan --from 128 --to 4096` needs no recipe; add --lr, --epochs and --examples for absolute numbers.
    Optimizer settings that are not given default to torch's. With --rate the cost is also in time, and with --devices
    on many of them. With --ranks it says what each rank of a training here computes.
    """
    from lbadvisor.cli.display.reporting import check_reports
    from lbadvisor.cli.options.adaptation import baseline_recipe, distances_in, request_of, target_of, write_recipe
    from lbadvisor.cli.options.known_words import known_of
    from lbadvisor.cli.output import check_out
    from lbadvisor.errors import UsageError
    from lbadvisor.planning.baseline import baseline_of
    from lbadvisor.planning.plan import advise, advise_numbers

    target_of(adapt.target)
    check_reports(shown.html, shown.png)
    if out is not None:
        check_out(out, force=force, source=recipe)
    if recipe is not None:
        baseline = baseline_recipe(recipe, changes, words)
        of_recipe = baseline_of(baseline)
        request = replace(
            request_of(adapt, words, of_recipe),
            known=known_of(known, of_recipe),
            distances=distances_in(known.database, adapt, baseline),
        )
        made = advise(baseline, request)
        if known.rate == MEASURE:
            machine = options.MachineOptions(device=device, data_dir=data_dir)
            timing = _timing(made, machine, words, quiet=shown.quiet)
            facts = replace(request.known, update_time=timing.time, cluster=known.cluster(timing.parameters))
            request = replace(request, known=facts)
            made = advise(baseline, request)
        if out is not None:
            write_recipe(out, made)
        _show(made, of_recipe, request, shared, shown, baseline.name)
    elif numbers.batch_size is not None:
        of_numbers = numbers.baseline(numbers.batch_size)
        request = replace(request_of(adapt, words, of_numbers), known=known_of(known, of_numbers))
        _show(advise_numbers(of_numbers, request), of_numbers, request, shared, shown)
    else:
        raise UsageError("give a recipe, or the baseline batch size: --from B")


def _show(
    made: "NumbersPlan",
    baseline: "Baseline",
    request: "Request",
    shared: SharedWords,
    shown: options.Shown,
    name: str = "",
) -> None:
    """Show the plan, as JSON if asked for, what it costs in time if that is known, and how ranks share it."""
    from lbadvisor.cli.display.console import print_json
    from lbadvisor.cli.display.render_plan import print_plan
    from lbadvisor.cli.this_cpu import training_cpu_flags
    from lbadvisor.planning.bf16_note import bf16_note
    from lbadvisor.planning.outlook import diagnosis_of, outlook_of
    from lbadvisor.planning.plan import Plan, plan_body
    from lbadvisor.planning.rank_plan import diagnosis_of_ranks

    of_ranks = shared.plan_of(made, baseline)
    outlook = outlook_of(made.forecast, baseline.batch_size, request.target_batch_size, request.known)
    in_time = None if outlook is None else diagnosis_of(outlook)
    note = bf16_note(made.baseline.compute, training_cpu_flags()) if isinstance(made, Plan) else None
    if not shown.as_json:
        further = [] if in_time is None else [in_time]
        further += [] if of_ranks is None else [diagnosis_of_ranks(of_ranks)]
        print_plan(made, further, note, name, chart=shown.chart)
    else:
        from lbadvisor.cli.display.json_body import json_of

        others = {"outlook": outlook, "ranks": of_ranks}
        told = {key: None if value is None else json_of(value) for key, value in others.items()}
        print_json(plan_body(made) | told | {"bf16": note})
    if in_time is not None:
        from lbadvisor.cli.display.diagnosis_display import write_diagnoses

        write_diagnoses(f"{name or 'plan'}: {in_time.title}", (in_time,), shown)


def _timing(made: "Plan", machine: options.MachineOptions, words: Words, *, quiet: bool) -> "Timing":
    """Time updates of the plan's trainings on this machine, and show how far that is."""
    from lbadvisor.cli.display.train_display import Display

    display = Display(quiet=quiet)
    display.show_loading()

    from lbadvisor.cli.options.places import machine_of
    from lbadvisor.cli.probing import follow_probe
    from lbadvisor.diagnostics.update_timing import TIMED, time_updates, timed_recipes

    computer = machine_of(machine, words)
    sizes = ", ".join(f"{recipe.batch.size:,}" for recipe in timed_recipes(made))
    display.show_line(f"timing {TIMED} updates at each of the batch sizes {sizes} on {computer.device.type}")
    return follow_probe(time_updates(computer, made), display)
