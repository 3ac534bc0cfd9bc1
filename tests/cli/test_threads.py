"""`lbadvisor train` beside other processes, and on as many CPU threads as it is told."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
LONG = ("train", DIGITS, "--schedule-scale", "1000", "--name", "a")


@contextmanager
def busy(processes):
    """While entered, so many processes each keep a core busy."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="only Linux says who waits")
def test_train_says_once_that_the_machine_is_overloaded(place):
    """Beside twice as many busy processes as there are cores its one thread waits most of the time."""
    process, lines = place.start(*LONG), []
    place.wait_for("a", 10)
    with busy(2 * len(os.sched_getaffinity(0))):
        while not (lines and "overloaded" in lines[-1]):
            lines.append(process.stderr.readline())
            assert lines[-1], "".join(lines)
        place.wait_for("a", place.updates() + 200)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 75
    assert lines[-1].startswith("note the machine is overloaded: other processes use ")
    assert "threads waited " in lines[-1]
    assert "overloaded" not in err


def test_a_run_has_the_threads_it_is_told_and_keeps_them(place):
    words = ("train", DIGITS, "--schedule-scale", "0.2")
    assert place.run(*words, "--threads", "0").returncode == 2
    done = place.run(*words, "--threads", "2", "--name", "b")
    assert done.returncode == 0, done.stderr
    assert place.stored("b")[0].threads == 2
    process = place.start(*LONG, "--threads", "2")
    place.wait_for("a", 100)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    process = place.start(*LONG, "--threads", "1")
    place.wait_for("a", place.updates() + 100)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert "keeps its 2 CPU threads, which decide its bits: --threads 1 is for new runs" in " ".join(err.split())
    assert place.stored("a")[0].threads == 2
