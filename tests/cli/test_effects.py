"""Every option of every command says when it has an effect; one that has none is refused, with the reason."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from lbadvisor.cli.lazy import COMMANDS, loaded
from lbadvisor.cli.options.command_line import Words
from lbadvisor.cli.options.effects import ALWAYS, EFFECTS, refuse_without_effect
from lbadvisor.errors import LbadvisorError, UsageError
from lbadvisor.planning.baseline import baseline_of_numbers
from lbadvisor.planning.option_needs import Planned
from lbadvisor.planning.plan import all_lines
from lbadvisor.planning.request import Request
from lbadvisor.planning.rules import FINITE_POPULATION, LR_RULES, SQRT
from lbadvisor.planning.scaling import scaling_of
from lbadvisor.recipe.parts import PARTS

RECIPES = Path(__file__).parents[2] / "recipes"
DIGITS = str(RECIPES / "digits.toml")


def options(name, command):
    """(command, option) of a command, and of the commands in a group of them."""
    yield from ((name, parameter.opts[0]) for parameter in command.params if parameter.opts[0].startswith("--"))
    for inner, its_command in getattr(command, "commands", {}).items():
        yield from options(f"{name} {inner}", its_command)


ALL = [pair for name in COMMANDS for pair in options(name, loaded(name))]


def callbacks(command):
    """The function of a command, and of the commands in a group of them, as typer got it."""
    if command.callback is not None:
        yield command.callback.__wrapped__
    for inner in getattr(command, "commands", {}).values():
        yield from callbacks(inner)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_checks_its_words(name):
    spread = [function.__code__.co_qualname for function in callbacks(loaded(name))]
    assert spread
    assert set(spread) == {"command.<locals>.checked"}


def effect_of(command, option):
    return f"{command} {option}" if f"{command} {option}" in EFFECTS else option


def test_every_option_of_every_command_says_when_it_has_an_effect():
    assert len(ALL) > 100
    assert [pair for pair in ALL if effect_of(*pair) not in EFFECTS] == []
    assert EFFECTS.keys() - {effect_of(*pair) for pair in ALL} == set()


PLAN = ("plan", "--from", "128", "--to", "4096")
GIVEN = {
    "--to": "1024", "--arm": "ra", "--adapt": "lr", "--lr-rule": "sqrt", "--ghost": "64", "--betas": "sde",
    "--weight-decay": "keep", "--stretch-share": "1", "--set": "optimizer.lr=0.1", "--schedule-scale": "1",
    "--precision": "float32", "--out": "new.toml", "--from": "32", "--lr": "0.1", "--epochs": "10",
    "--examples": "1000", "--optimizer": "sgd", "--seeds": "2", "--momentum": "0.9", "--beta1": "0.9",
    "--beta2": "0.999", "--epsilon": "1e-8", "--weight-decay-value": "0.01",
    "--updates": "3", "--seed": "1", "--device": "cpu", "--data-dir": ".", "--db": "a.db",
    "--distances-from": "sb", "--html": "a.html", "--png": "a.png", "--by": "update",
    "--noise-scale": "1000", "--devices": "8", "--parameters": "1000", "--bandwidth": "1", "--latency": "1",
    "--jitter": "1", "--rate": "measure", "--setting": "lr=0.1", "--micro": "64",
}  # fmt: skip
"""A value for each option, as a rule its default: it counts as given all the same."""
OF_THE_OPTIMIZER = ("--momentum", "--beta1", "--beta2", "--epsilon", "--weight-decay-value")
NO_DECAY = ("--set", "optimizer.weight_decay=0.0")
NO_TARGET = "needs the target batch size: --to B"
RATES = ("--rate", "128=5000,4096=20000")
TIMED = ("plan", DIGITS, "--to", "256", "--rate", "measure")
WITHOUT_EFFECT = [
    *((("train", DIGITS, option), NO_TARGET) for option in ("--arm", "--adapt", "--lr-rule", "--ghost", "--betas")),
    (("train", DIGITS, "--distances-from"), NO_TARGET),
    (("plan", "--from", "32", "--to", "64", "--distances-from"), "needs a recipe"),
    *((("runs", "export", "--tensorboard", "logs", option), "cannot be combined") for option in ("--out", "--json")),
    (("runs", "import", "a.csv", "--name", "a", "--recipe", DIGITS, "--setting"), "belongs to a run without --recipe"),
    (("train", DIGITS, "--to", "256", "--arm", "ra", "--distances-from"), "belongs to --arm distance"),
    *(((command, DIGITS, "--to", "256", "--db"), "--distances-from") for command in ("plan", "verify-resume")),
    *((("verify-resume", DIGITS, option), NO_TARGET) for option in ("--weight-decay", "--stretch-share")),
    *(((*PLAN, option), "needs a recipe") for option in ("--set", "--schedule-scale", "--precision", "--out")),
    *(
        (("plan", DIGITS, "--to", "1024", option), "belongs to a plan without a recipe")
        for option in ("--from", "--lr", "--epochs", "--examples", "--optimizer", *OF_THE_OPTIMIZER)
    ),
    *((("plan", "--to", "8", option), "needs the baseline batch size: --from B") for option in ("--lr", "--beta1")),
    *(((*PLAN, "--arm", "ra", option), "cannot be combined with --arm") for option in ("--adapt", "--lr-rule")),
    (("train", DIGITS, "--to", "256", "--arm", "ra", "--stretch-share"), "cannot be combined with --arm"),
    ((*PLAN, "--adapt", "ghost", "--lr-rule"), "without `lr` among the parts"),
    ((*PLAN, "--adapt", "lr", "--ghost"), "without `ghost` among the parts"),
    ((*PLAN, "--adapt", "lr", "--stretch-share"), "without `regime` among the parts"),
    ((*PLAN, "--arm", "lr", "--ghost"), "without `ghost` among the parts"),
    ((*PLAN, "--optimizer", "adam", "--adapt", "ghost", "--betas"), "without `lr` among the parts"),
    ((*PLAN, "--betas"), "the optimizer has no betas"),
    ((*PLAN, "--optimizer", "adagrad", "--betas"), "the optimizer has no betas"),
    ((*PLAN, "--weight-decay"), "no weight decay above 0"),
    (("train", DIGITS, "--to", "256", *NO_DECAY, "--weight-decay"), "no weight decay above 0"),
    *((("plan", "--from", "8", "--to", "8", option), "the baseline's own") for option in ("--lr-rule",)),
    (("plan", "--from", "8", "--to", "8", "--optimizer", "adam", "--betas"), "the baseline's own"),
    (("plan", "--from", "8", "--to", "8", "--stretch-share"), "the baseline's own"),
    (("ladder", DIGITS, "--to", "256", "--arms", "sb,lb", "--ghost"), "without `ghost` among the parts"),
    (("ladder", DIGITS, "--to", "256", "--betas"), "the optimizer has no betas"),
    (("ladder", DIGITS, "--to", "256", *NO_DECAY, "--weight-decay"), "no weight decay above 0"),
    *((("ladder", DIGITS, "--to", "256", option), "only several target batch sizes") for option in ("--no-chart",)),
    (("ladder", DIGITS, "--to", "64,256", "--md", "--chart"), "only the table comes with a chart"),
    (("ladder", DIGITS, "--to", "64,256", "--dry-run", "--chart"), "--dry-run trains nothing"),
    (("ladder", DIGITS, "--to", "256", "--arms", "sb:1,lb:2", "--seeds"), "its own number of seeds"),
    *(
        (("ladder", DIGITS, "--to", "256", "--dry-run", option), "--dry-run trains nothing")
        for option in ("--html", "--png", "--md", "--csv")
    ),
    *(
        (("stretch", DIGITS, "--to", "256", "--dry-run", option), "--dry-run trains nothing")
        for option in ("--html", "--png", "--chart")
    ),
    *((("calibrate", DIGITS, "--to", "256", option), "no betas") for option in ("--betas",)),
    (("calibrate", DIGITS, "--to", "256", "--adapt", "lr", "--ghost"), "without `ghost` among the parts"),
    (("calibrate", DIGITS, "--to", "256", "--dry-run", "--json"), "--dry-run trains nothing"),
    (("probe", "potential", DIGITS, "--dry-run", "--json"), "--dry-run trains nothing"),
    (("probe", "sharpness", "a", "--dry-run", "--json"), "--dry-run trains nothing"),
    (("refine", DIGITS, "--to", "256", "--adapt", "lr", "--ghost"), "without `ghost` among the parts"),
    (("refine", DIGITS, "--to", "256", *NO_DECAY, "--weight-decay"), "no weight decay above 0"),
    *(
        (("refine", DIGITS, "--to", "256", "--dry-run", option), "--dry-run trains nothing")
        for option in ("--json", "--out", "--calibrate", "--chart", "--no-chart")
    ),
    (("refine", DIGITS, "--to", "256", "--json", "--no-chart"), "only the table comes with a chart"),
    *(((*words, "--force"), "without --out") for words in (("plan", DIGITS, "--to", "256"), ("runs", "export"))),
    (("refine", DIGITS, "--to", "256", "--force"), "without --out"),
    *((("compare", "a", "b", "--json", option), "only the table comes with a chart") for option in ("--curve",)),
    (("compare", "a", "b", "--md", "--no-curve"), "only the table comes with a chart"),
    *((("compare", "a", "b", option, "--by"), "no curve is drawn") for option in ("--json", "--csv", "--no-curve")),
    *((("compare", "a", "b", "--json", option), "combined with another format") for option in ("--md", "--csv")),
    (("db", "query", "--sql", "SELECT 1", "--json", "--csv"), "combined with another format"),
    (("runs", "delete", "a", "--dry-run", "--yes"), "--dry-run deletes nothing"),
    (("ladders", "delete", "a", "--dry-run", "--yes"), "--dry-run deletes nothing"),
    (("ladders", "--json", "show", "a"), "given after its name"),
    (("runs", "prune", "a", "--dry-run", "--yes"), "--dry-run deletes nothing"),
    (("ladders", "delete", "a", "--dry-run", "--yes"), "--dry-run deletes nothing"),
    (("runs", "--json", "show", "a"), "given after its name"),
    *(((c, DIGITS, "--to", "256", "--arm", "sb"), "the arm sb is the baseline itself") for c in ("plan", "train")),
    (("ladder", DIGITS, "--to", "256", "--arms", "sb"), "the arm sb is the baseline itself"),
    *(
        ((c, DIGITS, *words), said)
        for c in ("train", "ladder", "calibrate", "refine", "verify-resume")
        for words, said in (
            (("--to", "256", "--data-dir", "."), "comes with scikit-learn"),
            (("--to", "256", "--device", "cpu", "--micro", "auto"), "--micro auto has no effect on the CPU"),
        )
    ),
    *(
        ((c, DIGITS, "--to", "256", "--devices", "cpu", "--device"), "cannot be combined with --devices")
        for c in ("ladder", "refine", "stretch")
    ),
    (("runs", "--limit", "3", "export"), "given after its name"),
    *(
        (("probe", "noise", "a", option), "no effect on stored runs")
        for option in (
            *("--updates", "--seeds", "--seed", "--set", "--schedule-scale", "--precision"),
            *("--device", "--data-dir", "--dry-run"),
        )
    ),
    (("probe", "noise", DIGITS, "--db"), "has no effect on a recipe"),
    (("probe", "noise", DIGITS, "--dry-run", "--json"), "--dry-run trains nothing"),
    *(((c, DIGITS, "--noise-scale"), NO_TARGET) for c in ("train",)),
    ((*PLAN, "--rate"), "measure needs a recipe"),
    (("plan", "--from", "8", "--to", "8", "--noise-scale"), "the baseline's own"),
    ((*PLAN, *RATES, "--devices"), "needs the network's number of parameters"),
    (("plan", DIGITS, "--to", "256", "--devices", "4", "--parameters"), "without --rate"),
    (("plan", DIGITS, "--to", "256", "--micro"), "without --ranks N"),
    ((*TIMED, "--devices", "4", "--parameters"), "--rate measure counts the parameters"),
    *(((*PLAN, *RATES, option), "needs the number of devices") for option in ("--parameters", "--jitter")),
    *(((*PLAN, *RATES, option), "needs the number of devices") for option in ("--bandwidth", "--latency", "--png")),
    *(((*PLAN, "--devices", "4", option), "without --rate") for option in ("--bandwidth", "--latency", "--jitter")),
    ((*PLAN, "--devices", "4", "--chart"), "without --rate"),
    ((*PLAN, *RATES, "--json", "--no-chart"), "only the table comes with a chart"),
    ((*PLAN, "--html"), "without --rate or --noise-scale"),
    *(((*PLAN, *RATES, option), "without --rate measure") for option in ("--device", "--data-dir")),
    ((*TIMED, "--data-dir"), "comes with scikit-learn"),
    ((*PLAN, "--noise-scale", "100", "--db"), "a --noise-scale that names a run"),
    (("export", DIGITS, "--for", "torch", "--to", "256", "--db"), "without --distances-from"),
    (("export", DIGITS, "--for", "torch", "--adapt"), NO_TARGET),
    (("export", DIGITS, "--for", "torch", "--force"), "without --out"),
]
OF_STORED = ("--allow-code",)
"""Needs that only a stored run's recipe does not meet: `test_own_code.py` tries them."""


