"""The toy's one figure: a cloud for each model, step count and w, with its distance."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pdpipe.reporting import figures, formats
from pdpipe.toy.run import Toy


def picture(toy: Toy) -> Figure:
    """Rows: the teacher's DDIM and the student at each w; columns: the truth, then step counts."""
    rows = [(model, w) for w in toy.truth for model in ("teacher", "student")]
    columns = len(toy.of(*rows[0]))
    figure = Figure(figsize=(1.75 * (columns + 1), 1.95 * len(rows)))
    panels = figure.subplots(len(rows), columns + 1, sharex=True, sharey=True, squeeze=False)
    for axes, (model, w) in zip(panels, rows, strict=True):
        colour = figures.STUDENT if model == "student" else figures.TEACHER
        _cloud(axes[0], toy.truth[w], figures.INK, f"truth, {toy.floor[w]:.3f}")
        axes[0].set_ylabel(f"{model}, {formats.weight(w)}")
        for panel, cloud in zip(axes[1:], toy.of(model, w), strict=True):
            title = f"{formats.steps(cloud.steps)}, {cloud.distance:.3f}"
            _cloud(panel, cloud.points, colour, title)
    return figure


def _cloud(axes: Axes, points: Tensor, colour: str, title: str) -> None:
    axes.plot(points[:, 0].numpy(), points[:, 1].numpy(), ".", color=colour, markersize=1.2)
    axes.set_title(title, fontsize=9)
    axes.set_xlim(-1.3, 1.3)
    axes.set_ylim(-1.3, 1.3)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal")
