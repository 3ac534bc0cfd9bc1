"""`lbadvisor probe diffusion` as a user runs it, on runs of the digits."""

import json
import re
from pathlib import Path

import pytest

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
FAST = ("--set", "optimizer.momentum=0.0", "--set", "optimizer.lr=0.2", "--set", "measurements.every_updates=1")
"""Without momentum the fit begins with update 5: to the drop at 203 it has 1.6 decades."""


@pytest.fixture
def trained(place):
    for seed in ("0", "1"):
        words = ("train", DIGITS, *FAST, "--seed", seed, "--name", f"small-s{seed}", "--measure", "layers", "--quiet")
        assert place.run(*words).returncode == 0
    words = ("train", DIGITS, *FAST, "--to", "512", "--adapt", "none", "--name", "large", "--quiet")
    assert place.run(*words).returncode == 0
    return place


def test_the_digits_diffuse_as_the_logarithm_and_a_short_large_batch_is_undetermined(trained):
    code, out, err = trained.run("probe", "diffusion", "small-s0", "small-s1", "large")
    assert code == 0, err
    said = re.search(
        r"small: d grows as (\d\.\d+) ln t \(95% (\S+) to (\S+), 2 seeds\) over 1\.6 decades \(updates 5 to 203\)\.",
        out,
    )
    assert said is not None, out
    slope, low, high = map(float, said.groups())
    assert low < slope < high
    assert re.search(
        r"large: the law is undetermined: updates 5 to \d+ cover 0\.4 decades, and 1\.5 are needed\.\n", out
    )
    assert "linear 1" in out
    assert "Batch norm makes the loss blind to the size of the weights" in out
    assert "┤" in out

    code, out, err = trained.run("probe", "diffusion", "small-s0", "small-s1", "--json")
    assert code == 0, err
    body = json.loads(out)
    assert body["schema"] == 1
    (group,) = body["groups"]
    assert (group["label"], group["law"], group["batch_size"]) == ("small", "logarithm", 32)
    assert group["log_slope"] == pytest.approx(slope, abs=0.01)
    assert [fit["law"] for fit in group["runs"][0]["growth"]["fits"]] == ["logarithm", "square root", "power law"]
    assert len(group["runs"][0]["layers"]) == 4


def test_page_and_picture_are_written(trained):
    code, _, err = trained.run("probe", "diffusion", "small-s0", "large", "--html", "a.html", "--png", "a.png")
    assert code == 0, err
    assert "How the weight distance grows: small-s0, large" in (trained.folder / "a.html").read_text()
    assert (trained.folder / "a.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_run_is_an_error(place):
    assert place.run("train", DIGITS, "--schedule-scale", "0.1", "--name", "a", "--quiet").returncode == 0
    code, out, err = place.run("probe", "diffusion", "b")
    assert (code, out) == (2, "")
    assert "b" in err
