"""A run beside other processes: when its cores are crowded, what it says, and that its threads then sleep."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training.cores import Usage, allowed_cores, torch_threads_kept
from lbadvisor.training.data.dataset import Dataset
from lbadvisor.training.loop import train
from lbadvisor.training.neighbours import Crowding
from lbadvisor.training.state import start_state
from lbadvisor.training.waiting import Patience

DIGITS = Path(__file__).parents[2] / "recipes" / "digits.toml"


def test_what_it_used_between_two_moments_is_added() -> None:
    """In 2 s of 2 cores all are busy for 4 s, 2.5 s of it its own; one thread waits 1 s, a new one 0.5 s."""
    before = Usage(at=10.0, busy=100.0, own=5.0, waits={"1": 3.0, "2": 9.0})
    now = Usage(at=12.0, busy=104.0, own=7.5, waits={"1": 4.0, "3": 0.5})
    lately = Crowding(cores=2, threads=2).then(before, now)
    assert lately == Crowding(2, 2, seconds=2.0, own=2.5, others=1.5, waited=1.5)
    assert lately.waited_share == 0.375
    assert lately.is_crowded
    both = lately.then(now, Usage(at=13.0, busy=106.0, own=9.5, waits={"1": 4.0, "3": 0.5}))
    assert both == Crowding(2, 2, seconds=3.0, own=4.5, others=1.5, waited=1.5)


@pytest.mark.parametrize(
    ("cores", "threads", "others", "share", "is_crowded"),
    [
        (2, 2, 0.0, 0.0, False),
        (2, 2, 0.1, 0.3, False),  # more threads of its own than cores, which decode images
        (2, 2, 0.9, 0.02, False),
        (2, 2, 0.9, 0.3, True),
        (2, 1, 1.0, 0.3, False),  # one core is left for one thread
        (2, 1, 1.33, 0.3, True),
        (16, 8, 8.0, 0.3, False),
        (16, 8, 8.5, 0.3, True),
    ],
)
def test_cores_are_crowded_if_it_waits_and_others_leave_too_few(
    cores: int, threads: int, others: float, share: float, is_crowded: bool
) -> None:
    lately = Crowding(cores, threads, seconds=10.0, own=10 * (1 - share), others=10 * others, waited=10 * share)
    assert lately.waited_share == pytest.approx(share)
    assert lately.is_crowded is is_crowded


def test_it_is_told_with_numbers_and_what_to_do() -> None:
    assert Crowding(2, 2, seconds=10.0, own=8.0, others=12.0, waited=12.0).text() == (
        "the machine is overloaded: other processes use 1.2 of its 2 CPU cores, and the run's threads waited 60% of "
        "their time for one; it is slower until they end: stop them, or stop it (Ctrl-C saves) and resume it later"
    )


def test_the_other_processes_of_its_command_are_no_strangers() -> None:
    """Two ranks on two cores: of the 3.9 busy seconds in 2, the other rank has 1.8, this one 1.9."""
    before = Usage(at=0.0, busy=10.0, own=1.0, waits={"1": 0.0}, partners=4.0)
    now = Usage(at=2.0, busy=13.9, own=2.9, waits={"1": 0.3}, partners=5.8)
    lately = Crowding(cores=2, threads=1).then(before, now)
    assert (lately.partners, lately.others) == (pytest.approx(1.8), pytest.approx(0.2))
    assert lately.has_room
    crowded = Crowding(cores=2, threads=1).then(before, replace(now, busy=15.1))
    assert crowded.others == pytest.approx(1.4)
    assert not crowded.has_room
    assert "other processes use 0.7 of its 2 CPU cores" in crowded.text()


def test_too_many_processes_of_one_command_are_told_as_such() -> None:
    assert Crowding(2, 1, seconds=10.0, own=5.0, partners=15.0, waited=5.0).text() == (
        "the machine is overloaded: this command's other processes use 1.5 of its 2 CPU cores, and the run's threads "
        "waited 50% of their time for one: start fewer of them, or with fewer --threads"
    )


PARTNERS = r"""
import subprocess, sys, time
from lbadvisor.training.cores import partner_seconds

busy = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\ninput()"
look = "from lbadvisor.training.cores import partner_seconds; print(partner_seconds())"
worker = subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE)
while subprocess.run([sys.executable, "-c", look], capture_output=True, check=True).stdout.strip() < b"0.3":
    time.sleep(0.1)
worker.communicate(b"\n")
print(subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout.strip())
"""


@pytest.mark.skipif(not list(Path("/proc/self/task").glob("*/children")), reason="the system names no children")
def test_partners_are_what_the_same_parent_started_and_still_runs() -> None:
    done = subprocess.run([sys.executable, "-c", PARTNERS], capture_output=True, text=True, check=True, timeout=300)
    assert float(done.stdout) == 0.0


SPINNING = """
import sys, time, torch
from lbadvisor.training.waiting import Patience

torch.set_num_threads(2)
numbers, patience = torch.zeros(2**17), Patience(2)

def cpu_seconds():
    begin = time.process_time()
    for _ in range(50):
        numbers.add_(1)
        time.sleep(0.002)
    return time.process_time() - begin

seconds = [cpu_seconds()]
for turn in (patience.hold, patience.release):
    turn()
    time.sleep(0.1)
    seconds.append(cpu_seconds())
print(*seconds)
"""


@pytest.mark.skipif(len(allowed_cores()) < 2, reason="on one core OpenMP does not spin")
def test_threads_that_wait_sleep_while_patience_is_held_and_spin_again_after() -> None:
    """Between two additions the second thread waits 2 ms: spinning, that costs CPU time."""
    if "libgomp" not in Path("/proc/self/maps").read_text():
        pytest.skip("torch uses another OpenMP")
    done = subprocess.run([sys.executable, "-c", SPINNING], capture_output=True, text=True, check=True)
    spinning, asleep, again = map(float, done.stdout.split())
    assert asleep < spinning / 2
    assert asleep < again / 2


def test_patience_changes_no_bit(digits: Dataset) -> None:
    """One training of two threads without it, one with it from the tenth update to the twentieth."""
    recipe = load_recipe(DIGITS)
    recipe = in_updates(recipe.model_copy(update={"batch": recipe.batch.model_copy(update={"size": 1024})}))
    ends = []
    for patient in (False, True):
        with torch_threads_kept():
            state, patience = start_state(recipe, 0, digits.shape, digits.classes, torch.device("cpu")), Patience(2)
            state.threads = 2
            for _ in train(state, digits):
                if patient and state.update == 10:
                    patience.hold()
                if state.update == 20:
                    patience.release()
                if state.update == 30:
                    break
            assert torch.get_num_threads() == 2
        ends.append(torch.cat([weights.detach().flatten() for weights in state.parameters]))
    assert torch.equal(*ends)
