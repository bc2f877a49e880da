"""Study `baselines`: solvers without distillation, at the students' number of evaluations."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from pdpipe.reporting import figures, formats
from pdpipe.reporting.intervals import apart, margin, with_margin
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.studies.section import Section
from pdpipe.reporting.tables import Table, floor_note

TUNED_NAME = ", tuned γ"
TUNED = 3  # an arm of so many gammas or more is tuned: the best by FID is taken for each cell


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to make images, and its rows: at most one for each w and number of evaluations."""

    name: str
    kind: str  # student or teacher
    rows: pd.DataFrame

    def at(self, budget: int, w: float) -> pd.Series[Any] | None:
        """The cell with the most network evaluations within a budget, if there is one."""
        found = self.rows[(self.rows["nfe"] <= budget) & (self.rows["w"] == w)]
        return None if found.empty else found.sort_values("nfe").iloc[-1]


def methods(frame: pd.DataFrame, m: Measurements) -> list[Method]:
    """Every method at equal evaluations: first the students, then the teacher; DDIM comes first."""
    found = []
    for kind in ("student", "teacher"):
        label = m.teacher_by if kind == "teacher" else "student by DDIM"
        found.append(Method(name=label, kind=kind, rows=m.select(kind)))
        rows = frame[frame["kind"] == kind]
        for (sampler, grid), arm in rows.groupby(["sampler", "grid"], sort=False):
            found += _of_arm(kind, str(sampler), str(grid), arm)
    return found


def _of_arm(kind: str, sampler: str, grid: str, rows: pd.DataFrame) -> list[Method]:
    name = "DDPM, respaced" if grid == "ddpm" else formats.sampler(sampler)
    gammas = sorted(rows["gamma"].dropna().unique())
    if not gammas:
        return [Method(name=f"{kind} by {name}", kind=kind, rows=rows)]
    tuned = len(gammas) >= TUNED
    shown = [gammas[0], gammas[-1]] if tuned and kind == "teacher" else [] if tuned else gammas
    found = [
        Method(name=f"{kind} by {name}, γ = {g:g}", kind=kind, rows=rows[rows["gamma"] == g])
        for g in shown
    ]
    if tuned:
        best = rows.loc[rows.groupby(["nfe", "w"])["fid"].idxmin()]
        found.append(Method(name=f"{kind} by {name}{TUNED_NAME}", kind=kind, rows=best))
    return found


def section(frame: pd.DataFrame, m: Measurements) -> Section:
    """The study's section, from its table and the chain's own measurements."""
    compared = methods(frame, m)
    budgets = sorted(frame["budget"].unique().tolist())
    weights = sorted(frame["w"].unique().tolist())
    return Section(
        title="Samplers without distillation",
        conclusion=conclusion(compared, m, budgets, weights),
        tables=[_table(compared, m, budgets, w) for w in weights],
        figure=_figure(compared, m, budgets, weights),
        caption=f"{m.named('FID')} against network evaluations an image, both logarithmic, with "
        "95 % intervals: the student and the teacher by each sampler, and the floor (dotted).",
    )


def _table(compared: list[Method], m: Measurements, budgets: list[int], w: float) -> Table:
    rows = [
        [method.name, *(_cell(method.at(budget, w), budget) for budget in budgets)]
        for method in compared
    ]
    return Table(
        title=f"Samplers at equal evaluations, {formats.weight(w)}",
        columns=["", *map(str, budgets)],
        rows=[row for row in rows if any(cell != formats.DASH for cell in row[1:])],
        groups=((f"{m.named('FID')}, by network evaluations an image", len(budgets)),),
        note="A guided teacher takes two evaluations a step. Where a sampler cannot take exactly "
        "as many evaluations, it takes fewer, in brackets. Tuned: the best γ by this FID, cell "
        "by cell, which favours it: what was picked as the lowest is a little too low. ± is the "
        f"95 % interval of a single figure. {floor_note(m)}",
    )


