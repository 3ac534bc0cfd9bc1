"""What the library offers is documented: every public name says what it is, and every example runs."""

import doctest
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lbadvisor

NAMES = [name for name in lbadvisor.__all__ if name not in ("__version__", "errors")]
ROOT = Path(__file__).parents[2]
CODE = re.compile(r"^ {4,}(?!>>>|\.\.\. )(import |from \w+ import |with |for |if |\w+ = )", flags=re.M)


def public_parts(thing):
    """The functions, methods and properties that a public name offers."""
    if inspect.isclass(thing):
        own = {name: part for name, part in vars(thing).items() if not name.startswith("_")}
        yield from (
            part for part in own.values() if isinstance(part, property | classmethod) or inspect.isfunction(part)
        )
    yield thing


def text_of(part):
    return inspect.getdoc(part.__func__ if isinstance(part, classmethod) else part)


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_documented(name):
    thing = getattr(lbadvisor, name)
    for part in public_parts(thing):
        text = text_of(part)
        assert text, (name, part)
        assert text[0].isupper() or text[0] == "`", (name, text)
        assert CODE.search(text) is None, f"an example of {name} is not run: write it with >>>"


@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isfunction(getattr(lbadvisor, name))])
def test_every_public_function_says_what_it_raises(name):
    text = inspect.getdoc(getattr(lbadvisor, name))
    raised = set(re.findall(r"`(\w+Error)`", text))
    assert "Raises" in text
    for error in raised - {"ValueError"}:
        assert issubclass(getattr(lbadvisor.errors, error), Exception)


def examples():
    finder = doctest.DocTestFinder(recurse=True)
    yield from finder.find(lbadvisor, "lbadvisor", globs={})
    for name in NAMES:
        thing = getattr(lbadvisor, name)
        home = importlib.import_module(thing.__module__)
        yield from (test for test in finder.find(thing, name, home, globs={}) if test.examples)


def test_the_examples_of_the_docstrings_run(tmp_path, monkeypatch):
    """In a folder that holds the recipes and nothing else, with a database of its own."""
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LBADVISOR_DB", raising=False)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    found = [test for test in examples() if test.examples]
    for test in found:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
    assert {test.name for test in found} >= {"lbadvisor", "plan", "schedule", "train", "Watch", "ClippingWarmup"}


def test_the_names_are_there_before_they_are_loaded(tmp_path):
    """Its errors too, so that they can be named in `except`; and places may be given as strings."""
    program = (
        "import lbadvisor, sys\n"
        "assert issubclass(lbadvisor.errors.PlanError, lbadvisor.errors.LbadvisorError)\n"
        "assert {'plan', 'Watch', 'errors'} <= set(dir(lbadvisor))\n"
        "assert not any(name in sys.modules for name in ('torch', 'pydantic', 'lbadvisor.planning.plan'))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    place = str(tmp_path / "a.db")
    with lbadvisor.Workspace.open(place, lbadvisor.Machine.here("cpu", str(tmp_path))) as workspace:
        workspace.store.make()
    with lbadvisor.Store.open(place, create=False) as store:
        assert store.runs() == []
    with pytest.raises(AttributeError, match="has no attribute 'plam'"):
        _ = lbadvisor.plam
