"""README's tables of speed are what the committed figures make; a contestant that fails costs the others nothing."""

import importlib
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
README = FOLDER.parents[1] / "README.md"
HERE = {"cpu": "A CPU", "threads": 2, "python": "3.11.7", "torch": "2.14.1", "lightning": None, "accelerate": None}


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a module of the benchmarks, which import one another by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def part(what, values, unit="ms", missing=()):
    figures = {"what": what, "unit": unit, "values": values, "missing": dict(missing)}
    return {"machine": HERE | {"date": "2026-11-26"}, "figures": [figures]}


def test_the_readmes_tables_are_what_the_committed_figures_make(benchmark):
    tables = benchmark("readme_tables")
    made = tables.markdown(json.loads((FOLDER / "speed.json").read_text()))
    assert tables.inserted(README.read_text(), made) == README.read_text()


def test_a_ratio_is_of_one_round_and_the_table_shows_their_median_and_range(benchmark):
    """2/1, 6/2 and 4/4: the median of the rounds' ratios is 2, while the ratio of the medians 4/2 is so by chance."""
    rounds = {"ours": [1.0, 2.0, 4.0], "by hand": [2.0, 6.0, 4.0], "products alone": [0.5, 1.0, 3.0]}
    made = benchmark("readme_tables").markdown({"f1": part("F1 at 128, float32", rounds)})
    assert "| an update of | ours, ms | by hand | products alone | n |" in made
    assert "| F1 at 128, float32 | 2.00 (1.00 to 4.00) | 2.00 (1.00 to 3.00) | 0.50 (0.50 to 0.75) | 3 |" in made
    assert made.startswith("A CPU, 2 threads, python 3.11.7, torch 2.14.1, 2026-11-26.")


def test_accuracies_have_intervals_and_a_difference_paired_by_seed(benchmark):
    """Differences of -0.1, -0.2 and -0.3: mean -0.2, and 4.303 * 0.1 / sqrt(3) = 0.248 on each side."""
    percent = {"float32": [98.0, 99.0, 98.5], "bf16": [97.9, 98.8, 98.2]}
    made = benchmark("readme_tables").markdown({"accuracy": part("F1", percent, "%")})
    assert "| F1, difference | -0.20 (95% -0.45 to 0.05) % | 3 |" in made


def test_a_contestant_that_fails_is_named_and_the_others_are_measured(benchmark):
    turns = benchmark("turns")
    task = turns.Task("slices", batch=8, ghost=4, shape=(2,), threads=1)
    entries = (
        turns.Entry("slices", task),
        turns.Entry("slices, beside one", task, beside=1),
        turns.Entry("no such", turns.Task(recipe="no_such_recipe")),
    )
    found = turns.run(turns.Race("a layer", entries, updates=3, rounds=2))
    assert {name: len(values) for name, values in found.values.items()} == {"slices": 2, "slices, beside one": 2}
    assert all(value > 0 for values in found.values.values() for value in values)
    assert found.missing.keys() == {"no such"}
    assert "no_such_recipe" in found.missing["no such"]


def test_all_loops_train(benchmark):
    """Ours, by hand, the usual script, and the frameworks'."""
    pytest.importorskip("lightning")
    pytest.importorskip("accelerate")
    turns, tables = benchmark("turns"), benchmark("tables")
    race = next(tables.loops(turns.Task(recipe="digits", batch=16, threads=1), "digits", updates=2, rounds=1))
    found = turns.run(race)
    assert found.missing == {}
    assert found.values.keys() == set(tables.LOOPS)
