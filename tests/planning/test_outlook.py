"""The forecast in time: golden numbers by hand, with the intervals of what they rest on."""

import math
from dataclasses import replace

import pytest

from lbadvisor.planning.baseline import baseline_of_numbers
from lbadvisor.planning.data_parallel import Cluster, parallel_update
from lbadvisor.planning.knowledge import Knowledge
from lbadvisor.planning.noise_scale import NoiseScale, surge_factor
from lbadvisor.planning.outlook import diagnosis_of, outlook_of
from lbadvisor.planning.plan import advise_numbers
from lbadvisor.planning.request import Request
from lbadvisor.planning.update_time import Ranged, TimedUpdate, update_time
from lbadvisor.recipe.parts import PARTS

BASELINE = baseline_of_numbers(128, 0.1, 200, 50_000, momentum=0.9)
"""78,125 updates."""


def at_rate(examples, low, middle, high):
    return TimedUpdate(examples, Ranged(examples / middle, examples / high, examples / low))


TIME = update_time([at_rate(128, 5_000, 5_000, 5_000), at_rate(4096, 21_000, 21_000, 21_000)])
NOISE = NoiseScale(3_000, 2_500, 3_600)


def options(known, baseline=BASELINE, request=None):
    plan = advise_numbers(baseline, replace(request or Request(4096, PARTS), known=known))
    return {option.name: option for option in plan.forecast}


def outlook(known, baseline=BASELINE):
    return outlook_of(tuple(options(known, baseline).values()), 128, 4096, known)


def test_the_seconds_of_every_option_by_hand():
    """At 5,000 examples per second an update of 128 lasts 25.6 ms; at 21,000 one of 4,096 lasts 195.05 ms."""
    got = options(Knowledge(update_time=TIME))
    assert {name: option.seconds for name, option in got.items()} == pytest.approx(
        {
            "baseline": 78_125 * 0.0256,  # 2,000
            "nothing adapted": 2_441 * 4096 / 21_000,
            "square root, fixed epochs": 2_441 * 4096 / 21_000,
            "square root, half the stretch": 39_062 * 4096 / 21_000,
            "square root and regime (the paper)": 78_125 * 4096 / 21_000,
            "linear, fixed epochs (Goyal)": 2_441 * 4096 / 21_000,
            "linear and regime": 78_125 * 4096 / 21_000,
        }
    )
    assert all(option.seconds_low is option.seconds_high is None for option in got.values())


def test_the_noise_scale_sets_rate_updates_and_epochs():
    """B_n = 3000: stretch (3000 + 4096)/(3000 + 128) = 2.26854, G = 32/2.26854 = 14.1060, 78125/G = 5538.4."""
    option = options(Knowledge(NOISE, TIME))["by the noise scale"]
    assert option.epochs_factor == pytest.approx(7096 / 3128)
    assert (option.lr, option.updates) == (pytest.approx(0.1 * 32 * 3128 / 7096), 5_538)
    assert option.epochs == pytest.approx(200 * 7096 / 3128)
    # Its interval comes from that of the noise scale: 3,600 at the short end, 2,500 at the long one.
    assert (option.epochs_factor_low, option.epochs_factor_high) == pytest.approx((7696 / 3728, 6596 / 2628))
    seconds = 5_538 * 4096 / 21_000
    assert option.seconds == pytest.approx(seconds)
    assert option.seconds_low == pytest.approx(seconds * (7696 / 3728) / (7096 / 3128))
    assert option.seconds_high == pytest.approx(seconds * (6596 / 2628) / (7096 / 3128))


def test_the_interval_of_the_rate_reaches_the_seconds_and_adds_to_the_noise_scales():
    spread = update_time([at_rate(128, 4_900, 5_000, 5_100), at_rate(4096, 20_000, 21_000, 22_000)])
    got = options(Knowledge(NOISE, spread))
    regime = got["square root and regime (the paper)"]
    assert (regime.seconds_low, regime.seconds_high) == pytest.approx((78_125 * 4096 / 22_000, 78_125 * 4096 / 20_000))
    assert regime.epochs_factor_low is None
    scaled = got["by the noise scale"]
    assert scaled.seconds_high == pytest.approx(5_538 * 4096 / 20_000 * (6596 / 2628) / (7096 / 3128))


@pytest.mark.parametrize(("examples", "updates"), [(1e-9, 78_125), (1e12, 2_441), (math.inf, 2_441)])
def test_the_limits_of_the_noise_scale_are_the_regime_and_fixed_epochs(examples, updates):
    assert options(Knowledge(NoiseScale(examples)))["by the noise scale"].updates == updates