@pytest.mark.parametrize(("words", "reason"), WITHOUT_EFFECT, ids=lambda value: " ".join(value[-3:]))
def test_an_option_without_effect_is_refused_with_the_reason(place, words, reason):
    value = [GIVEN[words[-1]]] if words[-1] in GIVEN else []
    done = place.run(*words, *value)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert list(place.folder.iterdir()) == []


def test_every_option_with_a_need_is_tried_without_it():
    tried = {effect_of(c, o) for c, o in ALL for words, _ in WITHOUT_EFFECT if words[0] == c.split()[0] and o in words}
    tried |= set(OF_STORED)
    assert {option for option, needs in EFFECTS.items() if needs != ALWAYS} <= tried


def of_words(option):
    return Words("plan", {"--to": 1}, ((option, option),))


BASELINES = [
    replace(baseline_of_numbers(100, lr, 10, 50_000, optimizer), weight_decay=decay, has_batch_norm=batch_norm)
    for lr, optimizer, decay, batch_norm in itertools.product(
        (None, 0.1), ("sgd", "adam", "adamw", "adagrad"), (None, 0.0, 1e-4), (True, False)
    )
]
REQUESTS = [
    Request(target, parts, rule)
    for target, parts, rule in itertools.product(
        (100, 400),
        ((), ("lr",), ("ghost", "regime"), ("lr", "clip"), PARTS),
        (SQRT, LR_RULES["linear"], FINITE_POPULATION),
    )
]
VALUES = {
    "--lr-rule": [{"lr_rule": rule} for rule in LR_RULES.values()],
    "--ghost": [{"ghost_batch_size": size} for size in (20, 50)],
    "--betas": [{"betas": rule} for rule in ("sde", "half-life", "keep")],
    "--weight-decay": [{"weight_decay": rule} for rule in ("keep", "horizon")],
    "--stretch-share": [{"stretch_share": share} for share in (1.0, 0.5)],
}


