"""Clouds of points in the plane, a panel each: the figure of the toy."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure
from torch import Tensor

from pdpipe.reporting.figures import INK, STUDENT, TEACHER

_COLOURS = {"truth": INK, "teacher": TEACHER, "student": STUDENT}


@dataclass(frozen=True)
class CloudPanel:
    """One cloud, (n, 2), of a kind: truth, teacher or student."""

    kind: str
    title: str
    points: Tensor


def clouds(rows: dict[str, list[CloudPanel]]) -> Figure:
    """A row of panels for each label; every row has as many."""
    columns = len(next(iter(rows.values())))
    figure = Figure(figsize=(1.75 * columns, 2.1 * len(rows)))
    axes = figure.subplots(len(rows), columns, sharex=True, sharey=True, squeeze=False)
    for row, (label, panels) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(label)
        for one, panel in zip(row, panels, strict=True):
            x, y = panel.points.T.numpy()
            one.plot(x, y, ".", color=_COLOURS[panel.kind], markersize=1.2)
            one.set_title(panel.title, fontsize=9)
            one.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), xticks=[], yticks=[], aspect="equal")
    return figure