def test_an_interval_that_is_open_above_ends_at_fixed_epochs():
    option = options(Knowledge(NoiseScale(3_000, 2_500, math.inf)))["by the noise scale"]
    assert (option.epochs_factor_low, option.epochs_factor_high) == pytest.approx((1, 6596 / 2628))


def test_adams_rate_follows_the_surge():
    """B_n = 1024, between 128 and 4096: surge 2/(sqrt(1/8) + sqrt(8)) and 2/(sqrt(4) + sqrt(1/4)) = 0.8."""
    adam = baseline_of_numbers(128, 1e-3, 10, 50_000, "adam")
    option = options(Knowledge(NoiseScale(1024)), adam)["by the noise scale"]
    assert option.lr == pytest.approx(1e-3 * 0.8 / (2 / (8**-0.5 + 8**0.5)))
    assert option.lr == pytest.approx(1e-3 * surge_factor(4096, 1024) / surge_factor(128, 1024))
    adagrad = baseline_of_numbers(128, 1e-3, 10, 50_000, "adagrad")
    assert options(Knowledge(NoiseScale(1024)), adagrad)["by the noise scale"].lr == pytest.approx(1e-3 * 32**0.5)


def test_half_the_stretch_is_an_option_only_if_it_is_longer_than_the_unchanged_epochs():
    assert "square root, half the stretch" in options(Knowledge(), request=Request(257, PARTS))
    assert "square root, half the stretch" not in options(Knowledge(), request=Request(256, PARTS))


def test_the_conclusion_says_what_saves_time_and_that_the_regime_does_not():
    said = outlook(Knowledge(NOISE, TIME)).conclusion
    assert said.startswith("Against the baseline on one device, fixed epochs")
    assert "worth 14.1 (12.7 to 15.5) of those at 128, not 32" in said
    assert "2.27 (2.06 to 2.51) times the epochs" in said
    assert "25.6 ms at 128 and 195 ms at 4,096; other batch sizes B follow 20.1 ms + B * 42.7 us" in said
    assert (
        "fixed epochs and the noise scale's stretch would save time; 0.5 of the stretch and the full regime would "
        "save no time" in said
    )
    assert "The full regime takes 7.62 times as long: it makes as many updates" in said
    assert "`lbadvisor ladder` measures it" in said


def test_by_rates_of_a_larger_batch_that_takes_less_time_the_regime_is_said_to_save_it():
    """2 ms for 4096 examples and 25.6 ms for 128: 0.0781 times as long, which no single device does."""
    time = update_time([at_rate(128, 5_000, 5_000, 5_000), at_rate(4096, 2_048_000, 2_048_000, 2_048_000)])
    said = outlook(Knowledge(update_time=time)).conclusion
    assert "0.5 of the stretch and the full regime would save time." in said
    assert "The full regime takes 0.0781 times as long" in said
    assert "check that all rates are of one" in said
    assert "do not make an update faster" not in said


def test_the_noise_scales_stretch_stands_beside_that_of_a_model_where_it_is_known():
    caveats = diagnosis_of(outlook(Knowledge(NOISE))).caveats
    assert len(caveats) == 1
    assert "On a noisy quadratic of the same noise scale" in caveats[0]
    assert "the noise scale predicts 2.27" in caveats[0]
    assert diagnosis_of(outlook(Knowledge(update_time=TIME))).caveats == ()


def test_the_time_relative_to_the_baseline_needs_no_number_of_updates():
    """By hand: 195.05 ms/25.6 ms = 7.619 for as many updates, 1/32 of it for fixed epochs."""
    got = options(Knowledge(update_time=TIME), baseline_of_numbers(128))
    assert got["baseline"].seconds_factor == 1
    assert got["nothing adapted"].seconds_factor == pytest.approx(4096 / 21_000 / 0.0256 / 32)
    assert got["linear and regime"].seconds_factor == pytest.approx(4096 / 21_000 / 0.0256)
    assert got["linear and regime"].seconds is None
    assert outlook(Knowledge(update_time=TIME), baseline_of_numbers(128)).scaled == ()


