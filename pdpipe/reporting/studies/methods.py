"""A study of students: its methods beside a baseline, cell by cell over N and w."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.figure import Figure, FigureBase

from pdpipe.reporting import formats
from pdpipe.reporting.figures import Panel, draw_panels
from pdpipe.reporting.intervals import fid_margin
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.metrics import FID, INCEPTION_SCORE, Quantity
from pdpipe.reporting.studies.section import Study, StudySection
from pdpipe.reporting.studies.verdicts import Standing, sentence, standing, standings_table
from pdpipe.reporting.tables import Table

Cells = dict[tuple[int, float], "pd.Series[Any]"]
"""{(steps, w): the row there}.

Of repetitions, trained with other seeds, its figures are means, with the standard errors of these
by their spread; `repeats` counts them."""

Methods = dict[str, Cells]
"""{name: its cells}; the baseline comes first.

Of several gammas of a sampler the best by FID stands in each cell."""

SHOWN = (FID, INCEPTION_SCORE)  # a table each


def section(study: Study, m: Measurements) -> StudySection:
    """The study's section, from its table and the chain's own measurements."""
    compared = methods(study, m)
    steps = sorted(study.frame["steps"].unique().tolist(), reverse=True)
    weights = sorted(study.frame["w"].unique().tolist())
    across = min(len(weights), 3)
    down = math.ceil(len(weights) / across)
    figure = Figure(figsize=(max(5.0, 3.6 * across), 1.2 + 3.2 * down))
    draw(figure, compared, m, steps, weights, across)
    return StudySection(
        verdict=verdict(compared),
        tables=[
            *beside(compared),
            *(table(compared, steps, weights, metric=metric) for metric in SHOWN),
        ],
        figure=figure,
        caption=CAPTION,
    )


def methods(study: Study, m: Measurements) -> Methods:
    """The baseline, then the study's methods in the order of its table.

    Where a baseline of the study's own is set, the chain's students are not compared.
    """
    frame = best_gammas(study.frame)
    own = {str(name): cells(rows) for name, rows in frame.groupby("method", sort=False)}
    if study.baseline:
        return {study.baseline: own.pop(study.baseline), **own}
    return {"student of the main chain": cells(m.select("student")), **own}


def best_gammas(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep the best gamma, by FID, for each arm, N and w."""
    tuned = frame["gamma"].notna()
    lowest = frame[tuned].groupby(["arm", "steps", "w"])["fid"].idxmin()
    return frame[~tuned | frame.index.isin(lowest)]


def cells(rows: pd.DataFrame) -> Cells:
    """The cells of one method."""
    places: dict[tuple[int, float], list[pd.Series[Any]]] = {}
    for _, row in rows.iterrows():
        places.setdefault((int(row["steps"]), float(row["w"])), []).append(row)
    return {place: _mean(found) for place, found in places.items()}


def _mean(found: list[pd.Series[Any]]) -> pd.Series[Any]:
    cell = found[0].copy()
    cell["repeats"] = len(found)
    if len(found) > 1:
        for metric in SHOWN:
            values = pd.Series([row[metric.column] for row in found], dtype="float64")
            cell[metric.column], cell[f"{metric.column}_se"] = values.mean(), values.sem()
        cell["se_dof"] = len(found) - 1
    return cell


def table(
    compared: Methods,
    steps: list[int],
    weights: list[float],
    topic: str = "",
    metric: Quantity = FID,
) -> Table:
    """A figure of each method over N and w; of a study with several topics, those of one."""
    rows = [
        [formats.steps(n), name, *(_cell(found.get((n, w)), metric) for w in weights)]
        for n in steps
        for name, found in compared.items()
    ]
    every = [cell for found in compared.values() for cell in found.values()]
    two = any(cell["nfe"] > cell["steps"] for cell in every)
    repeated = any(cell["repeats"] > 1 for cell in every)
    tuned = any(pd.notna(cell["gamma"]) for cell in every)
    notes = [
        "In brackets: the network evaluations an image where they are more than the steps." * two,
        "± is the 95 % interval of a single figure, over other generated images; another training "
        "would move it too.",
        "Where a method was trained with several seeds, it is that of their mean, by their spread."
        * repeated,
        "Tuned: the best γ by FID for each N and w, which favours it." * tuned,
    ]
    return Table(
        title=f"{metric.name} of each method{topic and f', {topic}'}",
        columns=["steps", "method", *map(formats.weight, weights)],
        rows=[row for row in rows if any(cell != formats.DASH for cell in row[2:])],
        note=" ".join(filter(None, notes)),
    )


def _cell(row: pd.Series[Any] | None, metric: Quantity) -> str:
    more = f" ({int(row['nfe'])})" if row is not None and row["nfe"] > row["steps"] else ""
    return metric.shown(row) + more


def standings(compared: Methods) -> dict[str, Standing]:
    """How each method stands beside the baseline, where both were measured at some N and w."""
    (_, baseline), *others = compared.items()
    found = {name: standing(own, baseline) for name, own in others}
    return {name: one for name, one in found.items() if one.found}


def verdict(compared: Methods) -> str:
    """How the methods stand beside the baseline, in a sentence."""
    baseline, found = next(iter(compared)), standings(compared)
    if not found:
        return f"No method was measured at a step count and w of the baseline, {baseline}."
    return f"{sentence(found, baseline)}."


def beside(compared: Methods) -> list[Table]:
    """The table of `standings`; none where there are none."""
    found = standings(compared)
    return [standings_table(found, next(iter(compared)))] if found else []


# The baseline is the students' blue.
_LOOKS = "student o, orange s, green ^, pink v, sky P, teacher D, ink X, faint <"


CAPTION = (  # of what `draw` draws
    "FID against steps, both logarithmic, with 95 % intervals: each method of the study and its "
    "baseline."
)


def draw(
    drawing: FigureBase,
    compared: Methods,
    m: Measurements,
    steps: list[int],
    weights: list[float],
    across: int,
) -> None:
    """A panel for each w, so many side by side, in a figure or a part of one."""

    def panel(w: float) -> Panel:
        curves = []
        for name, found in compared.items():
            shown = [(n, found[n, w]) for n in sorted(steps) if (n, w) in found]
            curves.append((name, [(n, float(row["fid"]), fid_margin(row)) for n, row in shown]))
        return formats.weight(w), None, curves

    panels, y = [panel(w) for w in weights], f"{m.named('FID')}, lower is better"
    draw_panels(drawing, panels, steps, _LOOKS, "steps", y, across=across)
