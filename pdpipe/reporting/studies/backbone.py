"""Study `backbone`: students of another network, beside the chain's and their own teacher."""

from __future__ import annotations

from dataclasses import replace

from pdpipe.reporting import formats
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.studies import methods
from pdpipe.reporting.studies.methods import Cells
from pdpipe.reporting.studies.section import Study, StudySection
from pdpipe.reporting.studies.verdicts import sentence, times


def section(study: Study, m: Measurements) -> StudySection:
    """The comparison of methods; its verdict is on the students, beside their own teacher too."""
    found, compared = methods.section(study, m), methods.methods(study, m)
    baseline, chains = next(iter(compared.items()))
    kinds = study.frame.groupby("method", sort=False)["kind"].first()
    students = {k: v for k, v in methods.standings(compared).items() if kinds[k] == "student"}
    teachers = [cells for name, cells in compared.items() if kinds.get(name) == "teacher"]
    if len(students) != 1 or len(teachers) != 1:
        return found
    (name,), (teacher,) = students, teachers
    most = max(n for n, _ in teacher)
    own = {w: float(row["fid"]) for (n, w), row in teacher.items() if n == most}
    parts = [sentence(students, baseline)]
    if kept := _ratios(compared[name], own):
        its = f"it is {times(kept, f'that of their own teacher at {formats.steps(most)}')}"
        chain = _ratios(chains, {w: float(m.full(w)["fid"]) for w in m.guidance})
        beside = "" if study.baseline else f", against {times(chain)} in the main chain"
        parts.append(f"{its}{beside}")
    return replace(found, verdict=f"{'; '.join(parts)}.")


def _ratios(students: Cells, teacher: dict[float, float]) -> list[float]:
    """The students' FIDs by that of a teacher at the same w."""
    return [float(row["fid"]) / teacher[w] for (_, w), row in students.items() if w in teacher]
