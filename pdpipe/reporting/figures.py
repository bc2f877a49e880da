"""The report's curves, drawn without matplotlib's global state; equal data give equal bytes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import cycle
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from pdpipe.reporting import formats
from pdpipe.reporting.grids import Grid
from pdpipe.reporting.intervals import margin
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.metrics import FID, Quantity

# Okabe and Ito's palette: told apart by colour-blind readers, and legible on white and on black.
STUDENT, TEACHER = "#0072b2", "#d55e00"
INK, FAINT = "#24292f", "#8c959f"
_BY_NAME = {"student": STUDENT, "teacher": TEACHER, "ink": INK, "faint": FAINT}
_BY_NAME |= {"pink": "#cc79a7", "orange": "#e69f00", "green": "#009e73", "sky": "#56b4e9"}
# Few steps to many: hues that stay apart for colour-blind readers, of about equal lightness.
_FEW_TO_MANY = [_BY_NAME[name] for name in ("pink", "orange", "green", "student")]
_STEPS_MAP = LinearSegmentedColormap.from_list("steps", _FEW_TO_MANY)
_MARKERS = "osD^vPX"
GRID_DPI = 72  # at which a pixel is a point, so that SVG and PNG hold the same pixels

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "pdpipe",  # the ids inside an SVG follow from its contents
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10,
    "text.parse_math": False,  # a class may be called $
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "figure.constrained_layout.use": True,
}


@contextmanager
def style() -> Iterator[None]:
    """The report's look, for drawing and for saving; whatever was set before comes back."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def against_steps(m: Measurements, metric: Quantity) -> Figure:
    """FID or IS against steps: a panel for each w, students and teacher."""
    guidance = m.guidance
    across = min(3, len(guidance))
    down = math.ceil(len(guidance) / across)
    figure = Figure(figsize=(max(6.0, 3.3 * across + 0.6), 2.7 * down + 1.0))
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axes, w in zip(panels.flat, guidance, strict=False):
        _steps_panel(axes, m, metric, w)
    for axes in panels.flat[len(guidance) :]:
        axes.remove()
    for axes in panels.flat[max(0, len(guidance) - across) : len(guidance)]:
        axes.tick_params(labelbottom=True)
    if metric is FID:
        log_axis(panels[0, 0], "y", m.frame[m.frame["kind"] != "real"]["fid"])
    name = f"{m.named(metric.name)}, {metric.better} is better"
    label_axes(figure, panels[0, 0], "sampling steps", name)
    return figure


def at_weight(m: Measurements, w: float) -> Figure:
    """FID against steps at one w, on the axes of all w."""
    figure = Figure(figsize=(5.6, 4.0))
    axes = figure.subplots()
    _steps_panel(axes, m, FID, w)
    generated = m.frame[m.frame["kind"] != "real"]["fid"]
    log_axis(axes, "y", generated)
    if axes.get_yscale() == "log":
        axes.set_ylim(0.8 * generated.min(), 1.25 * generated.max())
    label_axes(figure, axes, "sampling steps", f"{m.named('FID')}, lower is better")
    return figure


def label_axes(figure: FigureBase, axes: Axes, x: str, y: str = "", **legend: Any) -> None:
    """Name the axes that the panels share; above them all, a legend of what is in one of them."""
    figure.supxlabel(x, fontsize=10, color=INK)
    if y:
        figure.supylabel(y, fontsize=10, color=INK)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", **{"ncols": 4, **legend})


def _steps_panel(axes: Axes, m: Measurements, metric: Quantity, w: float) -> None:
    assert metric.se is not None
    student, teacher = m.select("student", w=w), m.select("teacher", w=w)
    for rows, colour, line, marker, label in (
        (teacher, TEACHER, "--", "s", m.teacher_by),
        (student, STUDENT, "-", "o", "student"),
    ):
        if not rows.empty:
            x, y = _points(rows, "steps", metric.column)
            half = [margin(row[metric.se], row["se_dof"]) for _, row in rows.iterrows()]
            axes.errorbar(x, y, yerr=half, color=colour, linestyle=line, marker=marker, label=label)
    axes.set_title(formats.weight(w))
    steps_axis(axes, [*teacher["steps"], *student["steps"]])


