"""How stored runs diffuse: which part is fitted, what is compared over seeds, and what the answer says."""

import math

import pytest

from lbadvisor.diagnostics.diffusion.diffusion import diffusion_of
from lbadvisor.diagnostics.diffusion.diffusion_diagnosis import diagnosis_of_diffusion
from lbadvisor.diagnostics.diffusion.growth import Law
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import AdaptedFrom, Batch, Data, Model, Sgd
from lbadvisor.recipe.schedule_tables import Schedule
from lbadvisor.records.quantities import GROUP_DISTANCE, GROUP_NORM
from lbadvisor.records.run import Environment, Measurement, Reading
from lbadvisor.store import Store

CPU = Environment("cpu", "a processor", "0.1.0", "3.11.0", "2.15.0", None, None)
WARM, DROP, LAST = 20, 6000, 6100
"""The rate rises until the first, is full until the second, and falls to a tenth."""


def recipe(batch_size=32, parts=None, momentum=0.9, model="digits_mlp"):
    adapted = None
    if parts is not None:
        adapted = AdaptedFrom(
            recipe="small", recipe_hash="0" * 64, batch_size=32, parts=parts, lr_rule="sqrt", program="lbadvisor"
        )
    return Recipe(
        schema=1,
        name="small",
        data=Data(name="digits", train_examples=1024),
        model=Model(name=model),
        batch=Batch(size=batch_size),
        optimizer=Sgd(name="sgd", lr=0.1, momentum=momentum),
        schedule=Schedule(updates=LAST),
        adapted_from=adapted,
    )


def rate(update):
    return 0.1 * update / WARM if update < WARM else 0.1 if update <= DROP else 0.01


def logarithm(slope):
    return lambda t: slope * math.log(t)


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "runs.db", create=True) as opened:
        yield opened


def add(store, name, of, distance, seed=0, layers=None, last=LAST):
    run = store.add_run(name, of, seed, LAST, CPU)
    updates = range(10, last + 1, 10)
    taken = [Measurement(t, t / 32, 32 * t, 0.5, rate(t), 1.0, 0.0, distance(t), None, None, t) for t in updates]
    read = [
        Reading(t, quantity.key, part, value(t))
        for t in updates
        for part, pair in (layers or {}).items()
        for quantity, value in zip((GROUP_DISTANCE, GROUP_NORM), pair, strict=True)
    ]
    store.record(run.number, taken, read)
    return store.run(name)


def test_the_part_that_is_fitted_is_at_the_full_rate_with_momentum_at_its_full_speed(store):
    """From 5 / (1 - 0.9) = 50 to the drop; without momentum from 5, here where the rate's rise ends."""
    with_momentum = add(store, "a", recipe(), logarithm(2))
    without = add(store, "b", recipe(momentum=0.0), logarithm(2))
    first, second = (group.runs[0] for group in diffusion_of(store, [with_momentum, without], ()).groups)
    assert (first.growth.updates[0], first.growth.updates[-1]) == (50, DROP)
    assert (second.growth.updates[0], second.growth.updates[-1]) == (WARM, DROP)
    assert first.growth.decades == pytest.approx(math.log10(DROP / 50))
    assert (first.updates[0], first.updates[-1]) == (10, DROP)
    assert first.growth.law is Law.LOGARITHM
    assert first.log_slope == pytest.approx(2)


def test_b_has_an_interval_over_seeds_and_differs_from_the_first_groups_in_pairs(store):
    """By hand: b = 2.0, 2.1, 2.2 and 1.5, 1.6, 1.8; t(2) = 4.302653; s of the differences 0.5, 0.5, 0.4 is 0.0577."""
    runs, labels = [], []
    for label, of, slopes in (("SB", recipe(), (2.0, 2.1, 2.2)), ("LB", recipe(512, ()), (1.5, 1.6, 1.8))):
        for seed, slope in enumerate(slopes):
            runs.append(add(store, f"{label}-s{seed}", of, logarithm(slope), seed))
            labels.append((runs[-1].number, label))
    found = diffusion_of(store, runs, labels)
    small, large = found.groups
    assert (small.label, small.batch_size, small.adapted, small.law) == ("SB", 32, None, Law.LOGARITHM)
    assert (large.label, large.batch_size, large.adapted) == ("LB", 512, ())
    assert small.log_slope == pytest.approx(2.1)
    assert small.log_slope_interval == pytest.approx((2.1 - 4.302653 * 0.1 / 3**0.5, 2.1 + 4.302653 * 0.1 / 3**0.5))
    assert large.difference == pytest.approx(-1.4 / 3)
    half = 4.302653 * 0.057735 / 3**0.5
    assert large.difference_interval == pytest.approx((-1.4 / 3 - half, -1.4 / 3 + half), abs=1e-5)
    answer = diagnosis_of_diffusion(found)
    assert "SB: d grows as 2.1 ln t (95% 1.85 to 2.35, 3 seeds) over 2.1 decades (updates 50 to 6,000)." in (
        answer.conclusion
    )
    assert "LB's b is below SB's (-0.47, 95% -0.61 to -0.32)." in answer.conclusion
    # By hand: 2.1 ln 6000 = 18.3, (1.5 + 1.6 + 1.8) / 3 ln 6000 = 14.2.
    assert "The weights travel, before the learning rate first falls: 18.3 (SB), 14.2 (LB)." in answer.conclusion


