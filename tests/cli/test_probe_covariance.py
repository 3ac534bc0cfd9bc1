"""`lbadvisor probe covariance` as a user runs it, on the digits."""

import json
from pathlib import Path

import pytest

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
QUICK = ("--to", "256", "--at", "0", "--batches", "8", "--device", "cpu")


def test_it_says_what_every_rule_makes_of_the_covariance_and_how_large_the_drift_is(place):
    done = place.run("probe", "covariance", DIGITS, *QUICK, "--html", "page.html", "--png", "picture.png")
    assert done.returncode == 0
    assert "8 batches of 5 kinds after 0 updates: 8,448 examples, 6.51 times the training set" in done.stderr
    answer = "\n".join(done.stdout.splitlines()[-2:])
    assert answer.startswith("At the initial weights, with ghost batches of 32, the square-root rule gives")
    for words in (
        "the linear rule",
        "an unchanged learning rate",
        "multiplicative noise",
        "With plain batch norm",
        "%",
    ):
        assert words in answer
    assert "finite-population" in done.stdout
    assert "noisy quadratic" in done.stdout
    assert answer[:60] in (place.folder / "page.html").read_text(encoding="utf-8")
    assert (place.folder / "picture.png").stat().st_size > 10_000
    assert not place.database.exists()


def test_its_json_is_the_documented_object(place):
    done = place.run("probe", "covariance", DIGITS, *QUICK, "--ghost", "64", "--json", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    body = json.loads(done.stdout)
    assert (body["schema"], body["ghost_batch_size"], body["target_batch_size"]) == (1, 64, 256)
    (point,) = body["points"]
    assert {match["rule"] for match in point["matches"]} == {"none", "sqrt", "linear", "finite-population", "noise"}
    assert {match["batch_norm"] for match in point["matches"]} == {"ghost", "plain"}
    assert set(point["drift_share"]) == {"value", "low", "high"}
    assert body["conclusion"].startswith("At the initial weights, with ghost batches of 64")


def test_a_dry_run_tells_the_price(place):
    done = place.run("probe", "covariance", DIGITS, "--to", "256", "--dry-run")
    assert (done.returncode, done.stdout) == (0, "nothing was done\n")
    assert "48 batches of 5 kinds after 0, 40 updates: 102,656 examples, 79.1 times the training set" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--to B"),
        (("--to", "16"), "below the baseline's 32"),
        (("--to", "32"), "the baseline's own"),
        (("--to", "1297"), "a full batch has no noise"),
        (("--to", "256", "--at", "0,x"), "--at 0,x: give numbers of updates, such as 0,200"),
        (("--to", "256", "--at", "500"), "from 0 to 405"),
        (("--to", "256", "--batches", "3"), "--batches"),
        (("--to", "256", "--schedule-scale", "0"), "--schedule-scale 0"),
        (("--to", "256", "--dry-run", "--html", "a.html"), "--dry-run trains nothing"),
        (("--to", "256", "--dry-run", "--json"), "--dry-run trains nothing"),
        (("--to", "256", "--micro", "40", "--device", "cpu"), "would cut ghost batches"),
    ],
)
def test_what_cannot_be_probed_is_refused(place, words, message):
    done = place.run("probe", "covariance", DIGITS, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
