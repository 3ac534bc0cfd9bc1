"""Whether a run shares its CPU cores with other processes, how it then waits, and what it says."""

import time
from dataclasses import dataclass, replace

from lbadvisor.training.cores import Usage, allowed_cores
from lbadvisor.training.waiting import Patience

LOOK_SECONDS = 0.5
"""How often a run looks around."""

TELL_SECONDS = 2.0
"""For how long its cores must have been crowded, all in all, before it says so."""

SPARE = 0.25
"""Cores that others may use beyond those left to them before they are in the way."""

LEAST_WAIT = 0.1
"""The share of the time that its threads then wait for a core; alone it is below 0.01."""


@dataclass(frozen=True, slots=True)
class Crowding:
    """Some `seconds` of a run of `threads` on `cores`: how long it and others computed, and how long it waited.

    `partners` are the other processes of its command, ranks or jobs; `others` are strangers.
    """

    cores: int
    threads: int
    seconds: float = 0.0
    own: float = 0.0
    others: float = 0.0
    waited: float = 0.0
    partners: float = 0.0

    def then(self, before: Usage, now: Usage) -> "Crowding":
        """These seconds and those between two moments."""
        own, partners = now.own - before.own, max(0.0, now.partners - before.partners)
        waited = sum(wait - before.waits.get(thread, 0.0) for thread, wait in now.waits.items())
        return replace(
            self,
            seconds=self.seconds + now.at - before.at,
            own=self.own + own,
            others=self.others + max(0.0, now.busy - before.busy - own - partners),
            waited=self.waited + waited,
            partners=self.partners + partners,
        )

    @property
    def waited_share(self) -> float:
        """Of the time that its threads could run, that in which they had no core."""
        return self.waited / max(1e-9, self.waited + self.own)

    @property
    def has_room(self) -> bool:
        """Whether all the others left enough cores free for all of its threads."""
        return self.others + self.partners < (self.cores - self.threads + SPARE) * self.seconds

    @property
    def is_crowded(self) -> bool:
        """Whether it waits, and for others: with room for its threads, it can only wait for more of its own."""
        return self.waited_share >= LEAST_WAIT and not self.has_room

    def text(self) -> str:
        """What to tell of it, and what to do."""
        waited = f"the run's threads waited {self.waited_share:.0%} of their time for one"
        if self.partners and self.others < SPARE * self.seconds:
            return (
                f"the machine is overloaded: this command's other processes use {self.partners / self.seconds:.1f} of "
                f"its {self.cores} CPU cores, and {waited}: start fewer of them, or with fewer --threads"
            )
        return (
            f"the machine is overloaded: other processes use {self.others / self.seconds:.1f} of its {self.cores} CPU "
            f"cores, and {waited}; it is slower until they end: stop them, or stop it (Ctrl-C saves) and resume it "
            "later"
        )


class Neighbours:
    """The other processes, as a run of `threads` meets them; entered around its updates.

    Until the first look its threads wait asleep: beside others, its first update alone could take many seconds. If it
    `has_partners`, its parent's other processes belong to its command.
    """

    def __init__(self, threads: int, *, has_partners: bool = False) -> None:
        self._has_partners = has_partners
        self._patience = Patience(threads)
        self._nothing = self._crowded = Crowding(len(allowed_cores()), threads)
        self._before = Usage.now(has_partners=has_partners)
        self._told = False

    def __enter__(self) -> "Neighbours":
        if self._before is not None:
            self._patience.hold()
        return self

    def __exit__(self, *_: object) -> None:
        self._patience.release()

    def look(self) -> str | None:
        """Look around if it is time to: crowded, the threads wait asleep. Once, what the user should know of it."""
        if self._before is None or time.perf_counter() < self._before.at + LOOK_SECONDS:
            return None
        before, now = self._before, Usage.now(has_partners=self._has_partners)
        if now is None:
            return None
        self._before = now
        lately = self._nothing.then(before, now)
        if lately.is_crowded:
            self._crowded = self._crowded.then(before, now)
            self._patience.hold()
        elif lately.has_room:
            self._patience.release()
        if self._told or self._crowded.seconds < TELL_SECONDS:
            return None
        self._told = True
        return self._crowded.text()
