"""A diagnostic that is to be made: what it costs, how far it is, and what its value says."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from lbadvisor.diagnostics.advance import Advance
from lbadvisor.records.diagnosis import Diagnosis
from lbadvisor.training.data.dataset import Preparing

Events = Generator[Preparing | Advance, None, Any]
"""How far a diagnostic is, and in the end its value."""


@dataclass(frozen=True, slots=True)
class PlannedDiagnostic:
    """A diagnostic to make: what it costs in words, its events, and what its value says."""

    cost: str
    events: Events
    diagnosis_of: Callable[[Any], Diagnosis]