def _cell(row: pd.Series[Any] | None, budget: int) -> str:
    if row is None:
        return formats.DASH
    fewer = f" ({int(row['nfe'])})" if row["nfe"] != budget else ""
    return with_margin(row["fid"], margin(row["fid_se"], row["se_dof"])) + fewer


def conclusion(
    compared: list[Method], m: Measurements, budgets: list[int], weights: list[float]
) -> str:
    """How the student by DDIM stands against the best of the teacher's samplers, cell by cell."""
    said: dict[str, list[str]] = {"below": [], "not separated from": [], "above": []}
    for w in weights:
        for budget in budgets:
            student = compared[0].at(budget, w)
            rivals = [
                (row["fid"], method.name, row)
                for method in compared
                if method.kind == "teacher" and (row := method.at(budget, w)) is not None
            ]
            if student is None or student["nfe"] != budget or not rivals:
                continue
            _, name, rival = min(rivals, key=lambda found: found[0])
            verdict = "below" if student["fid"] < rival["fid"] else "above"
            if not apart(student, rival):
                verdict = "not separated from"
            said[verdict].append(
                f"{budget} at {formats.weight(w)} ({formats.figure(student['fid'])} against "
                f"{formats.figure(rival['fid'])}, {name.removeprefix('teacher by ')})"
            )
    parts = [
        f"{verdict} the teacher's best sampler with {', '.join(places)}"
        for verdict, places in said.items()
        if places
    ]
    if not parts:
        return "No student was measured with as many evaluations as the samplers."
    return (
        f"By network evaluations, the student's {m.named('FID')} is {'; it is '.join(parts)}. The "
        "best sampler is picked by this very FID, which favours the teacher."
    )


# Okabe and Ito's palette: students blue, the teacher by DDIM as elsewhere, then the other samplers.
_LOOKS = [
    (figures.STUDENT, "o"),
    ("#56b4e9", "s"),
    (figures.TEACHER, "D"),
    ("#009e73", "^"),
    ("#cc79a7", "v"),
    ("#e69f00", "P"),
    (figures.INK, "X"),
    (figures.FAINT, "<"),
]


def _figure(
    compared: list[Method], m: Measurements, budgets: list[int], weights: list[float]
) -> Figure:
    tuned = {
        method.name.partition(",")[0] for method in compared if method.name.endswith(TUNED_NAME)
    }
    shown = [  # a tuned method stands for those of a fixed gamma
        method
        for method in compared
        if method.name.partition(",")[0] not in tuned or method.name.endswith(TUNED_NAME)
    ]
    figure = Figure(figsize=(max(6.0, 4.4 * len(weights)), 5.2))
    panels = figure.subplots(1, len(weights), sharex=True, sharey=True, squeeze=False)[0]
    drawn = []
    for axes, w in zip(panels, weights, strict=True):
        axes.axhline(m.heldout["fid"], color=figures.FAINT, linestyle=":", label="floor")
        for method, (colour, marker) in zip(shown, cycle(_LOOKS)):
            found = [row for budget in budgets if (row := method.at(budget, w)) is not None]
            rows = {int(row["nfe"]): row for row in found}
            drawn += [row["fid"] for row in found]
            axes.errorbar(
                list(rows),
                [float(row["fid"]) for row in rows.values()],
                yerr=[margin(row["fid_se"], row["se_dof"]) for row in rows.values()],
                color=colour,
                marker=marker,
                linestyle="-" if method.kind == "student" else "--",
                label=method.name,
            )
        axes.set_title(formats.weight(w))
    figures.log_axis(panels[0], "y", pd.Series([*drawn, m.heldout["fid"]]))
    figures.steps_axis(panels[0], budgets)
    figure.supxlabel("network evaluations an image", fontsize=10, color=figures.INK)
    figure.supylabel(f"{m.named('FID')}, lower is better", fontsize=10, color=figures.INK)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, fontsize=9)
    return figure