@pytest.mark.parametrize("option", VALUES)
def test_an_option_is_refused_if_and_only_if_no_value_of_it_changes_the_plan(option):
    """The advisor itself is asked: the numbers of the plan under two values of the option."""
    verdicts = set()
    for baseline, request in itertools.product(BASELINES, REQUESTS):
        plans = set()
        for values in VALUES[option]:
            try:
                lines = all_lines(scaling_of(baseline, replace(request, **values)))
                plans.add(tuple((line.field, round(line.after, 9) if isinstance(line.after, float) else line.after)
                                for line in lines))  # fmt: skip
            except LbadvisorError as error:
                plans.add(str(error))
        if option == "--stretch-share" and request.target_batch_size == baseline.batch_size:
            plans = {"a share lies between 1/r and 1, so that of r = 1 is 1"}
        try:
            refuse_without_effect(of_words(option), Planned(baseline, (request,)))
            refused = False
        except UsageError:
            refused = True
        assert refused == (len(plans) == 1), (baseline, request)
        verdicts.add(refused)
    assert verdicts == {True, False}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("refine", DIGITS, "--to", "256", "--epochs-budget", "nan"), "--epochs-budget nan: give a finite number"),
        (("refine", DIGITS, "--to", "256", "--range", "0", "inf"), "--range inf: give a finite number"),
        (("plan", "--from", "8", "--to", "16", "--lr", "inf"), "--lr inf: give a finite number"),
        (("plan", DIGITS, "--to", "64", "--schedule-scale", "-inf"), "--schedule-scale -inf: give a finite number"),
        (("train", DIGITS, "--to", "64", "--stretch-share", "nan"), "--stretch-share nan: give a finite number"),
        (("plan", "--from", "8", "--to", "9" * 300), "--to 9999999999... (300 digits): give a number below 2^63"),
        (("train", DIGITS, "--seed", str(2**63)), "--seed 9223372036854775808: give a number below 2^63"),
        (("runs", "--limit", "9" * 30), "--limit"),
    ],
)
def test_a_number_that_none_can_compute_with_is_refused(place, words, said):
    done = place.run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert list(place.folder.iterdir()) == []
