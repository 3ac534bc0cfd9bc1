"""A work that can be sent to jobs: it logs that a server does not answer."""

import logging

from lbadvisor.runs.jobs import Silence


def silent_server(_workspace):
    logging.getLogger("lbadvisor.store.outage").warning("the database %s does not answer", "lab")
    yield Silence()
