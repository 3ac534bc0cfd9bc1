"""The loop over events: what a signal does to it, and when."""

import os
import signal

import pytest

from lbadvisor.runs.following import Stop, follow, follow_unsaved


class Work:
    """Events 0 to 4, then a result; `saved` is the last event once it was closed."""

    def __init__(self):
        self.saved = None

    def events(self):
        for number in range(5):
            try:
                yield number
            except GeneratorExit:
                self.saved = number
                raise
        return "done"


def signalled_at(number, name, shown):
    def show(event):
        shown.append(event)
        if event == number:
            os.kill(os.getpid(), name)

    return show


def test_work_without_a_signal_gives_its_result():
    shown = []
    assert follow(Work().events(), shown.append, begins=lambda _: False) == "done"
    assert shown == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_closes_the_events_but_not_behind_one_that_begins_a_run(name):
    work, shown = Work(), []
    show = signalled_at(1, getattr(signal, name), shown)
    assert follow(work.events(), show, begins=lambda event: event == 1) == Stop(name)
    assert (shown, work.saved) == ([0, 1, 2], 2)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_second_ctrl_c_does_not_wait():
    work, shown = Work(), []

    def show(event):
        shown.append(event)
        if event == 1:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    assert follow(work.events(), show, begins=lambda _: True) == Stop(None)
    assert (shown, work.saved) == ([0, 1], 1)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_interrupts_work_that_keeps_nothing_at_once(name):
    work = Work()
    with pytest.raises(KeyboardInterrupt):
        follow_unsaved(work.events(), signalled_at(1, getattr(signal, name), []))
    assert work.saved == 1
    assert follow_unsaved(Work().events(), lambda _: None) == "done"


def test_what_fails_while_it_is_shown_closes_the_events_too():
    work = Work()

    def show(event):
        raise OSError(f"the terminal is gone at {event}")

    with pytest.raises(OSError, match="gone at 0"):
        follow(work.events(), show, begins=lambda _: False)
    assert work.saved == 0
