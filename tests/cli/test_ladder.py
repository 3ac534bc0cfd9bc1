"""`lbadvisor ladder` as a user runs it: whole processes, a real set, real kills."""

import csv
import io
import json
import re
import signal
from pathlib import Path

import pytest

from lbadvisor.records.run import RunStatus

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
SHORT = (DIGITS, "--to", "256", "--schedule-scale", "0.1")
"""41 updates of 32; 5 of 256 where the epochs stay, 41 with the regime."""


def table_rows(text):
    """The lines of the table by arm."""
    return {line.split()[0]: line for line in text.splitlines() if re.match(r"(SB|LB|\+LR|\+GBN|\+RA) +\d", line)}


def test_the_papers_ladder_shows_its_arms_in_order_and_the_gap_closed(place):
    """At half the digits' schedule: SB and +RA above LB by more than their intervals."""
    code, out, err = place.run("ladder", DIGITS, "--to", "1024", "--schedule-scale", "0.5", "--seeds", "3")
    assert code == 0, err
    assert list(table_rows(out)) == ["SB", "LB", "+LR", "+GBN", "+RA"]
    assert "lr, +LR, on top of lb: the square-root rule, with a clipping warm-up" in err
    assert "optimizer.lr 0.05 -> 0.282843; clipping.max_norm none -> 0.883883" in err
    assert "15/15 ra s2: 203 updates, accuracy" in err

    code, out, err = place.run("ladder", DIGITS, "--to", "1024", "--schedule-scale", "0.5", "--seeds", "3", "--json")
    assert code == 0, err
    body = json.loads(out)
    assert body["schema"] == 1
    assert [arm["name"] for arm in body["arms"]] == ["sb", "lb", "lr", "gbn", "ra"]
    assert [(arm["updates"], arm["seeds"]) for arm in body["arms"]] == [(203, 3), (6, 3), (6, 3), (6, 3), (203, 3)]
    assert [run["name"] for run in body["runs"][:2]] == ["digits-1024-ladder-sb-s0", "digits-1024-ladder-lb-s0"]
    assert {run["status"] for run in body["runs"]} == {"complete"}
    gaps = {gap["group"]: gap for gap in body["comparison"]["gap"]["groups"]}
    assert gaps["LB"]["points_interval"][0] > 0
    assert gaps["+RA"]["points_interval"][1] < gaps["LB"]["points_interval"][0]
    assert gaps["+RA"]["closed_interval"][0] > 0
    assert len(place.runs()) == 15


def test_a_ladder_killed_again_and_again_ends_with_the_same_table(place):
    """By SIGKILL, up to five times, each time once it got further; what is done stays as it is."""
    words = ("ladder", DIGITS, "--to", "256", "--schedule-scale", "1.5", "--arms", "sb,lb,ra", "--seeds", "2")
    words += ("--set", "checkpoints.every_seconds=1e-9")
    code, expected, err = place.run(*words, "--db", "straight.db")
    assert code == 0, err
    place.kill_again_and_again(5, *words)
    done = {run.number: run.changed_at for run in place.runs() if run.status is RunStatus.COMPLETE}
    code, out, err = place.run(*words)
    assert code == 0, err
    assert out == expected
    assert len(place.runs()) == 6
    assert any(run.resumes for run in place.runs())
    assert done.items() <= {run.number: run.changed_at for run in place.runs()}.items()


def test_a_signal_saves_the_run_in_training_and_the_same_command_goes_on(place):
    words = (DIGITS, "--to", "256", "--arms", "sb,lb", "--seeds", "1")
    err = place.stopped(signal.SIGTERM, place.held(100, "ladder", *words))
    assert "SIGTERM: saved digits-256-ladder-sb-s0 at update 100 of 405; 0 of 2 runs are done" in err
    assert place.runs()[0].status is RunStatus.STOPPED
    assert place.runs()[0].ended_because == "stopped on request at update 100"
    code, _, err = place.run("ladder", *words)
    assert code == 0, err
    assert "sb s0: resuming from update 100 of 405" in err
    assert [run.resumes for run in place.runs()] == [1, 0]


def test_arms_that_are_done_are_not_trained_again(place):
    assert place.run("ladder", *SHORT, "--arms", "sb,lb", "--seeds", "1")[0] == 0
    first = [(run.number, run.changed_at) for run in place.runs()]
    code, _, err = place.run("ladder", *SHORT, "--arms", "sb,lb,gbn", "--seeds", "1")
    assert code == 0, err
    assert "2 of 3 runs are already done" in err
    assert "2/3 lb s0: 5 updates" in err
    assert "(reused: digits-256-ladder-lb-s0)" in err
    assert [(run.number, run.changed_at) for run in place.runs()][:2] == first


