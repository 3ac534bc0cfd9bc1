"""Each warning on both sides of its condition, with this plan's own numbers and its source."""

from dataclasses import replace

import pytest

from lbadvisor.errors import PlanError
from lbadvisor.planning.baseline import baseline_of_numbers
from lbadvisor.planning.knowledge import Knowledge
from lbadvisor.planning.noise_scale import NoiseScale
from lbadvisor.planning.plan import advise_numbers
from lbadvisor.planning.request import Request
from lbadvisor.planning.rules import FINITE_POPULATION, LINEAR, parse_lr_rule
from lbadvisor.recipe.parts import PARTS

SGD = baseline_of_numbers(128, 0.1, 200, 50_000, momentum=0.9, weight_decay=1e-4)
ADAM = baseline_of_numbers(128, 1e-3, 200, 50_000, "adam")
ADAGRAD = baseline_of_numbers(128, 1e-3, 200, 50_000, "adagrad")
NO_BATCH_NORM = replace(SGD, has_batch_norm=False)


def said(code, request, baseline=SGD, **known):
    """The message of that warning, None without it."""
    plan = advise_numbers(baseline, replace(request, known=Knowledge(**known)))
    messages = [caveat.message for caveat in plan.warnings if caveat.code == code]
    assert len(messages) < 2
    return messages[0] if messages else None


