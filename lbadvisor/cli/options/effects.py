"""When each option has an effect: one that is given and has none is refused, with the reason and what to do.

`EFFECTS` names every option of the program. Some needs are seen in the words alone; others in the recipe, in what is
planned or on the device, and are looked at once that is known. An option counts as given if it stands on the command
line, whatever its value.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from lbadvisor.cli.options.command_line import Words, names_recipe
from lbadvisor.errors import UsageError
from lbadvisor.planning.option_needs import LARGER, NEEDS, Need, Planned
from lbadvisor.recipe.catalog import BUNDLED

if TYPE_CHECKING:
    from lbadvisor.recipe.recipe import Recipe


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """The data set of the recipe that is trained, by its name; and whether its data, or any of it, are own code."""

    dataset: str
    has_own_data: bool
    has_own_code: bool

    @classmethod
    def of(cls, recipe: "Recipe") -> Self:
        """What is known of the recipe."""
        return cls(recipe.data.name, "data" in recipe.own_code, bool(recipe.own_code))


@dataclass(frozen=True, slots=True)
class ComputedOn:
    """What computes: cpu or cuda, and the micro-batch asked for."""

    device: str
    micro: str | None


def refuse_without_effect(words: Words, known: Words | TrainedOn | Planned | ComputedOn) -> None:
    """Raise `UsageError` for the first given option without effect, judged by what is known: first the words alone."""
    if words.subcommand is not None and words.given:
        raise UsageError(f"options of `{words.command} {words.subcommand}` are given after its name")
    for name, written in words.given:
        for need in EFFECTS.get(f"{words.command} {name}", EFFECTS.get(name, ())):
            if isinstance(known, need.of) and not need.met(known):
                raise UsageError(f"{written} {need.otherwise}")


FORMS = ("--json", "--md", "--csv")


def _is_table(words: Words) -> bool:
    return not any(words.values.get(form) for form in FORMS)


def _draws(words: Words) -> bool:
    return bool(_is_table(words) and words.values.get("--curve"))


def names_a_run(noise_scale: str) -> bool:
    """Whether --noise-scale names a run: anything but a number or an interval."""
    try:
        float(noise_scale)
    except ValueError:
        return ".." not in noise_scale
    return False


def _by_run(words: Words) -> bool:
    text = words.values["--noise-scale"]
    return (text is not None and names_a_run(text)) or words.values["--distances-from"] is not None


def _with(other: str, otherwise: str) -> Need[Words]:
    """The need of another option or argument."""
    return Need(Words, lambda words: words.values[other] is not None, otherwise)


TARGET = _with("--to", "needs the target batch size: --to B")
RECIPE = _with("recipe", "needs a recipe")
NO_RECIPE = Need(
    Words,
    lambda words: words.values["recipe"] is None,
    "belongs to a plan without a recipe: change the recipe with --set instead",
)
FROM = _with("--from", "needs the baseline batch size: --from B")
NO_ARM = Need(
    Words, lambda words: words.values.get("--arm") is None, "cannot be combined with --arm, which says what is adapted"
)
BY_DISTANCE = Need(
    Words,
    lambda words: words.values["--arm"] in (None, "distance"),
    "belongs to --arm distance: the other arms have no distances",
)
FOLLOWS = _with("--distances-from", "has no effect without --distances-from RUN, which is read from the database")
OUT = _with("--out", "has no effect without --out FILE")
ONE_FORM = Need(
    Words,
    lambda words: sum(bool(words.values.get(form)) for form in FORMS) < 2,
    "cannot be combined with another format: give one of --json, --md and --csv",
)
DONE = Need(
    Words,
    lambda words: not words.values.get("--dry-run"),
    "has no effect: --dry-run trains nothing, so there are no results",
)
ASKED = Need(
    Words, lambda words: not words.values["--dry-run"], "has no effect: --dry-run deletes nothing, and asks nothing"
)
TABLE = Need(Words, _is_table, "has no effect with --json, --md or --csv: only the table comes with a chart")
AXIS = Need(
    Words,
    lambda words: _draws(words) or " at " in (words.values["--columns"] or ""),
    "has no effect: no curve is drawn, and no metric of --columns is `at` a position",
)
SWEEP = Need(
    Words,
    lambda words: "," in (words.values["--to"] or ""),
    "has no effect: only several target batch sizes, as --to 256,1024, come with graphs",
)
SEEDED = Need(
    Words,
    lambda words: any(":" not in arm for arm in words.values["--arms"].split(",")),
    "has no effect: every arm of --arms has its own number of seeds",
)
LOOKED_FOR = Need(
    TrainedOn,
    lambda trained: trained.dataset not in BUNDLED,
    "has no effect: the recipe's data set comes with scikit-learn and needs no folder",
)
FOUND_BY_FACTORY = Need(
    TrainedOn, lambda trained: not trained.has_own_data, "has no effect: the recipe's data.factory finds its data"
)
OWN_CODE = Need(TrainedOn, lambda trained: trained.has_own_code, "has no effect: the recipe names no code of its own")
ADAPTED = Need(
    Planned,
    lambda planned: planned.requests != (),
    "has no effect: the arm sb is the baseline itself, which `lbadvisor train RECIPE` trains",
)
MEMORY_SEEN = Need(
    ComputedOn,
    lambda computed: (computed.device, computed.micro) != ("cpu", "auto"),
    "auto has no effect on the CPU, whose memory is not measured: give a number, or leave it out",
)


OF_RECIPE = Need(Words, names_recipe, "has no effect on stored runs, which have their readings: give a recipe file")
OF_RUNS = Need(Words, lambda words: not names_recipe(words), "has no effect on a recipe: nothing of it is stored")

BY_RUN = Need(
    Words, _by_run, "has no effect: only --distances-from and a --noise-scale that names a run are read from a database"
)
TIMED = Need(Words, lambda words: words.values["--rate"] == "measure", "has no effect without --rate measure")
RATE = _with("--rate", "has no effect without --rate")
IN_TIME = Need(
    Words,
    lambda words: words.values["--rate"] is not None or words.values["--noise-scale"] is not None,
    "has no effect without --rate or --noise-scale: the page shows what they tell",
)
ONE_DEVICE = Need(
    Words,
    lambda words: words.values["--devices"] is None,
    "cannot be combined with --devices, which names all devices",
)
HERE = Need(
    Words, lambda words: words.values["--ray"] is None, "cannot be combined with --ray: Ray chooses each job's device"
)
RANKS = _with("--ranks", "has no effect without --ranks N: a plan shows passes for ranks only")
DEVICES = _with("--devices", "needs the number of devices: --devices N")
MEASURABLE = Need(
    Words,
    lambda words: words.values["--rate"] != "measure" or words.values["recipe"] is not None,
    "measure needs a recipe, whose training is timed",
)
SIZED = Need(
    Words,
    lambda words: words.values["--rate"] in (None, "measure") or words.values["--parameters"] is not None,
    "needs the network's number of parameters: --parameters N, or --rate measure, which counts them",
)
COUNTED = Need(
    Words, lambda words: words.values["--rate"] != "measure", "has no effect: --rate measure counts the parameters"
)
UNTRACKED = Need(
    Words,
    lambda words: words.values["--tensorboard"] is None and words.values["--mlflow"] is None,
    "cannot be combined with --tensorboard or --mlflow, which write their own formats",
)
SETTINGS = Need(Words, lambda words: words.values["--recipe"] is None, "belongs to a run without --recipe")
ALWAYS: tuple[Need[Any], ...] = ()

_TABLE: tuple[tuple[str, str, tuple[Need[Any], ...]], ...] = (
    # Of every command.
    (
        "",
        "--db --device --dry-run --measure --name --out --quiet --recompute-statistics --seed --seeds --shares "
        "--threads",
        ALWAYS,
    ),
    ("", "--json --md --csv", (ONE_FORM,)),
    ("", "--html --png", (DONE,)),
    ("", "--chart", (TABLE, DONE)),
    ("", "--force", (OUT,)),
    ("", "--data-dir", (LOOKED_FOR, FOUND_BY_FACTORY)),
    ("", "--allow-code", (OWN_CODE,)),
    ("", "--micro", (MEMORY_SEEN,)),
    ("", "--set --schedule-scale --precision", (RECIPE,)),
    ("", "--to", (ADAPTED,)),
    ("", "--arm", (TARGET,)),
    ("", "--adapt", (TARGET, NO_ARM)),
    ("", "--lr-rule", (TARGET, NO_ARM, *NEEDS["lr_rule"])),
    ("", "--ghost", (TARGET, *NEEDS["ghost_batch_size"])),
    ("", "--betas", (TARGET, *NEEDS["betas"])),
    ("", "--weight-decay", (TARGET, *NEEDS["weight_decay"])),
    ("", "--stretch-share", (TARGET, NO_ARM, *NEEDS["stretch_share"])),
    ("", "--distances-from", (TARGET, RECIPE, BY_DISTANCE)),
    ("", "--noise-scale", (TARGET, *NEEDS["noise_scale"])),
    # Of one command.
    ("plan", "--from", (NO_RECIPE,)),
    ("plan", "--lr --epochs --examples --optimizer", (NO_RECIPE, FROM)),
    ("plan", "--momentum --beta1 --beta2 --epsilon --weight-decay-value", (NO_RECIPE, FROM)),
    ("plan", "--rate", (MEASURABLE, LARGER)),
    ("plan", "--devices", (SIZED,)),
    ("plan", "--ranks", ALWAYS),
    ("plan", "--micro", (RANKS,)),
    ("plan", "--parameters", (DEVICES, RATE, COUNTED)),
    ("plan", "--bandwidth --latency --jitter --png", (DEVICES, RATE)),
    ("plan", "--chart", (TABLE, DEVICES, RATE)),
    ("plan", "--html", (IN_TIME,)),
    ("plan", "--device", (TIMED,)),
    ("plan", "--data-dir", (TIMED, LOOKED_FOR, FOUND_BY_FACTORY)),
    ("plan", "--db", (BY_RUN,)),
    ("plan", "--out", (RECIPE,)),
    ("audit", "--format --devices --from", ALWAYS),
    ("export", "--for --devices", ALWAYS),
    ("export", "--db", (FOLLOWS,)),
    ("verify-resume", "--updates --at --ranks", ALWAYS),
    ("verify-resume", "--db", (FOLLOWS,)),
    ("ladder", "--arms --jobs --ray", ALWAYS),
    ("ladder", "--devices", (HERE,)),
    ("ladder", "--device", (ONE_DEVICE,)),
    ("ladder", "--seeds", (SEEDED,)),
    ("ladder", "--chart", (SWEEP, TABLE, DONE)),
    ("ladder", "--md --csv", (ONE_FORM, DONE)),
    ("stretch", "--margin --jobs --ray", ALWAYS),
    ("stretch", "--devices", (HERE,)),
    ("stretch", "--device", (ONE_DEVICE,)),
    ("compare", "--where --columns", ALWAYS),
    ("compare", "--by", (AXIS,)),
    ("compare", "--curve", (TABLE,)),
    ("calibrate", "--updates --exponents", ALWAYS),
    ("calibrate", "--json", (DONE,)),
    ("probe all", "--json", (DONE,)),
    ("probe potential", "--distance --directions --examples", ALWAYS),
    ("probe potential", "--json", (DONE,)),
    ("probe sharpness", "--where --epsilon --examples", ALWAYS),
    ("probe sharpness", "--json", (DONE,)),
    ("probe covariance", "--at --batches", ALWAYS),
    ("probe covariance", "--json", (DONE,)),
    ("probe noise", "--to", ALWAYS),
    ("probe noise", "--updates --seeds --seed --set --schedule-scale --precision --device --dry-run", (OF_RECIPE,)),
    ("probe noise", "--data-dir", (OF_RECIPE, LOOKED_FOR, FOUND_BY_FACTORY)),
    ("probe noise", "--db", (OF_RUNS,)),
    ("probe noise", "--json", (DONE,)),
    ("refine", "--trials --epochs-budget --also --range --metric --prune --jobs --ray", ALWAYS),
    ("refine", "--devices", (HERE,)),
    ("refine", "--device", (ONE_DEVICE,)),
    ("refine", "--calibrate --json --out", (DONE,)),
    ("runs", "--status --recipe --ladder --where --limit", ALWAYS),
    ("runs show", "--measurements", ALWAYS),
    ("runs export-weights", "--pt --weights", ALWAYS),
    ("runs export", "--where --tensorboard --mlflow", ALWAYS),
    ("runs export", "--out --json", (UNTRACKED,)),
    ("runs import", "--recipe --column --program", ALWAYS),
    ("runs import", "--setting", (SETTINGS,)),
    ("runs delete", "--yes", (ASKED,)),
    ("runs prune", "--yes", (ASKED,)),
    ("ladders delete", "--with-runs", ALWAYS),
    ("ladders delete", "--yes", (ASKED,)),
    ("db query", "--sql", ALWAYS),
)
EFFECTS = {f"{command} {option}".lstrip(): needs for command, options, needs in _TABLE for option in options.split()}
"""What each option needs, by its name; by its command and name if it needs something else there."""
