"""Claims about a comparison's report: what is read from the store for it, and where it is written."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbadvisor.cli.display.reporting import check_reports, report_of, write_reports
from lbadvisor.comparison.comparison import Comparison, Gap, Group, GroupGap, Open, RunSummary, Spread
from lbadvisor.errors import UsageError
from lbadvisor.planning.plan import advise, plan_json
from lbadvisor.planning.request import Request
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.parts import PARTS
from lbadvisor.recipe.recipe import Recipe, differing_fields
from lbadvisor.recipe.recipe_tables import Batch, Data, Model, Sgd
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.recipe.schedule_tables import Schedule
from lbadvisor.records.quantities import ACCURACY
from lbadvisor.records.run import Environment, Measurement, RunStatus
from lbadvisor.store import Store

CPU = Environment("cpu", "a processor", "0.1.0", "3.11.0", "2.15.0", None, None)
BASELINE = Recipe(
    schema=1,
    name="small",
    data=Data(name="digits", train_examples=1024),
    model=Model(name="digits_mlp"),
    batch=Batch(size=32),
    optimizer=Sgd(name="sgd", lr=0.05, momentum=0.9),
    schedule=Schedule(updates=20),
)
PLAN = advise(BASELINE, Request(512, PARTS))
COMMANDS = ("lbadvisor compare 1 2 3 4",)


def measured(update: int, batch: int, accuracy: float) -> Measurement:
    return Measurement(
        update, update * batch / 1024, update * batch, 0.5, 0.05, 1.0, 0.0, 3.0, 0.25, accuracy, update * 0.1
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Two seeds of the baseline, at 98 and 97%, and two of the adapted recipe with its plan, at 99 and 98%."""
    with Store.open(tmp_path / "runs.db", create=True) as opened:
        assert PLAN.adapted is not None
        number = opened.add_plan(plan_json(PLAN), BASELINE, PLAN.adapted)
        for name, recipe, seed, plan, final in (
            ("sb-1", in_updates(BASELINE), 1, None, 98.0),
            ("sb-2", in_updates(BASELINE), 2, None, 97.0),
            ("ra's-1", PLAN.adapted, 1, number, 99.0),
            ("ra's-2", PLAN.adapted, 2, number, 98.0),
        ):
            run = opened.add_run(name, recipe, seed, 20, CPU, plan)
            size = recipe.batch.size
            opened.record(run.number, [measured(10, size, 50.0), measured(20, size, final)])
            opened.set_status(run.number, RunStatus.COMPLETE, None)
        yield opened


def comparison(store: Store) -> Comparison:
    """The comparison of those runs, by hand."""
    summaries = tuple(
        RunSummary(
            run.number,
            run.name,
            "small",
            run.recipe.batch.size,
            None,
            run.seed,
            "cpu",
            run.status,
            20,
            20,
            None,
            None,
            2.0,
            run.changed_at,
        )
        for run in store.runs()
    )
    return Comparison(
        runs=summaries,
        groups=(Group("+RA", (1, 2), (1, 2), Spread(2, 97.5, 0.7)), Group("-ra", (3, 4), (1, 2), Spread(2, 98.5, 0.7))),
        changed=(),
        metrics=(),
        gap=Gap(
            points=-1.0,
            points_interval=None,
            closed_percent=None,
            interval=None,
            seeds=2,
            naive_group=None,
            closing_group=None,
            groups=(
                GroupGap("+RA", None, None, None, 2, None, None, None),
                GroupGap("-ra", -1.0, None, Open.NO_SPREAD, 2, None, None, None),
            ),
            conclusion="There is no gap.",
        ),
        notes=(),
    )


def test_the_curves_are_those_of_each_groups_runs(store: Store) -> None:
    """98 and 97% have the mean 97.5, between 97 and 98."""
    report = report_of(store, comparison(store), COMMANDS)
    accuracy = [curve for curve in report.curves[0].curves if curve.quantity is ACCURACY]
    assert [(c.update, c.mean, c.low, c.high) for c in accuracy] == [
        ((10, 20), (50.0, 97.5), (50.0, 97.0), (50.0, 98.0))
    ]
    assert [group.label for group in report.curves] == ["+RA", "-ra"]
    assert report.title == "small, batch 32 to 512: 4 runs in 2 groups"
    assert report.environments == (CPU,)


def test_a_plan_is_shown_once_with_the_groups_that_it_made(store: Store) -> None:
    (plan,) = report_of(store, comparison(store), COMMANDS).plans
    assert plan.labels == ("-ra",)
    assert plan.adjustments == PLAN.adjustments
    assert plan.warnings == PLAN.warnings


def test_each_group_can_be_trained_again_from_what_the_report_holds(store: Store, tmp_path: Path) -> None:
    """The recipe that the page prints is the run's, to the field; names that a shell would read are quoted."""
    report = report_of(store, comparison(store), COMMANDS)
    assert [recipe.file_name for recipe in report.recipes] == ["RA.toml", "ra-2.toml"]
    assert report.recipes[1].commands == (
        """lbadvisor train ra-2.toml --seed 1 --name 'ra'"'"'s-1-again'""",
        """lbadvisor train ra-2.toml --seed 2 --name 'ra'"'"'s-2-again'""",
    )
    for recipe, name in zip(report.recipes, ("sb-1", "ra's-1"), strict=True):
        path = tmp_path / recipe.file_name
        path.write_text(recipe.toml)
        assert list(differing_fields(store.run(name).recipe, load_recipe(path))) == []


def test_page_and_picture_are_written_and_stdout_stays_empty(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    html, png = tmp_path / "report.html", tmp_path / "chart.png"
    write_reports(store, comparison(store), html, png)
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r".*report\.html: 4\.9 MB written\n.*chart\.png: 0\.\d MB written\n", said.err, flags=re.S)
    assert "There is no gap." in html.read_text()
    assert png.read_bytes().startswith(b"\x89PNG")


def test_nothing_is_written_where_nothing_is_asked_for(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    write_reports(store, comparison(store), None, None)
    assert capsys.readouterr() == ("", "")


def test_a_file_that_is_no_report_is_found_before_any_work(tmp_path: Path) -> None:
    notes = tmp_path / "notes.png"
    notes.write_text("mine")
    with pytest.raises(UsageError, match="is not a report of lbadvisor"):
        check_reports(notes, None)
    with pytest.raises(UsageError, match="is not a report of lbadvisor"):
        check_reports(None, notes)
    with pytest.raises(UsageError, match="name the same file"):
        check_reports(tmp_path / "report", tmp_path / "report")
    check_reports(tmp_path / "report.html", tmp_path / "chart.png")
    check_reports(None, None)
