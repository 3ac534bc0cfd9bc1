"""The program as several processes that train together: rank 0 runs the command, the others train with it."""

import gc
import os
from collections.abc import Callable


def are_started() -> bool:
    """Whether a launcher, such as torchrun, started this process as one of several ranks."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def run_on_ranks(command: Callable[[], object]) -> None:
    """Run the command on rank 0, and train what it trains on the others; all of them exit with the same code.

    Raises what the command raises.
    """
    from lbadvisor.runs.attending import attend
    from lbadvisor.runs.signals import handled_by
    from lbadvisor.training.ranks import joined

    code = 0
    with joined() as ranks:
        if ranks.is_first:
            try:
                command()
            except SystemExit as end:
                code = int(end.code or 0)
            ranks.tell(code)
        else:
            # Rank 0 says when to stop.
            with handled_by(lambda *_: None):
                code = attend(ranks)
        # What still holds a part of the group must go before it is closed.
        gc.collect()
    raise SystemExit(code)