Points = list[tuple[int, float, float]]  # a count, a figure, and half its interval's width
# Title, a level to compare with, and each method by its name.
Panel = tuple[str, float | None, list[tuple[str, Points]]]


def draw_panels(
    figure: FigureBase,
    panels: list[Panel],
    ticks: list[int],
    looks: str,
    x: str,
    y: str,
    *,
    across: int,
    level_name: str = "",
    dashed: Collection[str] = (),
) -> None:
    """Curves of methods, so many panels `across`; both axes are logarithmic.

    `ticks` are the counts that are written. `looks`, as `pink o, sky s`, has each method's colour
    and marker, from the first on again where there are more; `dashed` are methods, and `x`, `y` and
    `level_name` names; a panel's level is dotted.
    """
    down = math.ceil(len(panels) / across)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flatten()
    known = [look.split() for look in looks.split(", ")]
    for axes, (title, level, methods) in zip(grid, panels, strict=False):
        if level is not None:
            axes.axhline(level, color=FAINT, linestyle=":", label=level_name)
        for (name, points), (colour, marker) in zip(methods, cycle(known)):
            line = "--" if name in dashed else "-"
            look = {"color": _BY_NAME[colour], "marker": marker, "linestyle": line}
            axes.errorbar(*np.reshape(points, (-1, 3)).T, **look, label=name)
        axes.set_title(title)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    curves = [points for _, _, methods in panels for _, points in methods]
    drawn = [value for points in curves for _, value, _ in points]
    levels = [level for _, level, _ in panels if level is not None]
    log_axis(grid[0], "y", pd.Series([*drawn, *levels]))
    steps_axis(grid[0], ticks)
    label_axes(figure, grid[0], x, y, ncols=2, fontsize=9)


def steps_axis(axes: Axes, steps: Sequence[int]) -> None:
    """A horizontal axis of counts that double, some of them written."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(_thinned(set(steps))))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _thinned(steps: set[int], most: int = 7) -> list[int]:
    """The step counts to write on an axis: all, or every second, third … from 1 step on."""
    ordered = sorted(steps)
    return ordered[:: math.ceil(len(ordered) / most)]


def fid_against_w(m: Measurements) -> Figure:
    """FID against w, a curve for each N, students beside the teacher."""
    figure, panels = _by_kind(m, height=4.2)
    for kind, axes in panels.items():
        for name, look, rows in _curves(m, kind):
            axes.plot(*_points(rows, "w", "fid"), **look, label=name)
        axes.xaxis.set_major_locator(FixedLocator(m.guidance))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    log_axis(axes, "y", m.frame[m.frame["kind"] != "real"]["fid"])
    label_axes(figure, axes, "guidance weight w", f"{m.named('FID')}, lower is better")
    return figure


def fid_against_is(m: Measurements) -> Figure:
    """The trade-off: IS against FID along w, a curve for each N, students beside the teacher."""
    figure, panels = _by_kind(m, height=5.2)
    for kind, axes in panels.items():
        _tradeoff_panel(axes, m, kind)
    x, y = f"{m.named('FID')}, lower is better", f"{m.named('IS')}, higher is better"
    label_axes(figure, axes, x, y)
    return figure


def _by_kind(m: Measurements, height: float) -> tuple[Figure, dict[str, Axes]]:
    """A panel for the students, where there are any, and one for the teacher."""
    titles = {"student": "students"} if m.student_steps else {}
    titles["teacher"] = m.teacher_by
    figure = Figure(figsize=(5.2 * len(titles), height))
    panels = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
    for axes, title in zip(panels, titles.values(), strict=True):
        axes.set_title(title)
    return figure, dict(zip(titles, panels, strict=True))


def _curves(m: Measurements, kind: str) -> list[tuple[str, dict[str, Any], pd.DataFrame]]:
    """(name, look, rows) of one kind at each of the students' N, and of the full-count teacher."""
    counts = m.student_steps[::-1]
    found = []
    for k, n in enumerate(counts):
        colour = to_hex(_STEPS_MAP(k / max(1, len(counts) - 1)))
        look = {"color": colour, "marker": _MARKERS[k % len(_MARKERS)]}
        found.append((formats.steps(n), look, m.select(kind, steps=n)))
    look = {"color": INK, "linestyle": "--", "marker": "x"}
    full = m.select("teacher", steps=m.full_steps)
    return [*found, (f"teacher, {formats.steps(m.full_steps)}", look, full)]


