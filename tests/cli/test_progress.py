"""One display of progress: bars on a terminal, lines elsewhere, nothing if quiet. The clock is the test's."""

import io

import pytest
from rich.console import Console

from lbadvisor.cli.display import progress as module
from lbadvisor.cli.display.progress import Step, progress, step_of
from lbadvisor.diagnostics.advance import Advance
from lbadvisor.training.data.dataset import Preparing


@pytest.fixture
def clock(monkeypatch):
    """Seconds since the beginning, to be set."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def step(done, **more):
    return Step("a run", done, 100, f"update {done}/100", **more)


def test_lines_are_told_at_the_first_the_last_and_after_silence(clock):
    """By hand: 1 update in the first second, then 1 a second; news waits 5 s, all else 60 s."""
    console = Console(file=io.StringIO(), width=200)
    with progress(console, quiet=False) as shown:
        shown.begin(step(0))
        for done in range(1, 101):
            clock[0] = float(done)
            shown.show(step(done, facts=f"loss {done}", is_news=done in (3, 6, 10, 11)))
    assert console.file.getvalue().splitlines() == [
        "a run: update 1/100 loss 1 1.0 s, about 99 s left",
        "a run: update 6/100 loss 6 6.0 s, about 94 s left",
        "a run: update 11/100 loss 11 11.0 s, about 89 s left",
        "a run: update 71/100 loss 71 71.0 s, about 29 s left",
        "a run: update 100/100 loss 100 100.0 s",
    ]


def test_a_task_of_unknown_length_is_told_once(clock):
    console = Console(file=io.StringIO(), width=200)
    with progress(console, quiet=False) as shown:
        for _ in range(3):
            shown.show(Step("reading [x]", 0, None, ""))
            clock[0] += 1
    assert console.file.getvalue() == "reading [x]\n"


def test_quiet_shows_nothing_and_a_terminal_shows_bars_that_go(clock):
    for quiet in (True, False):
        console = Console(file=io.StringIO(), width=120, force_terminal=True)
        with progress(console, quiet=quiet) as shown:
            shown.show(Step("reading", 0, None, ""))
            shown.begin(step(10))
            clock[0] += 2
            shown.show(step(30, facts="loss 1"))
            if not quiet:
                assert [task.description for task in shown.rich.tasks] == ["a run"]
                shown.rich.refresh()
        text = console.file.getvalue()
        # 20 updates in 2 s, whatever was made before.
        assert ("update 30/100" in text, "10/s" in text, "loss 1" in text) == (not quiet,) * 3
        assert quiet == (text == "")


def test_a_diagnostic_tells_how_many_of_its_units_are_done():
    found = step_of(Advance("measuring minima", 2, 1500, "runs", "small-s1"))
    assert found == Step("measuring minima", 2, 1500, "2 of 1,500 runs", "small-s1")
    assert step_of(Preparing("reading digits", 0, None)) == Step("reading digits", 0, None, "", is_news=True)
