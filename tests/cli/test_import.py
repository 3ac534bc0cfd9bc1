"""`runs import` of tables: what they say is stored whole, or nothing is, with the place of the fault."""

import json
from pathlib import Path

import pytest

from lbadvisor.records.run import Measurement
from lbadvisor.store import Store

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
BASELINE = (
    "--setting",
    "batch_size=50",
    "--setting",
    "examples=1000",
    "--setting",
    "lr=0.1",
    "--setting",
    "data=digits",
)


def written(place, text, name="run.csv"):
    (place.folder / name).write_text(text)
    return name


def measured(place, name="mine"):
    with Store.open(place.database, create=False) as store:
        run = store.run(name)
        return run, store.measurements(run.number)


def test_a_table_with_our_words_is_stored(place):
    file = written(place, "update,loss,accuracy,other\n10,2.5,,x\n20,1.5,87.5,y\n\n40,nan,90,z\n")
    ended = place.run("runs", "import", file, "--name", "mine", *BASELINE, "--setting", "layers=3", "--seed", "4")
    assert ended.returncode == 0, ended.stderr
    assert "stored mine: 3 measurements up to update 40; update from update, loss from loss" in ended.stderr
    run, (first, second, last) = measured(place)
    # 10 updates of 50 are 500 of 1000 examples.
    assert first == Measurement(10, 0.5, 500, 2.5, *[None] * 7)
    assert second == Measurement(20, 1.0, 1000, 1.5, None, None, None, None, None, 87.5, None)
    assert (last.update, last.loss) == (40, None)
    assert (run.seed, run.status, run.updates) == (4, "diverged", 40)
    assert (run.recipe.recorded.program, run.recipe.recorded.model_extra) == ("another program", {"layers": 3})


def test_the_rows_of_lightnings_csv_logger_become_one_measurement_of_each_step(place):
    """Its steps count from 0, training and validation have rows of their own, and accuracies are shares."""
    text = "epoch,lr-SGD,step,train_loss,val_acc\n,0.1,9,,\n0,,9,2.5,\n0,,9,,0.5\n1,,19,1.5,\n1,,19,,0.75\n"
    file = written(place, text, "metrics.csv")
    mapped = ("--column", "update=step+1", "--column", "loss=train_loss", "--column", "accuracy=100*val_acc")
    ended = place.run("runs", "import", file, "--name", "mine", "--recipe", DIGITS, *mapped, "--column", "lr=lr-SGD")
    assert ended.returncode == 0, ended.stderr
    run, measurements = measured(place)
    assert [(m.update, m.epoch, m.loss, m.lr, m.evaluation_accuracy_percent) for m in measurements] == [
        (10, 0.0, 2.5, 0.1, 50.0),
        (20, 1.0, 1.5, None, 75.0),
    ]
    assert (run.status, run.updates) == ("complete", 405)


@pytest.mark.parametrize(("clock", "update"), [("examples", [10, 20]), ("epoch", [10, 20])])
def test_updates_follow_from_examples_or_epochs(place, clock, update):
    values = {"examples": (500, 1000), "epoch": (0.5, 1.0)}[clock]
    file = written(place, f"{clock},loss\n{values[0]},2\n{values[1]},1\n")
    assert place.run("runs", "import", file, "--name", "mine", *BASELINE).returncode == 0
    assert [one.update for one in measured(place)[1]] == update


