"""Increments drawn by the program: against every example's own gradient, and beside what calibrating finds."""

import statistics
from pathlib import Path

import pytest
import torch
from torch import nn

from lbadvisor.diagnostics.advance import Advance
from lbadvisor.diagnostics.calibration.calibration import noise_exponent, over_seeds
from lbadvisor.diagnostics.calibration.short_runs import CalibrationRequest, calibrate
from lbadvisor.diagnostics.covariance.covariance import Variant, mean_of, powers, ratio_of, squared_means
from lbadvisor.diagnostics.covariance.covariance_diagnosis import covariance_diagnosis
from lbadvisor.diagnostics.covariance.increments import (
    CovarianceRequest,
    default_points,
    drawn_gradients,
    probe_covariance,
)
from lbadvisor.diagnostics.covariance.sketch import sketch_of
from lbadvisor.errors import LbadvisorError, PlanError, UsageError
from lbadvisor.planning.request import Request
from lbadvisor.planning.rules import noise_variance
from lbadvisor.recipe.file import load_recipe
from lbadvisor.training.machine import Machine
from lbadvisor.training.state import TrainState

RECIPE = load_recipe(Path(__file__).parents[2] / "recipes" / "digits.toml")
HERE = Machine(torch.device("cpu"), Path())
N = 1297


def with_tables(**tables):
    return type(RECIPE).model_validate(RECIPE.model_dump(mode="json") | tables)


def asked(**changed):
    values = {"baseline": RECIPE, "request": Request(256, ("ghost",)), "updates": (0,), "batches": 8, "seed": 0}
    return CovarianceRequest(**(values | changed))


def result_of(events):
    progress = []
    try:
        while True:
            progress.append(next(events))
    except StopIteration as end:
        return end.value, progress