ALL = Request(4096, PARTS)
FIXED = Request(4096, ("lr", "ghost"))
LIN = Request(4096, ("lr", "ghost"), LINEAR)
CASES = [
    # 3: above the noise scale, if one is known.
    ("above-noise-scale", ALL, SGD, {"noise_scale": NoiseScale(4095)}, "G = 16.5 of the baseline's, not r = 32"),
    ("above-noise-scale", ALL, SGD, {"noise_scale": NoiseScale(4096)}, None),
    ("above-noise-scale", ALL, SGD, {}, None),
    ("above-noise-scale", Request(128, ()), SGD, {"noise_scale": NoiseScale(10)}, None),
    ("above-noise-scale", ALL, SGD, {"noise_scale": NoiseScale(3000, 2500, 3600)}, "3,000 (2,500 to 3,600)"),
    ("above-noise-scale", ALL, SGD, {"noise_scale": NoiseScale(3000)}, "most 24.4; as much progress takes r/G = 2.27"),
    ("above-noise-scale", ALL, ADAM, {"noise_scale": NoiseScale(1024)}, "then falls, here to 1.27 times (Li et al."),
    ("above-noise-scale", ALL, ADAGRAD, {"noise_scale": NoiseScale(1024)}, "no one has published for adagrad"),
    # 5: several ghosts move the running statistics several times.
    ("running-statistics-horizon", ALL, SGD, {}, "leaves (1 - 0.1)^32 = 0.034 of the old ones"),
    ("running-statistics-horizon", ALL, SGD, {}, "or recompute_at_end to true for exact ones (Wu, Johnson 2021"),
    ("running-statistics-horizon", ALL, replace(SGD, running_statistics="per-update"), {}, None),
    ("running-statistics-horizon", Request(4096, PARTS, ghost_batch_size=4096), SGD, {}, None),
    ("running-statistics-horizon", ALL, NO_BATCH_NORM, {}, None),
    ("running-statistics-horizon", Request(4096, ("lr",)), SGD, {}, None),
    # 7: a device's part of the batch against the ghost.
    ("ghosts-on-devices", ALL, SGD, {"devices": 32}, "each has 128 of 4,096 examples: the ghost size, so that plain"),
    ("ghosts-on-devices", ALL, SGD, {"devices": 8}, "each has 512 of 4,096 examples: 4 ghosts of 128, so split"),
    ("ghosts-on-devices", ALL, SGD, {"devices": 128}, "at most 32 devices, or share statistics in groups of 4 "),
    ("ghosts-on-devices", Request(4096, ("lr",)), SGD, {"devices": 8}, "though none are planned"),
    ("ghosts-on-devices", ALL, SGD, {"devices": 1}, None),
    ("ghosts-on-devices", ALL, SGD, {}, None),
    ("ghosts-on-devices", ALL, NO_BATCH_NORM, {"devices": 8}, None),
    ("statistics-of-one-device", ALL, SGD, {"devices": 8}, "its 512 of 4,096 examples"),
    ("statistics-of-one-device", ALL, SGD, {}, None),
    ("statistics-of-one-device", ALL, NO_BATCH_NORM, {"devices": 8}, None),
    # 8: statistics over all devices undo ghosts, where there are any.
    ("sync-batch-norm", ALL, SGD, {"devices": 8}, "all 4,096 examples of the 8 devices"),
    ("sync-batch-norm", Request(4096, ("lr",)), SGD, {"devices": 8}, None),
    ("sync-batch-norm", ALL, SGD, {}, None),
    ("sync-batch-norm", ALL, NO_BATCH_NORM, {"devices": 8}, None),
    # 18: less noise, and nothing that makes up for it.
    ("regularization-kept", FIXED, SGD, {}, "falls to 0.0288 of the baseline's diffusion"),
    ("regularization-kept", FIXED, SGD, {}, "(weight decay 0.0001): tune it"),
    ("regularization-kept", FIXED, replace(SGD, weight_decay=None, dropout=0.2), {}, "no weight decay and dropout 0.2"),
    ("regularization-kept", ALL, SGD, {}, None),
    ("regularization-kept", LIN, SGD, {}, None),
    ("regularization-kept", replace(FIXED, dropout=0.5), SGD, {}, None),
    ("regularization-kept", replace(FIXED, weight_decay="horizon"), SGD, {}, None),
    ("regularization-kept", FIXED, ADAM, {}, None),
    ("regularization-kept", FIXED, ADAGRAD, {}, None),
    ("label-noise-no-substitute", replace(FIXED, label_noise=0.1), SGD, {}, "label noise of 0.1"),
    ("label-noise-no-substitute", FIXED, SGD, {}, None),
    # 25: 2(1 + 0.9)/3.2 = 1.1875.
    ("lr-and-stability", LIN, SGD, {}, "below 2 (1 + 0.9) / lr = 1.19 (Cohen"),
    ("lr-and-stability", LIN, replace(SGD, momentum=0.0), {}, "below 2 / lr = 0.625 (Cohen"),
    ("lr-and-stability", Request(4096, ("lr",), parse_lr_rule("exponent=0.51")), SGD, {}, "than the square root's"),
    ("lr-and-stability", ALL, SGD, {}, None),
    ("lr-and-stability", Request(4096, PARTS, FINITE_POPULATION), SGD, {}, None),
    ("lr-and-stability", LIN, replace(SGD, lr=None), {}, None),
    ("lr-and-stability", LIN, ADAM, {}, None),
]  # fmt: skip


@pytest.mark.parametrize(("code", "request_", "baseline", "known", "expected"), CASES)
def test_a_warning_is_given_where_its_condition_holds_and_nowhere_else(code, request_, baseline, known, expected):
    message = said(code, request_, baseline, **known)
    if expected is None:
        assert message is None
    else:
        assert message is not None
        assert expected in message


def test_exact_statistics_are_not_recommended_to_who_has_them():
    message = said("running-statistics-horizon", ALL, replace(SGD, recomputes_statistics=True))
    assert "per-update" in message
    assert "recompute_at_end" not in message


@pytest.mark.parametrize("code", sorted({case[0] for case in CASES}))
def test_every_warning_names_a_source(code):
    known = {"noise_scale": NoiseScale(100), "devices": 8}
    messages = [said(code, request, **known) for request in (ALL, FIXED, LIN, replace(FIXED, label_noise=0.1))]
    told = [message for message in messages if message is not None]
    assert told
    # That each device's part is a ghost is arithmetic.
    assert code == "ghosts-on-devices" or all("20" in m or "github" in m or "PyTorch" in m for m in told)


def test_more_devices_than_examples_are_refused():
    with pytest.raises(PlanError, match="5,000 devices cannot share a batch of 4,096"):
        said("ghosts-on-devices", ALL, devices=5_000)
