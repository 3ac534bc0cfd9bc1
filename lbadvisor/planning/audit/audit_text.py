"""An audit in words and as a table."""

from lbadvisor.planning.audit.audit import Audit
from lbadvisor.records.diagnosis import Diagnosis, Grid
from lbadvisor.records.numerals import value_text


def diagnosis_of(audit: Audit) -> Diagnosis:
    """The audit in words and as a table."""
    place = next(place for place, line in enumerate(audit.lines) if line.what == "batch size")
    factors = [f"{value_text(line.trainer)} {line.what}" for line in audit.lines[:place] if line.trainer != 1]
    said = [f"An update of {audit.trainer} takes {audit.batch_size:,} examples: {' x '.join(factors)}."]
    said += [f"{departure}." for departure in audit.departures]
    if audit.plan_command:
        nothing = (
            "" if audit.departures else f"{audit.trainer} departs from the plan in nothing that this setting decides. "
        )
        said.append(f"{nothing}The whole plan, with its sources: {audit.plan_command}")
    rows = tuple((line.what, value_text(line.trainer), value_text(line.plan), line.source) for line in audit.lines)
    return Diagnosis(
        title=f"{audit.trainer} at batch size {audit.batch_size:,}",
        conclusion="\n".join(said),
        grids=(Grid("", ("", f"{audit.trainer} does", "the plan says", "source"), ("", "", "", ""), rows),),
        caveats=audit.notes,
    )
