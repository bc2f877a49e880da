"""Study `parameterization`: what the network predicts, and the loss weight (PD, Table 1).

A method called `teacher: prediction, loss weight` is a cell of the ablation of teachers; the others
are compared as students.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from pdpipe.reporting import formats
from pdpipe.reporting.intervals import apart
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.metrics import FID
from pdpipe.reporting.studies import methods
from pdpipe.reporting.studies.section import Study, StudySection
from pdpipe.reporting.studies.verdicts import joined, uncapitalized
from pdpipe.reporting.tables import Table

TEACHER = "teacher: "
STUDENTS = "students: "  # in the names of the others, which the sentence leaves out


def section(study: Study, m: Measurements) -> StudySection:
    """The study's section, from its table and the chain's own measurements."""
    taught = study.frame["method"].str.startswith(TEACHER)
    own = replace(study, frame=study.frame[~taught])
    students, compared = methods.section(own, m), methods.methods(own, m)
    ablations = [rows for _, rows in study.frame[taught].groupby(["steps", "w"])]
    distilled = {name.removeprefix(STUDENTS): cells for name, cells in compared.items()}
    said = [_lowest(rows) for rows in ablations]
    if methods.standings(distilled):
        said.append(f"after distillation, {uncapitalized(methods.verdict(distilled))}")
    tables = [_table(rows) for rows in ablations]
    return replace(
        students,
        verdict=f"{'; '.join(said).removesuffix('.')}." if said else students.verdict,
        tables=[*tables, *students.tables],
    )


def _setting(row: pd.Series[Any]) -> tuple[str, str]:
    """(prediction, loss weight) of a teacher."""
    prediction, _, weight = str(row["method"]).removeprefix(TEACHER).rpartition(", ")
    return prediction, weight


def _place(rows: pd.DataFrame) -> str:
    """Where all of these were measured, in words."""
    steps, w = int(rows["steps"].iloc[0]), float(rows["w"].iloc[0])
    return f"by DDIM, {formats.steps(steps)}, {formats.weight(w)}"


def _table(rows: pd.DataFrame) -> Table:
    cells = {_setting(row): row for _, row in rows.iterrows()}
    predictions = list(dict.fromkeys(prediction for prediction, _ in cells))
    weights = list(dict.fromkeys(weight for _, weight in cells))
    return Table(
        title=f"Teachers {_place(rows)}",
        columns=["network predicts", *weights],
        rows=[[p, *(FID.shown(cells.get((p, weight))) for weight in weights)] for p in predictions],
        groups=(("FID, by the weight of the loss on x", len(weights)),),
        note="± is the 95 % interval of a single figure, of one training.",
    )


def _lowest(rows: pd.DataFrame) -> str:
    """The lowest FID of the teachers, and those that are not separated from it."""
    best, *others = (row for _, row in rows.sort_values("fid").iterrows())
    alike = [_named(row) for row in others if not apart(row, best)]
    said = (
        f"Of {len(rows)} teachers ({_place(rows).removeprefix('by ')}), {_named(best)} has the "
        f"lowest FID, {formats.figure(best['fid'])}"
    )
    return f"{said}, not separated from {joined(alike)}" if alike else said


def _named(row: pd.Series[Any]) -> str:
    """`v with SNR`."""
    prediction, weight = _setting(row)
    return f"{prediction} with {weight}"
