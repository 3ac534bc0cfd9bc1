"""`plan --ranks`: who computes what, worked by hand."""

import json

import pytest
from ranks_of import run_on
from typer.testing import CliRunner

from lbadvisor.cli.app import app
from lbadvisor.errors import UsageError
from lbadvisor.planning.batch_division import WholeBatch
from lbadvisor.planning.rank_plan import RankShare, diagnosis_of_ranks, rank_plan


def whole(size, ghost=None, has_batch_norm=True, running_statistics="sequential"):
    return WholeBatch(size, ghost, has_batch_norm, running_statistics)


def test_equal_shares_are_told_once():
    plan = rank_plan(whole(4096, 128), 8, 256)
    assert plan.shares == (RankShare(tuple(range(8)), 512, (128,) * 4, (256, 256)),)
    assert (plan.busiest_factor, plan.ranks_per_ghost) == (1, 1)
    assert (plan.even_ranks, plan.even_batch_sizes) == ((), ())
    shown = diagnosis_of_ranks(plan)
    assert shown.grids[0].texts == (("0 to 7", "512", "4 x 128", "2 x 256", "2"),)
    assert shown.conclusion.splitlines() == [
        "Each rank computes 512 examples: none waits for a larger share.",
        "`train --shares 8` gives the same bits on 1, 2, 4 or 8 ranks of as many CPU threads.",
        "Gradients accumulate over 2 passes and are summed over the ranks once, in the last.",
    ]


def test_a_rank_passes_each_of_its_shares():
    """250 examples are 7 ghosts of 32 and one of 26: four shares of 64, 64, 64 and 58; a pass is within a share."""
    plan = rank_plan(whole(250, 32), 2, 96, 4)
    assert plan.shares == (
        RankShare((0,), 128, (32,) * 4, (64, 64)),
        RankShare((1,), 122, (32, 32, 32, 26), (64, 58)),
    )
    assert "`train --shares 4` gives the same bits on 1, 2 or 4 ranks" in diagnosis_of_ranks(plan).conclusion


def test_uneven_shares_say_who_waits_for_whom_and_what_would_be_even():
    """32 ghosts on 5 ranks: 6, 6, 7, 6, 7; 7 of 32/5 = 6.4 are 1.09 times the mean; 30 and 35 ghosts divide."""
    plan = rank_plan(whole(4096, 128), 5, None)
    assert [(share.ranks, share.examples) for share in plan.shares] == [((0, 1, 3), 768), ((2, 4), 896)]
    assert plan.busiest_factor == 7 / 6.4
    assert (plan.even_ranks, plan.even_batch_sizes) == ((4, 8), (3840, 4480))
    assert diagnosis_of_ranks(plan).conclusion == (
        "The shares are uneven: the others wait for ranks 2, 4, so an update takes 1.09 times as long to compute as "
        "with equal ones. They would be equal in a batch of 3,840 or 4,480, or on 4 or 8 ranks.\n"
        "`train --shares 5` gives the same bits on 1 or 5 ranks of as many CPU threads."
    )


def test_a_remainder_is_a_ghost_of_one_rank():
    """848 examples are 6 ghosts of 128 and one of 80 (science: 80 is more than half of 128)."""
    plan = rank_plan(whole(848, 128), 2, 256)
    assert plan.shares == (
        RankShare((0,), 384, (128,) * 3, (256, 128)),
        RankShare((1,), 464, (128, 128, 128, 80), (256, 208)),
    )
    assert (plan.even_ranks, plan.even_batch_sizes) == ((), (768, 1024))
    assert diagnosis_of_ranks(plan).grids[0].texts[1] == ("1", "464", "3 x 128 + 80", "256 + 208", "2")


def test_without_batch_norm_examples_are_shared_one_by_one():
    plan = rank_plan(whole(10, None, has_batch_norm=False), 4, 2)
    assert [(share.ranks, share.examples, share.ghosts) for share in plan.shares] == [((0, 2), 2, ()), ((1, 3), 3, ())]
    assert plan.shares[1].micro_batches == (2, 1)
    assert (plan.even_ranks, plan.even_batch_sizes) == ((2, 5), (8, 12))


@pytest.mark.parametrize(
    ("size", "ghost", "ranks", "each", "said"),
    [
        (256, 128, 8, 4, "Each ghost spans 4 ranks, which wait for one another at every batch norm"),
        (256, None, 8, 8, "Batch norm spans the whole batch, so all ranks wait for one another at every batch norm"),
    ],
)
def test_ghosts_larger_than_a_share_span_ranks(size, ghost, ranks, each, said):
    plan = rank_plan(whole(size, ghost), ranks, None)
    assert plan.ranks_per_ghost == each
    assert plan.shares == (RankShare(tuple(range(ranks)), 32, (32,), (32,)),)
    assert said in diagnosis_of_ranks(plan).conclusion


@pytest.mark.parametrize(
    ("batch", "ranks", "micro", "said"),
    [
        (whole(4096, 128), 48, None, "4096 in 32 ghosts of 128 cannot be shared evenly among 48 ranks: train it"),
        (whole(4096, 128), 8, 200, "a micro-batch of 200 would cut ghost batches of 128: use a multiple, such as 128"),
        (whole(4096, 128), 8, 8192, "a micro-batch of 8192 is not between 1 and the batch size 4096"),
        (whole(2**40, 2), 8, None, "a batch of 1,099,511,627,776 has more than 4,194,304 ghosts to share"),
    ],
)
def test_what_training_refuses_is_refused(batch, ranks, micro, said):
    with pytest.raises(UsageError, match=said):
        rank_plan(batch, ranks, micro)


def plan(*words):
    return CliRunner().invoke(app, ["plan", *words], catch_exceptions=False)


def test_numbers_and_recipes_are_told_in_table_and_json():
    words = ("--to", "4096", "--ranks", "8", "--micro", "256")
    for baseline in (("--from", "128"), ("recipes/resnet44.toml",)):
        body = json.loads(plan(*baseline, *words, "--json").stdout)
        assert (body["schema"], body["ranks"]["ranks"], body["ranks"]["busiest_factor"]) == (1, 8, 1)
        assert body["ranks"]["shares"] == [
            {"ranks": list(range(8)), "examples": 512, "ghosts": [128] * 4, "micro_batches": [256, 256]}
        ]
        assert "8 ranks for a batch of 4,096" in plan(*baseline, *words).stdout
    assert json.loads(plan("--from", "128", "--to", "4096", "--json").stdout)["ranks"] is None


def test_a_dry_run_on_ranks_says_what_each_computes(tmp_path):
    ended = run_on(2, "train", "recipes/digits.toml", "--to", "224", "--dry-run", "--db", str(tmp_path / "runs.db"))
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert "2 ranks for a batch of 224" in ended[0][1]
    assert "the others wait for rank 1, so an update takes 1.14 times as long" in " ".join(ended[0][1].split())
    assert ended[1][1:] == ("", "")
