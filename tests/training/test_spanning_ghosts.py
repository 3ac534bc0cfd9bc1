"""Ghosts and ranks in every relation: several ghosts a rank, a ghost on several ranks, every definition."""

import json
from pathlib import Path

import pytest
import torch
from ranks_of import run_on
from trained_on_ranks import trained

from lbadvisor.batch_cuts import are_shared, rank_shares
from lbadvisor.errors import UsageError
from lbadvisor.planning.batch_division import WholeBatch, check_division, check_ranks
from lbadvisor.training.ranks import Ranks

SCRIPT = Path(__file__).parents[1] / "trained_on_ranks.py"
SMALL = {
    "schema": 1,
    "name": "small",
    "data": {"name": "digits", "train_examples": 1297},
    "model": {"name": "digits_mlp"},
    "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
    "schedule": {"updates": 4},
    "measurements": {"every_updates": 1, "evaluate_every_updates": 2, "also": ["noise"]},
}


def small(batch: int, **batch_norm: object) -> dict[str, object]:
    return SMALL | {"batch": {"size": batch}, "batch_norm": batch_norm}


# An activation that is 0 up to rounding has slope 0 or 1, so a gradient norm may differ by 1e-4. None of these has one.
RECIPES = {
    "plain batch norm": small(32),
    "plain batch norm, not divisible": small(246, recompute_at_end=True),
    "two ghosts": small(256, ghost_batch_size=128, recompute_at_end=True),
    "two ghosts of 101 and 149": small(250, ghost_batch_size=101, running_statistics="total"),
    "two ghosts, biased": small(250, ghost_batch_size=125, running_statistics="mean-biased"),
    "two ghosts, each update": small(250, ghost_batch_size=125, running_statistics="per-update", momentum=0.4),
} | {
    f"seven ghosts, {definition}": small(230, ghost_batch_size=32, running_statistics=definition, momentum=0.3)
    for definition in ("sequential", "per-update", "mean", "mean-biased", "total")
}
RECIPES["multiplicative noise"] = small(256, ghost_batch_size=32) | {"gradient_noise": {"kind": "gaussian", "ratio": 8}}
RECIPES["every noise"] = small(230, ghost_batch_size=32, recompute_at_end=True) | {
    "regularization": {"label_noise": 0.1, "dropout": 0.2, "drop_connect": 0.1},
    "weight_ema": {"decay": 0.9},
    "clipping": {"max_norm": 1.0, "updates": 3},
}
RECIPES["own dropout"] = small(256, ghost_batch_size=32, recompute_at_end=True) | {"name": "dropped"}
CUT_WHOLE = [name for name, recipe in RECIPES.items() if recipe["batch_norm"].get("ghost_batch_size") == 32]
"""Those with at least four ghosts."""