HEAD = "update,loss,accuracy\n1,2.5,50\n"


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        (HEAD + "2,low,60\n", (), "run.csv:3: loss is 'low': it must be a number"),
        (HEAD + "2,1.0\n", (), "run.csv:3: the row has 2 cells, but there are 3 columns"),
        (HEAD + "2,1.0,160\n", (), "run.csv:3: evaluation_accuracy_percent is 160: it must be from 0 to 100 percent"),
        (HEAD + "2.5,1.0,60\n", (), "run.csv:3: update is 2.5: it must be a whole number"),
        (HEAD + "0,1.0,60\n", (), "run.csv:3: update is 0: updates count from 1"),
        (HEAD + ",1.0,60\n", (), "run.csv:3: the row says neither its update nor its examples or epoch"),
        (HEAD + "3,1.0,60\n2,1.0,70\n", (), "run.csv:4: update 2 comes after update 3: updates must ascend"),
        ("update,loss,loss\n", (), "run.csv:1: the first row must name each column, and no two of them alike"),
        ("update,loss\n", (), "run.csv: there is nothing in it but the names of columns"),
        ("", (), "run.csv: no column is called as a quantity is"),
        ("update,train_loss\n1,2\n", (), "--column loss=COLUMN. Its columns: update, train_loss"),
        ("step,loss\n1,2\n", (), "no column counts updates, examples or epochs"),
        (HEAD, ("--column", "loss=los"), "run.csv has no column 'los': did you mean `loss`?"),
        (
            HEAD,
            ("--column", "los=loss"),
            "--column los=loss: give QUANTITY=COLUMN; of quantities, did you mean `loss`?",
        ),
        (
            "update,accuracy\n1,0.5\n2,0.75\n",
            (),
            "give --column accuracy=100*accuracy for shares, or accuracy=1*accuracy",
        ),
        (HEAD, ("--setting", "lr"), "--setting lr: has no value"),
        (HEAD, ("--setting", "epochs=two"), "schedule.epochs"),
        (HEAD, ("--recipe", DIGITS), "--setting belongs to a run without --recipe"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_nothing_is_stored(place, text, more, said):
    ended = place.run("runs", "import", written(place, text), "--name", "mine", *BASELINE, *more)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in " ".join(ended.stderr.split())
    assert not place.database.exists()


def test_shares_below_one_percent_are_taken_if_that_is_said(place):
    file = written(place, "update,accuracy\n1,0.5\n")
    ended = place.run("runs", "import", file, "--name", "mine", *BASELINE, "--column", "accuracy=1*accuracy")
    assert ended.returncode == 0, ended.stderr
    assert measured(place)[1][0].evaluation_accuracy_percent == 0.5


def test_it_needs_a_file_settings_and_a_name_that_is_free(place):
    absent = place.run("runs", "import", "absent.csv", "--name", "a", *BASELINE)
    assert (absent.returncode, absent.stderr) == (2, "error: absent.csv: there is no such file or folder\n")
    file = written(place, HEAD)
    assert "--recipe RECIPE, or --setting batch_size=B" in place.run("runs", "import", file, "--name", "a").stderr
    dry = place.run("runs", "import", file, "--name", "a", *BASELINE, "--dry-run")
    assert "would store a: 1 measurement up to update 1" in dry.stderr
    assert not place.database.exists()
    assert place.run("runs", "import", file, "--name", "a", *BASELINE).returncode == 0
    again = place.run("runs", "import", file, "--name", "a", *BASELINE)
    assert again.returncode == 3
    assert "a run named 'a' already exists: give another --name, or delete it first" in again.stderr


def test_a_baseline_from_a_table_has_a_gap_to_a_run_of_ours(place):
    pytest.importorskip("sklearn")
    file = written(place, "update,loss,accuracy\n200,0.5,97\n405,0.1,99\n")
    settings = ("batch_size=32", "examples=1297", "data=digits", "model=their_net", "updates=405", "lr=0.05")
    given = [word for setting in settings for word in ("--setting", setting)]
    assert place.run("runs", "import", file, "--name", "theirs", *given).returncode == 0
    ours = ("train", DIGITS, "--to", "512", "--arm", "lb", "--name", "ours", "--quiet")
    assert place.run(*ours).returncode == 0
    comparison = json.loads(place.run("compare", "theirs", "ours", "--json").stdout)
    accuracy = comparison["runs"][1]["final_accuracy_percent"]
    assert comparison["gap"]["points"] == pytest.approx(99 - accuracy)
    assert comparison["gap"]["naive_group"] == "ours"
    page = place.run("compare", "theirs", "ours", "--html", "page.html")
    assert page.returncode == 0, page.stderr
    assert "theirs" in (place.folder / "page.html").read_text()


def test_exports_for_trackers_take_no_other_format(place):
    for words in (("--out", "f.csv"), ("--json",)):
        ended = place.run("runs", "export", "--tensorboard", "logs", *words)
        assert ended.returncode == 2
        assert "cannot be combined with --tensorboard or --mlflow" in ended.stderr


def test_without_their_packages_the_extra_is_named(place, monkeypatch):
    written(place, HEAD)
    assert place.run("runs", "import", "run.csv", "--name", "a", *BASELINE).returncode == 0
    monkeypatch.setitem(__import__("sys").modules, "tensorboard", None)
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    for words in (("import", ".", "--name", "b", *BASELINE), ("export", "--tensorboard", "logs")):
        ended = place.run("runs", *words)
        assert ended.returncode == 1
        assert "pip install 'lbadvisor[tensorboard]'" in ended.stderr
    ended = place.run("runs", "export", "--mlflow", "logs")
    assert ended.returncode == 1
    assert "pip install 'lbadvisor[mlflow]'" in ended.stderr
