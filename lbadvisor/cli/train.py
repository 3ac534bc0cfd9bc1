"""`lbadvisor train`: train a recipe, as it is or adapted to a larger batch, and go on where it stopped."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lbadvisor.cli import options

if TYPE_CHECKING:
    from lbadvisor.advisor.plan import Plan
    from lbadvisor.advisor.recipe import Recipe
    from lbadvisor.advisor.records import Measurement, Run
    from lbadvisor.cli.train_display import Display
    from lbadvisor.runner import RunRequest

STOPPED_BY_SIGNAL = 75
"""Exit code of a run that was stopped and saved: EX_TEMPFAIL of sysexits.h, "the same command goes on"."""


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe's file.")],
    target: options.Target = None,
    adapt: Annotated[
        str | None,
        typer.Option("--adapt", metavar="PARTS", help="With --to: all, none, or some of lr,ghost,regime,clip."),
    ] = None,
    lr_rule: options.LrRule = "sqrt",
    ghost: options.Ghost = None,
    betas: options.Betas = "sde",
    weight_decay: options.WeightDecay = "keep",
    schedule_scale: options.ScheduleScale = 1.0,
    overrides: options.Overrides = None,
    recompute_statistics: Annotated[
        bool,
        typer.Option("--recompute-statistics", help="Set batch_norm.recompute_at_end: at the end, exact statistics."),
    ] = False,
    name: Annotated[str | None, typer.Option("--name", help="The run's name; made from the rest if not given.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Everything random is a function of it.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[
        str | None, typer.Option("--precision", help="float32 or bf16: the recipe's compute.precision.")
    ] = None,
    micro: Annotated[
        str | None,
        typer.Option("--micro", metavar="N|auto", help="Examples at a time, for memory only; auto: as many as fit."),
    ] = None,
    database: options.Database = None,
    data_dir: options.DataDir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be trained, and do nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no messages.")] = False,
) -> None:
    """Train a recipe; with --to, adapted to a larger batch first. The same command again goes on where it stopped.

    Ctrl-C finishes the update, saves, and exits 75. Runs are kept in the database; see `lbadvisor runs`.
    """
    from lbadvisor.advisor.plan import advise
    from lbadvisor.advisor.schedule import in_updates
    from lbadvisor.cli.adaptation import baseline_recipe, request_of
    from lbadvisor.cli.train_display import Display
    from lbadvisor.errors import UsageError

    overrides = list(overrides or ())
    if recompute_statistics:
        overrides.append("batch_norm.recompute_at_end=true")
    if precision is not None:
        overrides.append(f"compute.precision={precision}")
    baseline = baseline_recipe(recipe, overrides, schedule_scale)
    plan: Plan | None = None
    if target is not None:
        plan = advise(baseline, request_of(target, adapt or "all", lr_rule, ghost, betas, weight_decay))
    elif adapt is not None:
        raise UsageError("--adapt needs the target batch size: --to B")
    trained = baseline if plan is None or plan.adapted is None else plan.adapted
    run_name = _checked_name(name) if name is not None else _made_name(trained, seed)
    display = Display(quiet=quiet)
    display.show_recipe(run_name, trained, plan, seed)

    # From here on torch is needed, which takes seconds to import.
    from lbadvisor.runner import RunRequest, chosen_device, find_earlier
    from lbadvisor.store import default_database_path
    from lbadvisor.training.data import default_data_dir

    request = RunRequest(
        recipe=trained,
        plan=plan,
        name=run_name,
        seed=seed,
        device=chosen_device(device),
        database=database or default_database_path(),
        data_dir=data_dir or default_data_dir(),
        micro=micro_of(micro),
    )
    earlier = find_earlier(request)
    if earlier is not None and earlier.status == "complete":
        display.show_result(*_stored(request.database, earlier.name), again=True)
    elif dry_run:
        display.show_dry_run(request, earlier)
    else:
        stopped, update = _train(request, display)
        if stopped:
            display.show_stop(run_name, stopped, update, in_updates(trained).schedule.updates)
            raise typer.Exit(STOPPED_BY_SIGNAL)
        run, measurements = _stored(request.database, run_name)
        display.show_clipping(run, measurements)
        display.show_result(run, measurements, again=False)


def _train(request: "RunRequest", display: "Display") -> tuple[str | None, int | None]:
    """Run the request to its end; the name of the signal that stopped it, and the last update made, each or None."""
    from lbadvisor.cli.signals import Stopper
    from lbadvisor.runner import Progress, Started, train_run
    from lbadvisor.training.dataset import Preparing

    events, update = train_run(request), None
    with Stopper() as stopper, display.progress() as show:
        for event in events:
            match event:
                case Preparing():
                    show.prepare(event)
                case Started():
                    # A run that was begun makes an update before it stops.
                    show.start(event)
                    continue
                case Progress():
                    show.advance(event)
                    update = event.update
            if stopper.signal_name is not None:
                # Closing the run saves it.
                events.close()
                break
    return stopper.signal_name, update


def _stored(database: Path, name: str) -> tuple["Run", "list[Measurement]"]:
    from lbadvisor.store import Store

    with Store.open(database, create=False) as store:
        run = store.run(name)
        return run, store.measurements(run.number)


def micro_of(text: str | None) -> "int | Literal['auto'] | None":
    """What --micro says. Raises `UsageError`."""
    from lbadvisor.errors import UsageError

    if text is None:
        return None
    if text == "auto":
        return "auto"
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"--micro {text}: give a number of examples, or auto")
    return int(text)


def _checked_name(name: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from lbadvisor.advisor.recipe import Name
    from lbadvisor.errors import UsageError

    try:
        checked: str = TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise UsageError(
            f"{name!r} is no name for a run: letters, digits and . _ + - only, at most 100, a letter or digit first"
        ) from None
    if checked.isdigit():
        raise UsageError(f"{name!r} is no name for a run: numbers alone are the runs' numbers")
    return checked


def _made_name(recipe: "Recipe", seed: int) -> str:
    """Such as digits-32-s0, or digits-1024-lr+ghost-s0 for a recipe that was adapted in part."""
    words = [recipe.name, str(recipe.batch.size)]
    if recipe.adapted_from is not None:
        from lbadvisor.advisor.parts import PARTS

        parts = recipe.adapted_from.parts
        words.append("all" if parts == PARTS else "+".join(parts) or "none")
        if "lr" in parts and recipe.adapted_from.lr_rule != "sqrt":
            words.append(recipe.adapted_from.lr_rule.replace("=", ""))
    if recipe.compute.precision != "float32":
        words.append(recipe.compute.precision)
    if recipe.compute.tf32:
        words.append("tf32")
    if recipe.compute.compile:
        words.append("compiled")
    return "-".join([*words, f"s{seed}"])
