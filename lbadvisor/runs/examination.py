"""All diagnostics of stored runs, one after the other, each at a modest cost."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lbadvisor.diagnostics.advance import Advance
from lbadvisor.diagnostics.covariance.covariance_diagnosis import covariance_diagnosis
from lbadvisor.diagnostics.covariance.increments import CovarianceRequest, default_points, probe_covariance
from lbadvisor.diagnostics.diffusion.diffusion import diffusion_of
from lbadvisor.diagnostics.diffusion.diffusion_diagnosis import diagnosis_of_diffusion
from lbadvisor.diagnostics.landscape.landscape import default_examples
from lbadvisor.diagnostics.landscape.minima import diagnosis_of_minima
from lbadvisor.diagnostics.landscape.potential import diagnosis_of_potential
from lbadvisor.diagnostics.landscape.random_walks import PotentialRequest, probe_potential
from lbadvisor.diagnostics.noise.noise_estimate import stored_moments
from lbadvisor.diagnostics.noise.noise_findings import noise_diagnosis, noise_findings
from lbadvisor.diagnostics.noise.noise_probe import NoiseRequest, default_length, measure_noise
from lbadvisor.diagnostics.planned import Events, PlannedDiagnostic
from lbadvisor.errors import LbadvisorError, UsageError
from lbadvisor.planning.request import Request
from lbadvisor.recipe.identity import digest_of
from lbadvisor.records.diagnosis import Diagnosis
from lbadvisor.records.numerals import counted
from lbadvisor.records.quantities import GRADIENT_SQUARE
from lbadvisor.records.run import Run
from lbadvisor.runs.farthest_run import farthest_run
from lbadvisor.runs.probed_minima import check_minima, probe_minima
from lbadvisor.runs.selection import Selection
from lbadvisor.runs.subject import Subject
from lbadvisor.runs.workspace import Workspace
from lbadvisor.training.data.dataset import Preparing

RUNS_OF_EACH_RECIPE = 3
DIRECTIONS = 16
COVARIANCE_BATCHES = 16
EPSILON = 1e-3


@dataclass(frozen=True, slots=True)
class Examined:
    """What came of the diagnostic `name`; its value is None, and the diagnosis says why, if it could not be made."""

    name: str
    value: Any | None
    diagnosis: Diagnosis


def planned(workspace: Workspace, subject: Subject) -> dict[str, PlannedDiagnostic]:
    """Every diagnostic by its name, with the reason as its cost if the runs do not allow it."""
    plans = {}
    for name, plan in DIAGNOSTICS.items():
        try:
            plans[name] = plan(workspace, subject)
        except LbadvisorError as error:
            plans[name] = PlannedDiagnostic(f"not measured: {error}", _refused(error), lambda _: Diagnosis("", ""))
    return plans


def examine(plans: Mapping[str, PlannedDiagnostic]) -> Generator[Preparing | Advance, None, tuple[Examined, ...]]:
    """Make the diagnostics; stores nothing."""
    findings = []
    for name, plan in plans.items():
        try:
            value = yield from plan.events
            findings.append(Examined(name, value, plan.diagnosis_of(value)))
        except LbadvisorError as error:
            findings.append(Examined(name, None, Diagnosis(name.capitalize(), f"Not measured: {error}.")))
    return tuple(findings)


def _refused(error: LbadvisorError) -> Events:
    yield from ()
    raise error


def _at_once(make: Callable[[], Any]) -> Events:
    yield from ()
    return make()


def _diffusion(workspace: Workspace, subject: Subject) -> PlannedDiagnostic:
    runs, labels = subject.selection.runs, subject.selection.labels
    events = _at_once(lambda: diffusion_of(workspace.store, runs, labels))
    return PlannedDiagnostic(f"the measurements of {counted(len(runs), 'run')}", events, diagnosis_of_diffusion)


def _potential(workspace: Workspace, subject: Subject) -> PlannedDiagnostic:
    baseline, reach = subject.baseline, farthest_run(workspace.store, subject.baseline)
    request = PotentialRequest(baseline, default_examples(baseline), (0,), DIRECTIONS, reach)
    first = f"{request.updates:,} updates, then " if request.updates else ""
    cost = f"{first}{request.losses:,} times the loss of {request.examples:,} examples"
    return PlannedDiagnostic(cost, probe_potential(workspace.machine, request), diagnosis_of_potential)


def _noise(workspace: Workspace, subject: Subject) -> PlannedDiagnostic:
    """From what the runs read, if they did; of several recipes that of the first run that read."""
    store, baseline, target = workspace.store, subject.baseline, subject.target_batch_size
    read = [run for run in subject.selection.runs if store.readings(run.number, GRADIENT_SQUARE)]
    read = [run for run in read if digest_of(run.recipe) == digest_of(read[0].recipe)]
    if read:
        source, size = ", ".join(run.name for run in read), read[0].recipe.batch.size
        events = _at_once(lambda: noise_findings(source, size, target, stored_moments(store, read)))
        return PlannedDiagnostic(f"the readings of {counted(len(read), 'run')}", events, noise_diagnosis)
    request = NoiseRequest(baseline, target, default_length(baseline, 1), (0,))
    cost = f"{request.updates:,} updates of the baseline, {request.examples:,} examples"
    return PlannedDiagnostic(cost, measure_noise(workspace.machine, request), noise_diagnosis)


def _covariance(workspace: Workspace, subject: Subject) -> PlannedDiagnostic:
    baseline, target = subject.baseline, subject.target_batch_size
    if target is None:
        raise UsageError("no run was adapted to a larger batch: name a ladder, or an adapted run")
    points = default_points(baseline)
    request = CovarianceRequest(baseline, Request(target, ("ghost",)), points, COVARIANCE_BATCHES, seed=0)
    cost = f"the gradients of {request.examples:,} examples"
    return PlannedDiagnostic(cost, probe_covariance(workspace.machine, request), covariance_diagnosis)


def _sharpness(workspace: Workspace, subject: Subject) -> PlannedDiagnostic:
    """The minima of a few runs of each recipe; runs without one are left out, and named."""
    examples = default_examples(subject.baseline)
    kept: list[Run] = []
    left_out: list[str] = []
    for run in subject.of_each_recipe(RUNS_OF_EACH_RECIPE):
        try:
            check_minima(workspace.store, Selection((run,), ()), examples)
            kept.append(run)
        except LbadvisorError as error:
            left_out.append(str(error))
    if not kept:
        raise LbadvisorError("; ".join(left_out))

    def diagnosis_of(found: Any) -> Diagnosis:
        diagnosis = diagnosis_of_minima(found)
        return replace(diagnosis, caveats=(*(f"Left out: {why}." for why in left_out), *diagnosis.caveats))

    selection = Selection(tuple(kept), _labels(kept, subject.selection))
    events = probe_minima(workspace.store, workspace.machine, selection, examples, EPSILON)
    return PlannedDiagnostic(
        f"the minima of {counted(len(kept), 'run')} on {examples:,} examples", events, diagnosis_of
    )


def _labels(runs: Sequence[Run], selection: Selection) -> tuple[tuple[int, str], ...]:
    numbers = {run.number for run in runs}
    return tuple(label for label in selection.labels if label[0] in numbers)


DIAGNOSTICS: dict[str, Callable[[Workspace, Subject], PlannedDiagnostic]] = {
    "diffusion": _diffusion,
    "potential": _potential,
    "noise": _noise,
    "covariance": _covariance,
    "sharpness": _sharpness,
}
"""In the order of the paper's argument."""
