"""A proof of resuming: how far it is, and what came of it."""

import math
from typing import TYPE_CHECKING

from lbadvisor.cli.display.progress import Step, prepared
from lbadvisor.training.data.dataset import Preparing

if TYPE_CHECKING:
    from lbadvisor.runs.resume_proof import ProofProgress, ResumeProof


def proof_text(proof: "ResumeProof") -> str:
    """What was compared and what came of it, in a line."""
    on = f" on {proof.ranks} ranks" if proof.ranks > 1 else ""
    how = (
        f"kill -9 at update {proof.killed_at} (epoch {proof.epoch:.4g}), resumed from update {proof.resumed_from} "
        f"{'in a new process' if proof.ranks == 1 else 'in new processes'}"
    )
    where = f"{proof.environment.device} ({proof.environment.device_name}), torch {proof.environment.torch_version}"
    found = proof.difference
    if found is None:
        return (
            f"bit-identical after {proof.updates} updates{on}: {how}; {proof.tensors} tensors and {proof.measurements} "
            f"measurements compared; {where}"
        )
    by = "" if math.isnan(found.largest) else f", by up to {found.largest:.3g}"
    return (
        f"not bit-identical after {proof.updates} updates{on}: {found.name} is the first to differ, "
        f"{found.elements} of {found.of} elements{by}; {how}; {where}"
    )


def proof_step(event: "Preparing | ProofProgress") -> Step:
    """How far a part of the proof is."""
    if isinstance(event, Preparing):
        return prepared(event)
    return Step(f"updates, {event.part}", event.update, event.until, f"{event.update} of {event.until}")
