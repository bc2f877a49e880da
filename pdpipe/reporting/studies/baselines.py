"""Study `baselines`: solvers without distillation, at the students' number of evaluations."""

from __future__ import annotations

from dataclasses import dataclass
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
    """A way to make images, and its rows: at most one for each budget and w.

    A budget is the most network evaluations that an image may take.
    """

    name: str
    kind: str  # student or teacher
    rows: pd.DataFrame

    def at(self, budget: int, w: float) -> pd.Series[Any] | None:
        """The cell that makes the most of a budget, if there is one within it."""
        found = self.rows[(self.rows["budget"] <= budget) & (self.rows["w"] == w)]
        return None if found.empty else found.sort_values("nfe").iloc[-1]


def methods(frame: pd.DataFrame, m: Measurements) -> list[Method]:
    """Every method at equal evaluations: first the students, then the teacher; DDIM comes first."""
    found = []
    for kind in ("student", "teacher"):
        ddim = m.select(kind).assign(budget=lambda rows: rows["nfe"])
        label = m.teacher_by if kind == "teacher" else "student by DDIM"
        found.append(Method(name=label, kind=kind, rows=ddim))
        rows = frame[frame["kind"] == kind]
        for (sampler, grid), arm in rows.groupby(["sampler", "grid"], sort=False):
            found += _of_arm(kind, str(sampler), str(grid), arm)
    return found


def _of_arm(kind: str, sampler: str, grid: str, rows: pd.DataFrame) -> list[Method]:
    name = "DDPM, respaced" if grid == "ddpm" else formats.sampler(sampler)
    gammas = sorted(rows["gamma"].dropna().unique())
    if not gammas:
        return [Method(name=f"{kind} by {name}", kind=kind, rows=rows)]
    ends = [] if kind == "student" else [gammas[0], gammas[-1]]
    found = [
        Method(name=f"{kind} by {name}, γ = {g:g}", kind=kind, rows=rows[rows["gamma"] == g])
        for g in dict.fromkeys(ends)
    ]
    if len(gammas) >= TUNED:
        best = rows.loc[rows.groupby(["budget", "w"])["fid"].idxmin()]
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
        note="A guided teacher takes two evaluations a step. Tuned: the best of 11 γ by this very "
        "FID, cell by cell. Where a sampler cannot take exactly as many evaluations, it takes "
        f"fewer, in brackets. ± is the 95 % interval. {floor_note(m)}",
    )


def _cell(row: pd.Series[Any] | None, budget: int) -> str:
    if row is None:
        return formats.DASH
    fewer = f" ({int(row['nfe'])})" if row["nfe"] != budget else ""
    return with_margin(row["fid"], row["fid_se"]) + fewer


def conclusion(
    compared: list[Method], m: Measurements, budgets: list[int], weights: list[float]
) -> str:
    """How the student by DDIM stands against the best of the teacher's samplers, cell by cell."""
    said: dict[str, list[str]] = {"below": [], "level with": [], "above": []}
    for w in weights:
        for budget in budgets:
            student = compared[0].at(budget, w)
            rivals = [
                (row["fid"], method.name, row)
                for method in compared
                if method.kind == "teacher" and (row := method.at(budget, w)) is not None
            ]
            if student is None or not rivals:
                continue
            _, name, rival = min(rivals, key=lambda found: found[0])
            verdict = "level with" if not apart(student, rival) else "below"
            if verdict == "below" and student["fid"] > rival["fid"]:
                verdict = "above"
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
    return f"By network evaluations, the student's {m.named('FID')} is {'; it is '.join(parts)}."


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
        for method, (colour, marker) in zip(shown, _LOOKS, strict=False):
            found = [row for budget in budgets if (row := method.at(budget, w)) is not None]
            rows = {int(row["nfe"]): row for row in found}
            drawn += [row["fid"] for row in found]
            axes.errorbar(
                list(rows),
                [float(row["fid"]) for row in rows.values()],
                yerr=[margin(row["fid_se"]) for row in rows.values()],
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