@pytest.fixture(scope="module")
def on_ranks(tmp_path_factory):
    """What four processes found in one start: one to four of them have a ghost, or a process has several."""
    out = tmp_path_factory.mktemp("ranks") / "found.pt"
    ended = run_on(4, str(out), json.dumps(RECIPES), program=[str(SCRIPT)])
    assert [code for code, _, _ in ended] == [0] * 4, ended
    return torch.load(out, weights_only=True)


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "own dropout"])
def test_the_number_of_ranks_changes_only_the_rounding_whatever_the_ghosts(name, on_ranks):
    """Of weights, running statistics, momentum, losses, gradient norms and the moments of the gradient's noise."""
    expected, found = trained(RECIPES[name]), on_ranks["trained"][name]
    for part, value in expected["model"].items():
        torch.testing.assert_close(found["model"][part], value, rtol=1e-5, atol=1e-6)
    for place, of_parameter in expected["optimizer"].items():
        torch.testing.assert_close(found["optimizer"][place], of_parameter, rtol=1e-5, atol=1e-6)
    assert len(expected["measured"]) == 4
    for mine, theirs in zip(found["measured"], expected["measured"], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("name", CUT_WHOLE)
def test_one_process_has_the_bits_of_four_ranks_in_four_shares(name, on_ranks):
    """And others in one share, or this would show nothing."""
    expected, other = trained(RECIPES[name], Ranks(cut_into=4)), trained(RECIPES[name])
    found = on_ranks["trained"][name]
    for part, value in expected["model"].items():
        assert torch.equal(found["model"][part], value), part
    for place, of_parameter in expected["optimizer"].items():
        assert torch.equal(found["optimizer"][place]["momentum_buffer"], of_parameter["momentum_buffer"])
    assert found["measured"] == expected["measured"]
    assert found["measured"] != other["measured"]


def test_a_layer_over_several_processes_is_torchs_over_all_examples(on_ranks):
    """Outputs, gradients and running statistics; of unequal parts, in any memory format, with and without weights."""
    for case, error in on_ranks["layer"].items():
        assert error < (1e-12 if "float64" in case else 2e-6), case


@pytest.mark.parametrize(
    ("size", "ghost", "ranks", "shares"),
    [
        (256, 128, 4, ((64,), (64,), (64,), (64,))),
        (250, 101, 4, ((50,), (51,), (74,), (75,))),
        (32, 32, 3, ((10,), (11,), (11,))),
        (96, 32, 6, ((16,),) * 6),
    ],
)
def test_a_ghost_is_cut_evenly_among_the_ranks_that_share_it(size, ghost, ranks, shares):
    assert rank_shares(size, ghost, ranks) == shares
    assert are_shared(size, ghost, ranks)


@pytest.mark.parametrize(
    ("size", "ghost", "ranks", "batch", "fitting"),
    [
        (96, 32, 4, "96 in 3 ghosts of 32", "3 or 6, or with ghosts of at most 24 (batch_norm.ghost_batch_size)"),
        (96, 32, 100, "96 in 3 ghosts of 32", "96"),
        (4, None, 5, "4", "4"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_with_those_that_do(size, ghost, ranks, batch, fitting):
    said = f"a batch of {batch} cannot be shared evenly among {ranks} ranks: train it on {fitting}"
    with pytest.raises(UsageError) as refused:
        check_ranks(WholeBatch(size, ghost, True), ranks)
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("size", "ghost", "ranks", "shares", "said"),
    [
        (256, 32, 3, 6, "an update in 6 shares cannot be divided between 3 ranks: train it on 1, 2 or 6"),
        (256, 32, 2, 3, "an update in 3 shares cannot be divided between 2 ranks: train it on 1 or 3"),
        (256, 32, 8, 4, "an update in 4 shares cannot be divided between 8 ranks: train it on 1, 2 or 4"),
        (256, 32, 1, 0, "an update cannot be cut into 0 shares: give at least 1"),
        (256, 32, 2, 1, "an update in 1 share cannot be divided between 2 ranks: train it on 1"),
        (256, 32, 1, 9, "a batch of 256 cannot be cut into 9 shares: it has 8 ghosts of 32"),
        (
            256,
            None,
            1,
            2,
            "a batch of 256 cannot be cut into 2 shares: batch norm computes its statistics over all 256 examples: "
            "train with ghost batches",
        ),
    ],
)
def test_shares_that_do_not_fit_are_refused(size, ghost, ranks, shares, said):
    with pytest.raises(UsageError) as refused:
        check_division(WholeBatch(size, ghost, True), ranks, None, shares)
    assert str(refused.value) == said


def test_shares_that_fit():
    """A power of two of ranks, or one share each; each rank then has the same number, of whole ghosts."""
    for ranks, shares in [(1, 6), (2, 6), (6, 6), (4, 8), (1, 1), (3, 3)]:
        check_division(WholeBatch(256, 32, True), ranks, None, shares)
    check_division(WholeBatch(256, None, True), 4, None, 4)
    check_division(WholeBatch(256, None, False), 1, None, 256)
