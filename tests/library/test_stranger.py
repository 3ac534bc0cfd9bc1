"""A stranger's path: a script of the usual kind, adapted in ten lines, whose run stands beside ours in `compare`."""

import difflib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).with_name("stranger")
PLAIN, ADAPTED = SCRIPTS / "train_plain.py", SCRIPTS / "train_adapted.py"
DIGITS = Path(__file__).parents[2] / "recipes" / "digits.toml"


def changed_lines(before, after):
    """A replaced line counts once, an added or removed one too, and none is blank."""
    old, new = ([line for line in path.read_text().splitlines() if line.strip()] for path in (before, after))
    opcodes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in opcodes if tag != "equal")


def output_of(*words, place):
    environment = os.environ | {"LBADVISOR_DB": str(place / "runs.db")}
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=place, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def last_accuracy(output):
    return float(re.findall(r"acc@1 ([\d.]+)", output)[-1])


def test_ten_lines_adapt_the_script():
    assert changed_lines(PLAIN, ADAPTED) == 10
    assert "lbadvisor" not in PLAIN.read_text()


def test_the_adapted_script_closes_the_gap_and_its_run_stands_beside_ours(tmp_path, forked):
    """Over five seeds: small 98.16 ± 0.48%, naive 11.4 ± 2.1%, adapted 99.44 ± 0.17%. All test on the same images."""
    small = last_accuracy(output_of(PLAIN, place=tmp_path))
    naive = last_accuracy(output_of(PLAIN, "--batch-size", 512, place=tmp_path))
    adapted = last_accuracy(output_of(ADAPTED, place=tmp_path))
    assert naive < 50 < 95 < small
    assert adapted > small - 2
    at = ("--db", str(tmp_path / "runs.db"))
    assert forked("train", str(DIGITS), "--quiet", *at).wait(240) == 0
    text, err = forked("compare", "digits-32-s0", "stranger-s0", "--json", *at).communicate(240)
    assert text, err
    compared = json.loads(text)
    assert [run["name"] for run in compared["runs"]] == ["digits-32-s0", "stranger-s0"]
    assert compared["runs"][1]["final_accuracy_percent"] == adapted
    assert compared["runs"][1]["update"] == 121 * 2
    gap = compared["gap"]
    assert gap["points"] == pytest.approx(compared["runs"][0]["final_accuracy_percent"] - adapted)
    assert gap["closed_percent"] is None
    assert "nothing may be concluded" in gap["conclusion"]
    changed = {change["field"]: change["values"] for change in compared["changed"]}
    assert changed["batch.size"] == [32, 512]
    assert "data.name" not in changed
    assert "data.train_examples" not in changed