def linear_state(batch_size, **tables):
    """A softmax regression, which has no batch norm and few enough weights to be kept whole."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    recipe = RECIPE.model_copy(update={"batch": RECIPE.batch.model_copy(update={"size": batch_size})} | tables)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    initial = [p.detach().clone() for p in model.parameters()]
    return TrainState(recipe, 0, model, optimizer, initial, None, torch.zeros(3, dtype=torch.float64), 1)


def test_the_gradients_drawn_have_the_mean_and_the_covariance_of_the_examples_own(digits):
    """Of all 1297 of a softmax regression: (p - y) x^T; at 32 and 256, drawn without replacement."""
    state = linear_state(32)
    images, labels = digits.training_batch(state.recipe.model_copy(update={"batch": type(RECIPE.batch)(size=N)}), 0, 0)
    inputs = torch.cat([images.flatten(1), torch.ones(N, 1)], 1).double()
    errors = torch.softmax(state.model(images).double(), 1) - nn.functional.one_hot(labels, 10)
    each = (errors[:, :, None] * inputs[:, None, :]).flatten(1).detach()
    variance, squared_mean = float(each.var(0, correction=0).sum()), float(each.mean(0).square().sum())
    sketch = sketch_of(state.model, 0)
    for size in (32, 256):
        drawn = torch.stack(list(drawn_gradients(linear_state(size), digits, sketch, 0, 200)))
        assert mean_of(powers(drawn)).value == pytest.approx(noise_variance(size, N, None) * variance, rel=0.12)
        found = mean_of(squared_means(drawn))
        assert found.low < squared_mean < found.high


def test_the_batches_of_one_size_are_the_same_in_every_variant(digits):
    """With plain batch norm and with ghosts of the whole batch, which are the same; other seeds draw others."""
    request = asked(request=Request(128, ("ghost",), ghost_batch_size=128))
    rows = []
    for variant in (Variant("ghost"), Variant("plain")):
        state = HERE.start(request.variants[variant], 0, digits)
        rows.append(torch.stack(list(drawn_gradients(state, digits, sketch_of(state.model, 0), 0, 3))))
    torch.testing.assert_close(rows[0], rows[1], rtol=1e-4, atol=1e-6)
    assert not torch.equal(rows[0][0], rows[0][1])


def test_a_probe_of_the_digits_finds_the_square_root_and_drift_and_is_exact_about_its_cost():
    request = asked(updates=(0, 10), batches=16)
    found, progress = result_of(probe_covariance(HERE, request))
    assert found.examples == request.examples == 10 * 32 + 2 * 16 * (32 + 4 * 256)
    counts = [event.done for event in progress if isinstance(event, Advance)]
    assert counts == sorted(counts)
    assert counts[-1] == found.examples
    assert [point.updates for point in found.points] == [0, 10]
    for point in found.points:
        matches = {(match.rule, match.batch_norm): match for match in point.matches}
        assert len(matches) == 10
        assert 0.7 < matches["sqrt", "ghost"].covariance.value < 1.1
        assert matches["linear", "ghost"].covariance.low > 5
        assert matches["none", "ghost"].covariance.high < 0.2
        assert 0.7 < matches["noise", "ghost"].covariance.value < 1.4
        assert matches["sqrt", "plain"].covariance.value < matches["sqrt", "ghost"].covariance.value
        assert point.exponent.high < 0.4
        assert len(point.groups) == 2 * 4
    told = covariance_diagnosis(found)
    assert (
        "At the initial weights, with ghost batches of 32, the square-root rule gives the target's" in told.conclusion
    )
    assert told.conclusion.count("so 0.5 makes the target's steps too long") == 2
    assert "noisy quadratic" in told.caveats[-1]
    assert len(told.graphs) == 3
    assert [len(grid.rows) for grid in told.grids] == [10, 10]
    again, _ = result_of(probe_covariance(HERE, request))
    assert again == found


def test_the_exponent_of_drift_and_noise_agrees_with_what_calibrating_measures():
    """Three seeds, the first ten updates: the means of the moments at updates 5 and 10 give each its exponent."""
    calibrated, _ = result_of(
        calibrate(HERE, CalibrationRequest(RECIPE, Request(256, ("lr", "ghost", "regime")), (0.0, 0.5), 10, (0, 1, 2)))
    )
    exponents = []
    for seed in range(3):
        found, _ = result_of(probe_covariance(HERE, asked(updates=(5, 10), batches=12, seed=seed)))
        drift, noise = (statistics.fmean(getattr(p, name).value for p in found.points) for name in ("drift", "noise"))
        exponents.append(noise_exponent(drift, noise * 32 * (N - 1) / (N - 32), 32, 256))
    probed, window = over_seeds(exponents), calibrated.windows[-1].one_update
    assert probed.value == pytest.approx(window.value, abs=0.03)
    assert probed.low < window.high
    assert window.low < probed.high


def test_a_baseline_with_noise_is_probed_without_adding_any_and_a_network_without_batch_norm_once():
    noisy = with_tables(gradient_noise={"kind": "bernoulli", "ratio": 4.0})
    assert list(asked(baseline=noisy).variants) == [Variant("baseline"), Variant("ghost"), Variant("plain")]
    plain = with_tables(model={"name": "torchvision:vgg11"})
    variants = asked(baseline=plain).variants
    assert list(variants) == [Variant("baseline"), Variant("none"), Variant("none", noise=True)]
    assert variants[Variant("none", noise=True)].gradient_noise.ratio == 8


def test_noise_is_added_at_the_batch_ratio_and_the_regime_keeps_the_updates():
    variants = asked().variants
    assert variants[Variant("ghost", noise=True)].gradient_noise.ratio == 8
    assert variants[Variant("ghost")].batch_norm.ghost_batch_size == 32
    assert variants[Variant("plain")].batch_norm.ghost_batch_size is None
    assert variants[Variant("ghost")].schedule.updates == variants[Variant("baseline")].schedule.updates == 405


def test_the_default_points_are_the_start_and_a_tenth_of_the_training():
    assert default_points(RECIPE) == (0, 40)
    longer = with_tables(schedule={"updates": 50_000})
    assert default_points(longer) == (0, 1000)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"request": Request(32, ("ghost",))}, "nothing to match"),
        ({"batches": 7}, "--batches 7: give at least 8"),
        ({"updates": (0, 406)}, "--at 0,406: give rising numbers of updates from 0 to 405"),
        ({"updates": (5, 5)}, "rising"),
        ({"updates": ()}, "--at : give rising"),
    ],
)
def test_what_cannot_be_probed_is_refused(changed, message):
    with pytest.raises(UsageError, match=message):
        asked(**changed)


def test_a_full_batch_and_adam_are_refused():
    with pytest.raises(PlanError, match="a full batch has no noise"):
        asked(request=Request(N, ("ghost",)))
    adam = with_tables(optimizer={"name": "adam", "lr": 0.001})
    with pytest.raises(UsageError, match="adam divides each gradient"):
        asked(baseline=adam)


def test_a_baseline_that_diverges_on_the_way_is_an_error():
    with pytest.raises(LbadvisorError, match="digits diverged within 20 updates"):
        result_of(
            probe_covariance(HERE, asked(baseline=with_tables(optimizer={"name": "sgd", "lr": 1e30}), updates=(20,)))
        )


def test_micro_batches_of_whole_ghosts_change_no_ratio(digits):
    """Rounding apart: the same gradients in slices of 64."""
    request = asked()
    whole, cut = (HERE.start(request.variants[Variant("ghost")], 0, digits) for _ in range(2))
    cut.micro_size = 64
    sketch = sketch_of(whole.model, 0)
    rows = [torch.stack(list(drawn_gradients(state, digits, sketch, 0, 8))) for state in (whole, cut)]
    assert ratio_of(powers(rows[0]), powers(rows[1])).value == pytest.approx(1, rel=1e-4)
