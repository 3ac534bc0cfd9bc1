"""`lbadvisor stretch` as a user runs it: whole processes, a real set, real kills."""

import json
from pathlib import Path

import pytest

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
SHORT = (DIGITS, "--to", "256", "--schedule-scale", "0.1")
"""41 updates of 32; 5 of 256 where the epochs stay, 41 with the full regime."""


def without_times(body):
    """The answer but for what the clock said."""
    rows = [{**row, "cost": {**row["cost"], "seconds": len(row["cost"]["seconds"])}} for row in body["rows"]]
    return {key: body[key] for key in ("of", "question", "ending", "naive", "smallest", "predicted")} | {"rows": rows}


def test_it_ends_with_the_sentence_and_shows_each_stretch(place):
    code, out, err = place.run("stretch", *SHORT, "--png", "chart.png", "--html", "page.html")
    assert code == 0, err
    assert "digits-256-stretch: digits_mlp on digits, batch 32 -> 256, 6 arms, 18 runs" in err
    assert "1/18 sb s0: 41 updates, accuracy" in err
    assert "\nTrain " in out
    assert " of 8), save " in out
    rows = [line.split() for line in out.splitlines()]
    stretches = [row[0] for row in rows[[row[:1] for row in rows].index(["stretch"]) + 1 :]][:4]
    assert stretches == ["1", "2", "4", "8"]
    assert Path("chart.png").read_bytes()[1:4] == b"PNG"
    assert "Gap to the baseline against the stretch" in Path("page.html").read_text()

    code, out, err = place.run("stretch", *SHORT, "--json")
    assert code == 0, err
    body = json.loads(out)
    assert body["schema"] == 1
    assert body["of"]["ladder"] == "digits-256-stretch"
    found = next(row for row in body["rows"] if row["stretch"] == body["smallest"])
    assert found["verdict"] == "closes it"
    assert found["closed"]["interval"][0] > 80
    assert body["saved_seconds"] == pytest.approx(
        body["full_seconds"] - sum(found["cost"]["seconds"]) / len(found["cost"]["seconds"])
    )
    code, out, err = place.run("compare", "digits-256-stretch", "--json")
    assert code == 0, err
    gaps = {gap["group"]: gap for gap in json.loads(out)["gap"]["groups"]}
    assert gaps["LB"]["points"] == pytest.approx(body["naive"]["value"])
    assert gaps["+GBN"]["points_interval"] == pytest.approx(body["rows"][0]["gap"]["interval"])


def test_a_search_killed_again_and_again_gives_the_same_answer(place):
    """By SIGKILL, four times unless it ends before, each time once it got further."""
    words = ("stretch", *SHORT, "--set", "checkpoints.every_seconds=1e-9", "--json")
    code, straight, err = place.run(*words, "--db", "straight.db")
    assert code == 0, err
    place.kill_again_and_again(4, *words)
    code, out, err = place.run(*words)
    assert code == 0, err
    assert without_times(json.loads(out)) == without_times(json.loads(straight))


def test_two_processes_share_a_search(place):
    words = ("stretch", *SHORT, "--json", "--quiet")
    processes = [place.start(*words) for _ in range(2)]
    answers = [json.loads(process.communicate(timeout=300)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert without_times(answers[0]) == without_times(answers[1])
    names = [run.name for run in place.runs()]
    assert len(names) == len(set(names)) == 6 + sum(row["seeds"] for row in answers[0]["rows"])


def test_a_dry_run_says_the_most_it_costs_and_does_nothing(place):
    code, out, err = place.run("stretch", *SHORT, "--dry-run")
    assert code == 0, err
    # By hand: three seeds of 41, 5, 5, 10, 20 and 41 updates.
    assert "all runs     18      366" in out
    assert "would train 18 of 18 runs" in out
    assert "after 9 runs at the earliest" in out
    assert not place.database.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((DIGITS,), "give the target batch size: --to B"),
        ((DIGITS, "--to", "32"), "the target batch size 32 is not above the baseline's, 32"),
        ((DIGITS, "--to", "256", "--margin", "none"), "--margin none: give what may remain of the gap"),
        ((DIGITS, "--to", "256", "--dry-run", "--png", "x.png"), "--png has no effect: --dry-run trains nothing"),
        ((DIGITS, "--to", "256", "--betas", "keep"), "--betas has no effect: the optimizer has no betas"),
    ],
)
def test_wrong_words_are_refused(place, words, message):
    code, out, err = place.run("stretch", *words)
    assert (code, out) == (2, "")
    assert message in err


def test_a_ladder_of_another_training_is_refused_before_anything_is_trained(place):
    assert place.run("stretch", *SHORT, "--margin", "99", "--quiet").returncode == 0
    code, out, err = place.run("stretch", DIGITS, "--to", "256", "--schedule-scale", "0.2", "--quiet")
    assert (code, out) == (3, "")
    assert "the ladder `digits-256-stretch` belongs to another training" in err
