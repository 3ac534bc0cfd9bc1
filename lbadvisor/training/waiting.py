"""How the CPU threads of a training wait for one another: spinning, or asleep if other processes want the cores."""

import threading

import torch

from lbadvisor.training.cores import allowed_cores

ELEMENTS_OF_A_THREAD = 2**16
"""Of elementwise work; torch gives a thread no less than 2**15 (GRAIN_SIZE of ATen's TensorIterator.h)."""


class Patience:
    """While held, OpenMP threads that wait for others sleep almost at once. Changes no bit of what they compute.

    By default GNU's OpenMP, which torch uses on Linux, has a waiting thread spin for some milliseconds. That is fastest
    alone, but beside another process the spinning uses up the run's share of a core, and then its work waits. Where
    OpenMP manages more threads than there are cores it spins 3000 times shorter (`gomp_throttled_spin_count_var` of
    libgomp's wait.h, read at each wait): the threads held here are that many, and sleep. Without effect on another
    OpenMP, or on a training of one thread, which waits for nobody.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._end: threading.Event | None = None

    def hold(self) -> None:
        """From now on. Sets torch's number of threads to the training's."""
        if self._end is not None or self._threads == 1:
            return
        torch.set_num_threads(self._threads)
        self._end = end = threading.Event()
        # Beside those of the training, which are no more than the cores, each team has its own but for its leader.
        for _ in range((len(allowed_cores()) - self._threads) // (self._threads - 1) + 1):
            ready = threading.Event()
            threading.Thread(
                target=_lead_team, args=(self._threads, ready, end), name="lbadvisor patience", daemon=True
            ).start()
            ready.wait()

    def release(self) -> None:
        """From now on they spin again."""
        if self._end is not None:
            self._end.set()
            self._end = None


def _lead_team(threads: int, ready: threading.Event, end: threading.Event) -> None:
    """Have OpenMP make a team of so many threads with this one, which lives as long as it does."""
    try:
        torch.zeros(threads * ELEMENTS_OF_A_THREAD).add_(1)
    finally:
        ready.set()
    end.wait()
