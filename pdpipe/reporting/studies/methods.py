"""A study of students: its methods beside a baseline, cell by cell over N and w."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from typing import Any

import pandas as pd
from matplotlib.figure import Figure, FigureBase

from pdpipe.reporting import figures, formats
from pdpipe.reporting.intervals import apart, fid_margin
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.metrics import FID, INCEPTION_SCORE, Metric
from pdpipe.reporting.studies.section import Section, Study
from pdpipe.reporting.tables import Table, floor_note

Cells = dict[tuple[int, float], "pd.Series[Any]"]
"""{(steps, w): the row there}.

Of repetitions, trained with other seeds, its figures are means, with the standard errors of these
by their spread; `repeats` counts them."""

Methods = dict[str, Cells]
"""{name: its cells}; the baseline comes first.

Of several gammas of a sampler the best by FID stands in each cell."""

SHOWN = (FID, INCEPTION_SCORE)  # a table each
VERDICTS = ("below", "not separated from", "above")


def section(study: Study, m: Measurements) -> Section:
    """The study's section, from its table and the chain's own measurements."""
    compared = methods(study, m)
    steps = sorted(study.frame["steps"].unique().tolist(), reverse=True)
    weights = sorted(study.frame["w"].unique().tolist())
    return Section(
        conclusion=conclusion(compared, m, steps, weights),
        tables=[table(compared, m, steps, weights, metric=metric) for metric in SHOWN],
        figure=figure(compared, m, steps, weights),
        caption=caption(m),
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
    m: Measurements,
    steps: list[int],
    weights: list[float],
    topic: str = "",
    metric: Metric = FID,
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
        "Tuned: the best γ by FID, cell by cell, which favours it." * tuned,
        floor_note(m, metric),
    ]
    return Table(
        title=f"{metric.heading(m)} of each method{topic and f', {topic}'}",
        columns=["steps", "method", *map(formats.weight, weights)],
        rows=[row for row in rows if any(cell != formats.DASH for cell in row[2:])],
        note=" ".join(filter(None, notes)),
    )


def _cell(row: pd.Series[Any] | None, metric: Metric) -> str:
    if row is None:
        return formats.DASH
    more = f" ({int(row['nfe'])})" if row["nfe"] > row["steps"] else ""
    return metric.shown(row) + more


def conclusion(compared: Methods, m: Measurements, steps: list[int], weights: list[float]) -> str:
    """How each method stands against the baseline at equal steps, cell by cell."""
    baseline = next(iter(compared))
    sentences = standings(compared, steps, weights)
    if not sentences:
        return f"No method was measured at a step count and w of the baseline, {baseline}."
    return f"{against(baseline, m)} {' '.join(sentences)}"


def against(baseline: str, m: Measurements) -> str:
    """What the sentences of `standings` speak of."""
    return f"{m.named('FID')} against that of the baseline ({baseline}) at equal steps."


def standings(compared: Methods, steps: list[int], weights: list[float]) -> list[str]:
    """A sentence for each method that was measured at a step count and w of the baseline."""
    baseline, *rest = compared
    sentences = []
    for name in rest:
        said: dict[str, list[tuple[int, float]]] = {verdict: [] for verdict in VERDICTS}
        for n in steps:
            for w in weights:
                mine, theirs = (compared[key].get((n, w)) for key in (name, baseline))
                if mine is not None and theirs is not None:
                    said[verdict(mine, theirs)].append((n, w))
        parts = [f"{key} it {_places(places)}" for key, places in said.items() if places]
        if parts:
            sentences.append(f"{name}: {'; '.join(parts)}.")
    return sentences


def verdict(mine: pd.Series[Any], theirs: pd.Series[Any]) -> str:
    """One of `VERDICTS`: only what the intervals separate is below or above."""
    if not apart(mine, theirs):
        return "not separated from"
    return "below" if mine["fid"] < theirs["fid"] else "above"


def _places(places: Iterable[tuple[int, float]]) -> str:
    """`with 4 steps at w = 0, 1; with 2 at w = 4`, in words."""
    by_steps: dict[int, list[str]] = {}
    for n, w in places:
        by_steps.setdefault(n, []).append(f"{w:g}")
    return ", ".join(
        f"with {formats.steps(n)} at w = {', '.join(found)}" for n, found in by_steps.items()
    )


# Okabe and Ito's palette; the baseline is the students' blue.
_LOOKS = [
    (figures.STUDENT, "o"),
    ("#e69f00", "s"),
    ("#009e73", "^"),
    ("#cc79a7", "v"),
    ("#56b4e9", "P"),
    (figures.TEACHER, "D"),
    (figures.INK, "X"),
    (figures.FAINT, "<"),
]


def caption(m: Measurements) -> str:
    """What `figure` shows."""
    return (
        f"{m.named('FID')} against steps, both logarithmic, with 95 % intervals: each method of "
        "the study, its baseline, and the floor (dotted)."
    )


def figure(compared: Methods, m: Measurements, steps: list[int], weights: list[float]) -> Figure:
    """A panel for each w, a curve for each method."""
    columns = min(len(weights), 3)
    rows = -(-len(weights) // columns)
    drawing = Figure(figsize=(max(5.0, 3.6 * columns), 1.2 + 3.2 * rows))
    draw(drawing, compared, m, steps, weights, columns)
    return drawing


def draw(
    drawing: FigureBase,
    compared: Methods,
    m: Measurements,
    steps: list[int],
    weights: list[float],
    columns: int,
) -> None:
    """The panels of `figure`, so many side by side, into a figure or a part of one."""
    rows = -(-len(weights) // columns)
    panels = drawing.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    drawn = [m.heldout["fid"]]
    for axes, w in zip(panels, weights, strict=False):
        axes.axhline(m.heldout["fid"], color=figures.FAINT, linestyle=":", label="floor")
        for (name, found), (colour, marker) in zip(compared.items(), cycle(_LOOKS)):
            shown = [found[n, w] for n in sorted(steps) if (n, w) in found]
            drawn += [cell["fid"] for cell in shown]
            axes.errorbar(
                [int(cell["steps"]) for cell in shown],
                [float(cell["fid"]) for cell in shown],
                yerr=[fid_margin(cell) for cell in shown],
                color=colour,
                marker=marker,
                label=name,
            )
        axes.set_title(formats.weight(w))
    for axes in panels[len(weights) :]:
        axes.set_visible(False)
    figures.log_axis(panels[0], "y", pd.Series(drawn))
    figures.steps_axis(panels[0], sorted(steps))
    drawing.supxlabel("steps", fontsize=10, color=figures.INK)
    drawing.supylabel(f"{m.named('FID')}, lower is better", fontsize=10, color=figures.INK)
    handles, labels = panels[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside upper center", ncols=2, fontsize=9)
