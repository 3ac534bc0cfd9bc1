"""Claims about all diagnostics of runs on one page."""

import json
import re
from html import unescape
from pathlib import Path

import pytest

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
NAMES = ["diffusion", "potential", "noise", "covariance", "sharpness"]


@pytest.fixture
def ladder(place):
    """A small ladder of two arms with one seed each; the second arm's checkpoints are gone."""
    words = ("ladder", DIGITS, "--to", "256", "--arms", "sb,ra", "--seeds", "1", "--schedule-scale", "0.2", "--quiet")
    assert place.run(*words, "--name", "small").returncode == 0
    assert place.run("runs", "prune", "small-ra-s0", "--yes").returncode == 0
    return place


def test_every_diagnostic_of_a_ladder_is_said_and_stands_on_one_page(ladder):
    ended = ladder.run("probe", "all", "small", "--html", "page.html")
    assert ended.returncode == 0, ended.stderr
    page = (ladder.folder / "page.html").read_text()
    headings = list(map(unescape, re.findall(r'<li><a href="#part-\d">([^<]*)</a>', page)))
    assert len(headings) == len(NAMES)
    said = [part.split("\n", 1) for part in ended.stdout.rstrip("\n").split("\n\n")]
    assert [title for title, _ in said] == headings
    for _, conclusion in said:
        assert conclusion in unescape(page)
    assert "lbadvisor probe all small --html page.html</pre>" in page
    for name in NAMES:
        assert f"\n{name}: " in ended.stderr
    # The arm that has lost its weights is named.
    assert "Left out: the checkpoints of the run small-ra-s0 were pruned" in page


def test_what_cannot_be_measured_is_named_with_its_reason(ladder):
    """The adapted arm alone, without checkpoints, has no minimum; the baseline alone leads to no larger batch."""
    ended = ladder.run("probe", "all", "small-ra-s0", "--json", "--quiet")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    body = json.loads(ended.stdout)
    assert list(body) == ["schema", *NAMES]
    assert body["sharpness"]["conclusion"].startswith("Not measured: the checkpoints of the run small-ra-s0")
    assert body["covariance"]["target_batch_size"] == 256
    alone = json.loads(ladder.run("probe", "all", "small-sb-s0", "--json").stdout)
    assert alone["covariance"] == {
        "conclusion": "Not measured: no run was adapted to a larger batch: name a ladder, or an adapted run.",
        "caveats": [],
    }
    assert alone["sharpness"]["minima"][0]["run"] == "small-sb-s0"
    assert alone["potential"]["recipe"] == "digits"


def test_a_page_that_cannot_be_written_is_refused_before_any_work(ladder):
    (ladder.folder / "mine.html").write_text("mine")
    ended = ladder.run("probe", "all", "small", "--html", "mine.html")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "is not a report of lbadvisor" in ended.stderr
    assert "1 of" not in ended.stderr


def test_a_dry_run_says_what_each_diagnostic_costs_and_makes_none(ladder):
    ended = ladder.run("probe", "all", "small-sb-s0", "--dry-run")
    assert (ended.returncode, ended.stdout) == (0, "nothing was done\n")
    lines = ended.stderr.splitlines()[1:]
    assert lines == [
        "diffusion: the measurements of 1 run",
        "potential: 192 times the loss of 1,000 examples",
        "noise: 20 updates of the baseline, 5,760 examples",
        "covariance: not measured: no run was adapted to a larger batch: name a ladder, or an adapted run",
        "sharpness: the minima of 1 run on 1,000 examples",
    ]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("all", "1", "--dry-run", "--html", "page.html"), "--html has no effect: --dry-run"),
        (("all", "1", "--dry-run", "--json"), "--json has no effect: --dry-run"),
        (("diffusion", "1", "--json", "--no-chart"), "--no-chart has no effect with --json"),
        (("diffusion", "1", "--html", "a.png", "--png", "a.png"), "--html and --png name the same file"),
        (("diffusion", "1", "--png", "a.jpg"), "give a file name that ends in .png"),
    ],
)
def test_an_option_without_effect_is_refused_before_any_work(place, words, why):
    ended = place.run("probe", *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert why in ended.stderr
