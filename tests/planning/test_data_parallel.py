"""The closed form of a data-parallel update, against a ring in which every message is passed on."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lbadvisor.planning.data_parallel import (
    EXACT_TERMS,
    Cluster,
    all_reduce_seconds,
    assumptions,
    fastest_update,
    parallel_update,
    waiting_seconds,
)
from lbadvisor.planning.update_time import Ranged, TimedUpdate, update_time

CLUSTER = Cluster(devices=4096, parameters=1_000_000, bandwidth=1e10, latency_seconds=2e-5)
TIME = update_time([TimedUpdate(b, Ranged(*[0.02 + 1e-5 * b] * 3)) for b in (128, 8192)])


def passed_around(cluster, computed_RN):
    """When the last of N devices has the whole sum, in R updates: each message takes its latency and its bytes' time.

    A device sends its next part when it has sent the one before and has received the one that goes into it.
    """
    devices = computed_RN.shape[-1]
    message = cluster.latency_seconds + 4 * cluster.parameters / devices / cluster.bandwidth
    ready_RN = computed_RN
    for _ in range(2 * (devices - 1)):
        ready_RN = np.maximum(ready_RN, np.roll(ready_RN, 1, axis=-1)) + message
    return ready_RN.max(axis=-1)


@pytest.mark.parametrize("devices", [1, 2, 3, 7, 64, 1000, 4096])
def test_without_delays_the_simulation_is_the_closed_form(devices):
    part = math.ceil(8192 / devices)
    computed = np.full((1, devices), TIME.line.at(part))
    (simulated,) = passed_around(CLUSTER, computed)
    assert parallel_update(TIME, CLUSTER, 8192, devices).seconds == pytest.approx(simulated, rel=1e-12)


@pytest.mark.parametrize("devices", [2, 8, 64, 400])
def test_with_exponential_delays_the_slowest_of_n_is_late_by_the_harmonic_number(devices):
    """Its variance is j^2 (1 + 1/4 + ... + 1/n^2), so the mean of 500 simulated updates is within 4 deviations."""
    cluster, updates = replace(CLUSTER, jitter_seconds=0.005), 500
    delays = np.random.default_rng(devices).exponential(0.005, (updates, devices))
    simulated = passed_around(cluster, TIME.line.at(math.ceil(8192 / devices)) + delays)
    error = 0.005 * math.sqrt(sum(1 / k**2 for k in range(1, devices + 1)) / updates)
    assert parallel_update(TIME, cluster, 8192, devices).seconds == pytest.approx(simulated.mean(), abs=4 * error)


def test_the_harmonic_number_is_the_same_by_both_formulas():
    cluster = replace(CLUSTER, jitter_seconds=1.0)
    assert waiting_seconds(cluster, 3) == pytest.approx(1 + 1 / 2 + 1 / 3)
    beyond = EXACT_TERMS + 1
    assert waiting_seconds(cluster, beyond) == pytest.approx(waiting_seconds(cluster, EXACT_TERMS) + 1 / beyond)


def test_an_all_reduce_by_hand():
    """Two devices: 2 rounds of 20 us and half of 4 MB at 10 GB/s. Many: twice the bytes over the bandwidth at most."""
    assert all_reduce_seconds(CLUSTER, 1) == 0
    assert all_reduce_seconds(CLUSTER, 2) == pytest.approx(2 * (2e-5 + 2e-4))
    fast = replace(CLUSTER, latency_seconds=0.0)
    assert all_reduce_seconds(fast, 4096) == pytest.approx(2 * 4095 / 4096 * 4e-4)


def test_the_best_number_of_devices_is_where_the_derivative_is_zero():
    """t_0 + bB/n + 2(n-1)(l + S/(nw)) is least at n = sqrt((bB - 2S/w)/(2l)): 63.75 with these numbers."""
    cluster = Cluster(devices=4096, parameters=1_000_000, bandwidth=12.5e9, latency_seconds=1e-5)
    best = fastest_update(TIME, cluster, 8192)
    assert math.sqrt((1e-5 * 8192 - 2 * 4e6 / 12.5e9) / 2e-5) == pytest.approx(63.75, abs=0.01)
    assert best.devices == 64
    assert best.communication_share == pytest.approx(all_reduce_seconds(cluster, 64) / best.seconds)


@pytest.mark.parametrize(("batch", "limit"), [(100, 4096), (129, 64), (4096, 17), (8192, 4096)])
@pytest.mark.parametrize("jitter", [0.0, 0.001])
def test_no_number_of_devices_is_faster_than_the_best(batch, limit, jitter):
    cluster = replace(CLUSTER, devices=limit, jitter_seconds=jitter)
    every = [parallel_update(TIME, cluster, batch, n).seconds for n in range(1, min(limit, batch) + 1)]
    best = fastest_update(TIME, cluster, batch)
    assert best.seconds == min(every)
    assert best.devices == every.index(min(every)) + 1


def test_the_assumptions_name_their_numbers():
    said = "\n".join(assumptions(TIME, CLUSTER))
    assert "extrapolated below 128 examples" in said
    assert "1,000,000 parameters in float32, 4 MB" in said
    assert "10 GB/s and 20 us" in said
    assert "never late" in said
    assert "own choice" not in said
    late = "\n".join(assumptions(TIME, Cluster(8, 1000, jitter_seconds=0.002)))
    assert "late by 2 ms on average" in late
    assert "12.5 GB/s and 10 us (a link of 100 Gb/s; lbadvisor's own choice, measure yours)" in late
