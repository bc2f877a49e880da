"""Study `baselines`: solvers without distillation, at the students' number of evaluations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from pdpipe.reporting import formats
from pdpipe.reporting.figures import Panel, draw_panels
from pdpipe.reporting.intervals import apart, fid_margin
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.metrics import FID
from pdpipe.reporting.studies.section import Study, StudySection
from pdpipe.reporting.studies.verdicts import sentence, standing
from pdpipe.reporting.tables import Table

TUNED = 3  # an arm of so many gammas or more is tuned: the best by FID is taken for each cell


Place = tuple[int, float]  # (network evaluations allowed, w)


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A way to make images.

    Methods of one `kind` and `sampler` differ in their gamma; a `tuned` one has the best by FID.
    `cells` has a row for each place at which there is one: that of the most network evaluations
    within the budget.
    """

    kind: str  # student or teacher
    sampler: str  # as it is called in the field
    gamma: float | None = None
    tuned: bool = False
    cells: dict[Place, pd.Series[Any]]

    @property
    def setting(self) -> str:
        """The sampler with its gamma."""
        if self.tuned:
            return f"{self.sampler}, tuned γ"
        return self.sampler if self.gamma is None else f"{self.sampler}, γ = {self.gamma:g}"

    @property
    def name(self) -> str:
        """`teacher by ancestral sampling, γ = 0.5`."""
        return f"{self.kind} by {self.setting}"


def methods(frame: pd.DataFrame, m: Measurements) -> list[Baseline]:
    """Every method at equal evaluations: first the students, then the teacher; DDIM comes first."""
    places = [(budget, w) for budget in _values(frame, "budget") for w in _values(frame, "w")]
    found = []
    for kind in ("student", "teacher"):
        own = m.select(kind)
        sampler = formats.sampler(own.iloc[0]["sampler"]) if len(own) else "DDIM"
        found.append(Baseline(kind=kind, sampler=sampler, cells=_cells(own, places)))
        rows = frame[frame["kind"] == kind]
        for (solver, grid), arm in rows.groupby(["sampler", "grid"], sort=False):
            called = "DDPM, respaced" if grid == "ddpm" else formats.sampler(str(solver))
            found += _of_arm(kind, called, arm, places)
    return found


def _of_arm(kind: str, sampler: str, rows: pd.DataFrame, places: list[Place]) -> list[Baseline]:
    gammas = sorted(rows["gamma"].dropna().unique())
    if not gammas:
        return [Baseline(kind=kind, sampler=sampler, cells=_cells(rows, places))]
    tuned = len(gammas) >= TUNED
    shown = [gammas[0], gammas[-1]] if tuned and kind == "teacher" else [] if tuned else gammas
    found = [
        Baseline(
            kind=kind, sampler=sampler, gamma=g, cells=_cells(rows[rows["gamma"] == g], places)
        )
        for g in shown
    ]
    if tuned:
        best = rows.loc[rows.groupby(["nfe", "w"])["fid"].idxmin()]
        found.append(Baseline(kind=kind, sampler=sampler, tuned=True, cells=_cells(best, places)))
    return found


def _cells(rows: pd.DataFrame, places: list[Place]) -> dict[Place, pd.Series[Any]]:
    """At each place the row of the most network evaluations within the budget, if there is one."""
    found = {}
    for budget, w in places:
        within = rows[(rows["nfe"] <= budget) & (rows["w"] == w)]
        if not within.empty:
            found[budget, w] = within.sort_values("nfe").iloc[-1]
    return found


def _values(frame: pd.DataFrame, column: str) -> list[Any]:
    return sorted(frame[column].unique().tolist())


def section(study: Study, m: Measurements) -> StudySection:
    """The study's section, from its table and the chain's own measurements."""
    frame = study.frame
    compared = methods(frame, m)
    budgets, weights = _values(frame, "budget"), _values(frame, "w")
    return StudySection(
        verdict=verdict(compared),
        tables=[*_best_tables(compared), *(_table(compared, budgets, w) for w in weights)],
        figure=_figure(compared, m, budgets, weights),
        caption="FID against network evaluations an image, both logarithmic, with "
        "95 % intervals: the student and the teacher by each sampler.",
    )