def test_an_interval_that_holds_1_leaves_it_undetermined():
    """Half the updates, each about twice as long: 0.5 * 51.2 ms/25.6 ms, at the ends 0.5 * 51.8/21.3 and 50.6/32."""
    time = update_time([at_rate(128, 4_000, 5_000, 6_000), at_rate(4096, 79_000, 80_000, 81_000)])
    half = options(Knowledge(update_time=time))["square root, half the stretch"]
    assert half.seconds_factor == pytest.approx(1)
    ends = 0.5 * (4096 / 81_000) / (128 / 4_000), 0.5 * (4096 / 79_000) / (128 / 6_000)
    assert (half.seconds_factor_low, half.seconds_factor_high) == pytest.approx(ends)
    assert "0.5 of the stretch may save time (the interval holds 1)" in outlook(Knowledge(update_time=time)).conclusion


def test_options_that_all_save_time_are_one_list():
    """At rates that grow as the batch does, an update takes the same: what has fewer updates saves time."""
    time = update_time([at_rate(128, 5_000, 5_000, 5_000), at_rate(4096, 100_000, 100_000, 100_000)])
    told = outlook(Knowledge(NOISE, time)).conclusion
    assert (
        "fixed epochs, the noise scale's stretch and 0.5 of the stretch would save time; the full regime would save "
        "no time" in told
    )


def test_without_anything_known_there_is_no_outlook():
    assert outlook(Knowledge(devices=8)) is None


CLUSTER = Cluster(devices=1024, parameters=660_000)


def test_every_batch_size_has_its_best_number_of_devices():
    found = outlook(Knowledge(NOISE, TIME, 1024, CLUSTER))
    assert [one.batch_size for one in found.scaled] == [128, 256, 512, 1024, 2048, 4096]
    numbers = [one.devices for one in found.scaled]
    assert numbers == sorted(numbers)
    for one in found.scaled:
        update = parallel_update(TIME, CLUSTER, one.batch_size, one.devices).seconds
        assert one.update_seconds == update
        assert one.regime_seconds == pytest.approx(78_125 * update)
        assert one.fixed_epochs_seconds == pytest.approx(78_125 * 128 / one.batch_size * update)
        stretched = one.fixed_epochs_seconds * (3_000 + one.batch_size) / 3_128
        assert one.noise_scale_seconds == pytest.approx(stretched)
        ends = [(end + one.batch_size) / (end + 128) / (3_000 + one.batch_size) * 3_128 for end in (3_600, 2_500)]
        assert (one.noise_scale_seconds_low, one.noise_scale_seconds_high) == pytest.approx(
            [stretched * end for end in ends]
        )
        # The full regime never beats the baseline, whatever the number of devices.
        assert one.regime_seconds >= found.scaled[0].regime_seconds
    assert found.assumptions
    said = found.conclusion
    assert f"On up to 1,024 devices the baseline takes 27.6 min, on {numbers[0]}" in said
    assert "The full regime at 4,096 takes 31.6 min on 100, no less than the baseline" in said
    shown = diagnosis_of(found)
    assert [row[:2] for row in shown.grids[0].rows] == [(one.batch_size, one.devices) for one in found.scaled]
    baseline, regime, epochs, scaled = shown.graphs[0].series
    assert baseline.x == (1, 2, 4, 8, 16, 32, 64, 128)
    assert regime.x == epochs.x == (*baseline.x, 256, 512, 1024)
    # On one device the line's time, which is the timed one.
    ends = [line.y[0] for line in (baseline, regime, epochs, scaled)]
    large = 4096 / 21_000
    expected = [2_000, 78_125 * large, 78_125 / 32 * large, 78_125 / 32 * large * 7096 / 3128]
    assert ends == pytest.approx(expected)
    assert [caveat.startswith("assumes ") for caveat in shown.caveats] == [True] * len(found.assumptions) + [False]


def test_a_small_noise_scale_ends_the_gain_before_the_target():
    """With B_n = 100 a doubled batch saves hardly an update, and costs computing."""
    slow = update_time([at_rate(128, 1_000, 1_000, 1_000), at_rate(4096, 1_100, 1_100, 1_100)])
    found = outlook(Knowledge(NoiseScale(100), slow, 8, Cluster(8, 660_000)))
    times = [one.noise_scale_seconds for one in found.scaled]
    assert times.index(min(times)) == 0
    assert "by the noise scale's stretch, batch 128 is fastest" in found.conclusion
    assert min(range(6), key=lambda k: found.scaled[k].fixed_epochs_seconds) == 5


def test_without_a_network_size_only_one_device_is_told_of():
    found = outlook(Knowledge(update_time=TIME, devices=8))
    assert (found.scaled, found.assumptions) == ((), ())