def test_the_papers_figure_2_has_a_graph_before_and_one_after_adaptation_with_the_fitted_lines(store):
    runs, labels = [], []
    for label, of, slope in (
        ("SB", recipe(), 2.0),
        ("LB", recipe(512, ()), 1.5),
        ("+GBN", recipe(512, ("lr", "ghost")), 1.9),
    ):
        runs.append(add(store, label, of, logarithm(slope)))
        labels.append((runs[-1].number, label))
    before, after, slopes = diagnosis_of_diffusion(diffusion_of(store, runs, labels)).graphs
    assert [series.label for series in before.series] == ["SB", "SB: logarithm", "LB", "LB: logarithm"]
    assert [series.label for series in after.series] == ["SB", "SB: logarithm", "+GBN", "+GBN: logarithm"]
    points, line = before.series[2:]
    assert (points.style, line.style, line.like) == ("points", "dashed", 2)
    assert before.logarithmic_x
    assert not before.logarithmic_y
    assert line.x[0] == 50
    assert line.y == pytest.approx([1.5 * math.log(t) for t in line.x])
    assert [(one.label, one.x) for one in slopes.series] == [("nothing adapted", (32, 512)), ("lr, ghost", (512,))]
    assert slopes.series[0].y == pytest.approx((2.0, 1.5))


def test_what_the_data_cannot_tell_is_undetermined(store):
    short = add(store, "short", recipe(), logarithm(2), last=500)
    never = add(store, "never", recipe(512, ()), logarithm(2), last=40)
    unmeasured = store.add_run("unmeasured", recipe(256, ()), 0, LAST, CPU)
    found = diffusion_of(store, [short, never, unmeasured], ())
    assert [group.law for group in found.groups] == [None] * 3
    answer = diagnosis_of_diffusion(found)
    assert (
        "short: the law is undetermined: updates 50 to 500 cover 1.0 decades, and 1.5 are needed." in answer.conclusion
    )
    assert (
        "never: the law is undetermined: fewer than two measurements lie between momentum's full speed and"
        in answer.conclusion
    )
    # The last distance of the fitted part: none for a run that never got there.
    assert "falls: 12.4 (short)." in answer.conclusion
    assert not any("best of three laws" in caveat for caveat in answer.caveats)


def test_seeds_of_several_laws_have_none_together(store):
    runs = [
        add(store, "a-s0", recipe(), logarithm(2), 0),
        add(store, "a-s1", recipe(), lambda t: 0.2 * math.sqrt(t), 1),
    ]
    found = diffusion_of(store, runs, ())
    assert found.groups[0].law is None
    conclusion = diagnosis_of_diffusion(found).conclusion
    assert "undetermined: a logarithm (1 of 2 seeds); a square root (1 of 2 seeds)." in conclusion


def test_layers_have_laws_and_shares_of_their_own_and_batch_norm_is_told_apart(store):
    """The first layer moves 3/5 of the distance, 36% of its square; its norm grows by as much as it moves."""
    whole = logarithm(2)
    layers = {
        "linear 1": (lambda t: 0.6 * whole(t), lambda t: 10 + 0.6 * whole(t)),
        "linear 2": (lambda t: 0.8 * whole(t), lambda _: 10.0),
    }
    run = add(store, "a", recipe(), whole, layers=layers)
    found = diffusion_of(store, [run], ())
    one, two = found.groups[0].runs[0].layers
    assert (one.part, one.growth.law, two.part) == ("linear 1", Law.LOGARITHM, "linear 2")
    assert (one.share_percent, two.share_percent) == (pytest.approx(36), pytest.approx(64))
    # By hand, from update 10, the first that is measured, to 6000: (ln 6000 - ln 10)^2 / (ln 6000)^2.
    assert one.norm_percent == pytest.approx(100 * (1 - math.log(10) / math.log(DROP)) ** 2)
    assert two.norm_percent == 0
    answer = diagnosis_of_diffusion(found)
    # 36% of 54.1%.
    assert "make 19% of the squared distance here" in answer.caveats[0]
    assert [row[:3] for row in answer.grids[2].rows] == [
        ("a", "linear 1", Law.LOGARITHM),
        ("a", "linear 2", Law.LOGARITHM),
    ]
    plain = add(store, "b", recipe(model="c1"), whole)
    told = diagnosis_of_diffusion(diffusion_of(store, [plain], ())).caveats[0]
    assert "how much of it is told by runs trained with --measure layers" in told
    without = add(store, "c", recipe(model="torchvision:vgg11"), whole)
    assert not any("batch norm" in one for one in diagnosis_of_diffusion(diffusion_of(store, [without], ())).caveats)