def _table(compared: list[Baseline], budgets: list[int], w: float) -> Table:
    rows = [
        [method.name, *(_cell(method.cells.get((budget, w)), budget) for budget in budgets)]
        for method in compared
    ]
    return Table(
        title=f"Samplers at equal evaluations, {formats.weight(w)}",
        columns=["", *map(str, budgets)],
        rows=[row for row in rows if any(cell != formats.DASH for cell in row[1:])],
        groups=(("FID, by network evaluations an image", len(budgets)),),
        note="A guided teacher takes two evaluations a step. Where a sampler cannot take exactly "
        "as many evaluations, it takes fewer, in brackets. Tuned: the best γ by this FID in "
        "each column, which favours it: what was picked as the lowest is a little too low. ± is "
        "the 95 % interval of a single figure.",
    )


def _cell(row: pd.Series[Any] | None, budget: int) -> str:
    fewer = f" ({int(row['nfe'])})" if row is not None and row["nfe"] != budget else ""
    return FID.shown(row) + fewer


@dataclass(frozen=True, kw_only=True)
class Best:
    """At one place, the student by DDIM and the lowest FID of the teacher's samplers."""

    student: pd.Series[Any]
    rival: pd.Series[Any]
    method: Baseline  # the rival's
    alike: int  # how many of the teacher's other samplers are not separated from the rival


def best(compared: list[Baseline]) -> dict[Place, Best]:
    """The best of the teacher's samplers wherever the student takes just as many evaluations."""
    teachers = [method for method in compared if method.kind == "teacher"]
    found = {}
    for place, student in compared[0].cells.items():
        rivals = [(method.cells[place], method) for method in teachers if place in method.cells]
        if student["nfe"] == place[0] and rivals:
            rival, method = min(rivals, key=lambda one: one[0]["fid"])
            alike = sum(not apart(row, rival) for row, other in rivals if other is not method)
            found[place] = Best(student=student, rival=rival, method=method, alike=alike)
    return found


RIVAL = "the best of the teacher's samplers"


def _evaluations(n: int) -> str:
    return f"{n} evaluation" if n == 1 else f"{n} evaluations"


def verdict(compared: list[Baseline]) -> str:
    """How the best of the teacher's samplers stands against the student by DDIM."""
    found = best(compared)
    if not found:
        return "No student was measured with as many evaluations as the samplers."
    rivals = {place: one.rival for place, one in found.items()}
    students = {place: one.student for place, one in found.items()}
    its = standing(rivals, students, _evaluations)
    return f"{sentence({RIVAL: its}, compared[0].name)}."


def _best_tables(compared: list[Baseline]) -> list[Table]:
    """What `verdict` is made of, place by place; none where there is nothing."""
    rows = [
        [
            str(budget),
            formats.weight(w),
            FID.shown(one.student),
            FID.shown(one.rival),
            one.method.setting,
            str(one.alike),
        ]
        for (budget, w), one in best(compared).items()
    ]
    table = Table(
        title="The student beside the best of the teacher's samplers",
        columns=["evaluations", "w", "student", "teacher", "by", "others alike"],
        rows=rows,
        groups=(("", 1), ("FID", 2), ("", 2)),
        note="The best is picked by this very FID, which favours the teacher. Others alike: how "
        "many of the teacher's other samplers are not separated from it; where there are any, "
        "which sampler is the best is open.",
    )
    return [table] if rows else []


# Students blue, the teacher by DDIM as elsewhere, then the other samplers.
_LOOKS = "student o, sky s, teacher D, green ^, pink v, orange P, ink X, faint <"


def _figure(
    compared: list[Baseline], m: Measurements, budgets: list[int], weights: list[float]
) -> Figure:
    tuned = {(method.kind, method.sampler) for method in compared if method.tuned}
    shown = [  # a tuned method stands for those of a fixed gamma
        method for method in compared if method.tuned or (method.kind, method.sampler) not in tuned
    ]

    def panel(w: float) -> Panel:
        curves = []
        for method in shown:
            found = [method.cells[budget, w] for budget in budgets if (budget, w) in method.cells]
            points = {int(row["nfe"]): (float(row["fid"]), fid_margin(row)) for row in found}
            curves.append((method.name, [(nfe, *point) for nfe, point in points.items()]))
        return formats.weight(w), None, curves

    figure = Figure(figsize=(max(6.0, 4.4 * len(weights)), 5.2))
    draw_panels(
        figure,
        [panel(w) for w in weights],
        budgets,
        _LOOKS,
        "network evaluations an image",
        f"{m.named('FID')}, lower is better",
        across=len(weights),
        dashed=[method.name for method in shown if method.kind == "teacher"],
    )
    return figure