def _tradeoff_panel(axes: Axes, m: Measurements, kind: str) -> None:
    """IS against FID along w, of one kind and of the full-count teacher."""
    curves = _curves(m, kind)
    for name, look, rows in curves:
        axes.plot(*_points(rows, "fid", "is"), **look, label=name)
    *few, (_, _, full) = curves
    if kind == "student" or not few:
        _label_weights(axes, full, offset=(-7, 5), align="right")
    if few:
        _label_weights(axes, few[0][2], offset=(7, -11), align="left")
    axes.margins(x=0.12)
    log_axis(axes, "x", pd.concat([rows for _, _, rows in curves])["fid"])


def _label_weights(
    axes: Axes, rows: pd.DataFrame, *, offset: tuple[int, int], align: Literal["left", "right"]
) -> None:
    points = [*zip(*_points(rows, "fid", "is"), rows["w"], strict=True)]
    every = math.ceil(len(points) / 6)
    for fid, score, w in [*points[:-1:every], points[-1]]:
        axes.annotate(
            formats.weight(w),
            (fid, score),
            xytext=offset,
            textcoords="offset points",
            ha=align,
            fontsize=8,
            color=INK,
        )


def _points(rows: pd.DataFrame, x: str, y: str) -> tuple[Any, Any]:
    return rows[x].to_numpy(dtype=float), rows[y].to_numpy(dtype=float)


def log_axis(axes: Axes, which: str, values: pd.Series[Any]) -> None:
    """A logarithmic axis with plain numbers; linear where a value is not positive."""
    if (values.dropna() <= 0).any():
        return
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    decades = np.log10(values.max() / values.min())
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades > 1 else (1, 1.5, 2, 3, 5, 7)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def grid_figure(grid: Grid) -> Figure:
    """A sample grid with its labels; every pixel of the blocks is a pixel of the PNG."""
    tall, wide = grid.blocks[0][0].shape[:2]
    left, top, gap = 18 + 7 * max(map(len, grid.rows)), 34, 8
    tops = [
        top + r * (tall + gap) + 2 * gap * sum(start <= r for start in grid.breaks)
        for r in range(len(grid.rows))
    ]
    width, height = left + len(grid.columns) * (wide + gap), tops[-1] + tall + gap
    figure = Figure(figsize=(width / GRID_DPI, height / GRID_DPI), dpi=GRID_DPI)
    figure.set_layout_engine("none")
    for c, label in enumerate(grid.columns):
        most = max(4, wide // 7)
        short = label if len(label) <= most else f"{label[: most - 1]}…"
        x = left + c * (wide + gap) + wide / 2
        _write(figure, x, height - top + 8, short, ha="center", va="bottom")
    for y, label, row in zip(tops, grid.rows, grid.blocks, strict=True):
        _write(figure, left - 10, height - y - tall / 2, label, ha="right", va="center")
        for c, block in enumerate(row):
            figure.figimage(block, left + c * (wide + gap), height - y - tall, origin="upper")
    return figure


def _write(figure: Figure, x: float, y: float, text: str, **look: Any) -> None:
    """Text at pixels from the figure's lower left corner."""
    width, height = figure.get_size_inches() * GRID_DPI
    figure.text(x / width, y / height, text, **{"size": 11.0, **look})


def svg_bytes(figure: Figure) -> bytes:
    """The figure as SVG, text as outlines, without date or version."""
    return _saved(figure, "svg", {"Date": None, "Creator": None})


def png_bytes(figure: Figure, dpi: float = 150) -> bytes:
    """The figure as PNG, without the version that drew it."""
    return _saved(figure, "png", {"Software": None}, dpi=dpi)


def _saved(figure: Figure, kind: str, metadata: dict[str, None], **options: Any) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format=kind, metadata=metadata, facecolor="white", **options)
    figure.set_layout_engine("none")  # it is laid out: saved again, it stays as it is
    return buffer.getvalue()