def test_a_run_of_train_is_reused(place):
    assert place.run("train", *SHORT, "--arm", "lb", "--name", "mine").returncode == 0
    _, _, err = place.run("ladder", *SHORT, "--arms", "sb,lb", "--seeds", "1")
    assert "(reused: mine)" in err


def test_the_costly_arm_may_have_fewer_seeds(place):
    code, out, err = place.run("ladder", *SHORT, "--arms", "sb,lb,gbn:1", "--seeds", "2", "--csv")
    assert code == 0, err
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["arm"], row["runs"]) for row in rows] == [("SB", "2"), ("LB", "2"), ("+GBN", "1")]
    assert float(rows[1]["gap_points"]) == pytest.approx(
        float(rows[0]["accuracy_percent_mean"]) - float(rows[1]["accuracy_percent_mean"])
    )
    code, out, _ = place.run("ladder", *SHORT, "--arms", "sb,lb,gbn:1", "--seeds", "2", "--md")
    assert code == 0
    assert out.startswith("| arm | runs | updates | accuracy, % |")
    assert "| +GBN | 1 |" in out


def test_the_table_has_the_arms_that_were_asked_for_in_their_order(place):
    """A ladder that has more is cut to them; what is concluded is of the last one."""
    assert place.run("ladder", *SHORT, "--arms", "sb,lb,gbn,dropout", "--seeds", "2")[0] == 0
    code, out, err = place.run("ladder", *SHORT, "--arms", "sb,lb,dropout,gbn", "--seeds", "2", "--csv")
    assert code == 0, err
    assert [row["arm"] for row in csv.DictReader(io.StringIO(out))] == ["SB", "LB", "dropout", "+GBN"]
    _, out, _ = place.run("ladder", *SHORT, "--arms", "sb,lb,gbn", "--seeds", "2", "--json")
    groups = json.loads(out)["comparison"]["groups"]
    assert [(group["label"], group["seeds"]) for group in groups] == [("SB", [0, 1]), ("LB", [0, 1]), ("+GBN", [0, 1])]


def test_a_diverged_arm_is_counted_and_not_hidden(place):
    words = (*SHORT, "--arms", "sb,lb", "--seeds", "1", "--set", "optimizer.lr=1e30")
    code, out, err = place.run("ladder", *words)
    assert code == 0, err
    assert "1/2 sb s0: diverged at update" in err
    assert "1, 1 diverged" in table_rows(out)["LB"]
    code, out, _ = place.run("ladder", *words, "--csv")
    assert [row["diverged"] for row in csv.DictReader(io.StringIO(out))] == ["1", "1"]


def test_another_recipe_or_target_under_the_same_name_is_refused(place):
    assert place.run("ladder", *SHORT, "--arms", "sb,lb", "--seeds", "1", "--name", "mine")[0] == 0
    for words, said in (
        (("--set", "optimizer.lr=0.1"), "optimizer.lr: 0.05 there, 0.1 here"),
        (("--to", "128"), "target batch size: 256 there, 128 here"),
        (("--schedule-scale", "0.2"), "schedule.updates: 41 there, 81 here"),
    ):
        code, out, err = place.run("ladder", *SHORT, "--arms", "sb,lb", "--seeds", "1", "--name", "mine", *words)
        assert (code, out) == (3, "")
        assert "the ladder `mine` belongs to another training" in err
        assert said in err


def test_a_dry_run_says_what_each_arm_changes_and_costs_and_writes_nothing(place):
    """By hand: 41 updates of 32, and 5 of 256, twice; and 41 of 256, once."""
    code, out, err = place.run("ladder", *SHORT, "--arms", "sb,lb,ra:1", "--seeds", "2", "--dry-run")
    assert (code, err) == (0, "loading PyTorch\n")
    assert "ra, +RA, on top of lb: the regime: as many updates as the baseline" in out
    assert "schedule.updates 5 -> 41" in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if re.match(r"\s+(sb|lb|ra|all) ", line)}
    assert rows["sb"][1:3] + rows["sb"][4:5] == ["2", "41", "1,312"]
    assert rows["lb"][1:3] + rows["lb"][4:5] == ["2", "5", "1,280"]
    assert rows["ra"][1:3] + rows["ra"][4:5] == ["1", "41", "10,496"]
    assert rows["all"][2:] == ["5", "133", "15,680"]
    assert "would train 5 of 5 runs on cpu" in out
    code, out, _ = place.run("ladder", *SHORT, "--arms", "sb,lb,ra:1", "--dry-run", "--json")
    body = json.loads(out)
    assert (body["comparison"], body["runs"][0]["status"]) == (None, None)
    assert [c["field"] for c in body["arms"][2]["changes"]][:2] == ["optimizer.lr", "schedule.updates"]
    assert list(place.folder.iterdir()) == []


def test_the_page_and_the_picture_are_written_with_the_table(place):
    code, out, err = place.run(
        "ladder", *SHORT, "--arms", "sb,lb", "--seeds", "2", "--html", "page.html", "--png", "chart.png"
    )
    assert code == 0, err
    assert list(table_rows(out)) == ["SB", "LB"]
    assert "page.html: " in err
    assert "lbadvisor ladder" in (place.folder / "page.html").read_text()
    assert (place.folder / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_quiet_says_only_the_table(place):
    code, out, err = place.run("ladder", *SHORT, "--arms", "sb,lb", "--seeds", "1", "--quiet")
    assert (code, err) == (0, "")
    assert list(table_rows(out)) == ["SB", "LB"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((DIGITS,), "give the target batch size: --to B"),
        ((DIGITS, "--to", "32"), "the baseline's own: a ladder needs a larger one"),
        ((DIGITS, "--to", "16"), "below the baseline's 32"),
        ((DIGITS, "--to", "2000"), "above the 1297 training examples"),
        ((*SHORT, "--arms", "sb,gnb"), "no arm `gnb`: did you mean `gbn`?"),
        ((*SHORT, "--name", "a b"), "cannot name a ladder"),
        ((*SHORT, "--micro", "64"), "plain batch norm computes its statistics over the whole batch"),
        ((*SHORT, "--json", "--csv"), "cannot be combined with another format"),
        ((*SHORT, "--arms", "ra:1"), "a ladder of one run has nothing to compare"),
        ((*SHORT, "--dry-run", "--csv"), "--dry-run trains nothing"),
        ((*SHORT, "--html", "one.html", "--png", "one.html"), "give each its own"),
    ],
)
def test_what_makes_no_sense_is_an_error_and_writes_nothing(place, words, said):
    code, out, err = place.run("ladder", *words)
    assert (code, out) == (2, "")
    assert said in err.splitlines()[-1]
    assert list(place.folder.iterdir()) == []


def test_what_the_plans_warn_of_is_said_once_with_the_arms_it_is_about(place):
    """1024 of 1297 examples are 79%: the README's own headline."""
    code, out, err = place.run("ladder", DIGITS, "--to", "1024", "--dry-run")
    assert code == 0, err
    assert "warning" not in err
    assert out.count("warning batch-near-data (lb, lr, gbn, ra): B_L << N does not hold: the batch is 79% of the") == 1
    assert out.count("warning sqrt-without-regime (lr, gbn): ") == 1
    assert out.count("warning regime-price (ra): ") == 1


def test_what_the_plans_warn_of_is_on_stderr_unless_it_is_quiet(place):
    words = (DIGITS, "--to", "1024", "--arms", "lb", "--seeds", "2")
    code, out, err = place.run("ladder", *words)
    assert code == 0, err
    assert err.count("warning batch-near-data (lb): B_L << N does not hold") == 1
    assert "warning" not in out
    assert "warning" not in place.run("ladder", *words, "--quiet")[2]


def test_without_batch_norm_the_ghost_arm_is_left_out_and_that_is_said(place):
    recipe = place.folder / "convnext.toml"
    text = Path(DIGITS).read_text().replace('name = "digits_mlp"', 'name = "torchvision:convnext_tiny"')
    recipe.write_text(text)
    code, out, err = place.run("ladder", str(recipe), "--to", "256", "--dry-run")
    assert code == 0
    assert "+GBN is skipped: it changes nothing in +LR: torchvision:convnext_tiny has no batch norm" in err
    assert "4 arms, 12 runs" in out
    assert "ghost_batch_size" not in out


def test_the_noise_scale_warns_of_every_target_above_it_and_its_warning_is_on_the_page(place):
    words = (DIGITS, "--to", "256", "--noise-scale", "100", "--arms", "lb,linear", "--seeds", "1", "--html", "a.html")
    code, _, err = place.run("ladder", *words)
    assert code == 0, err
    assert err.count("warning above-noise-scale (lb, linear): the batch of 256 is above the noise scale of 100") == 1
    assert err.count("warning lr-and-stability (linear): the learning rate 0.4 is 8 times the baseline's") == 1
    assert err.count("warning regularization-kept (lb): the steps' noise falls to 0.0129") == 1
    page = (place.folder / "a.html").read_text()
    assert "<b>above-noise-scale</b>: the batch of 256 is above the noise scale of 100" in page
    assert "<b>lr-and-stability</b>" in page
    assert "<b>regularization-kept</b>" in page
