"""Numbers as a reader sees them, with one rounding everywhere; tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import pandas as pd

DASH = "–"  # there is no such measurement
_SAMPLERS = {
    "ddim": "DDIM",
    "dpm_solver": "DPM-Solver++(2M)",
    "heun": "Heun's method",
    "rk4": "Runge-Kutta 4",
    "euler": "Euler's method",
    "ancestral": "ancestral sampling",
    "stochastic": "the stochastic sampler",
}


def figure(value: Any) -> str:
    """A FID, an inception score or a ratio: two decimals, and never fewer than two digits."""
    return _decimals(value, 2)


def small(value: Any) -> str:
    """An error or a distance below about 1: four decimals, and never fewer than two digits."""
    return _decimals(value, 4)


def percent(value: Any) -> str:
    """A share in [0, 1], as `97.3 %`."""
    return DASH if pd.isna(value) else f"{100 * value:.1f} %"


def share(value: float) -> str:
    """A share in [0, 1], as `97 %`."""
    return f"{100 * value:.0f} %"


def milliseconds(seconds: Any) -> str:
    """A time in seconds, as milliseconds without the unit."""
    return DASH if pd.isna(seconds) else _decimals(1000 * seconds, 2)


def count(value: int) -> str:
    """A whole number with its thousands set apart, `102,400`."""
    return f"{value:,}"


def weight(w: float) -> str:
    """A guidance weight, `w = 0.3`."""
    return f"w = {w:g}"


def sampler(name: str) -> str:
    """A sampler as it is called in the field."""
    return _SAMPLERS.get(name, name)


def steps(n: int) -> str:
    """A step count in words, `1 step` or `4 steps`."""
    return f"{n} step" if n == 1 else f"{n} steps"


def evaluations(num_steps: int, nfe: int) -> str:
    """The network evaluations of a sample, `64 × 2` where every step takes two."""
    per_step, more = divmod(nfe, num_steps)
    if more:
        return f"{nfe}"
    return f"{num_steps}" if per_step == 1 else f"{num_steps} × {per_step}"


def times(factor: float) -> str:
    """A factor, `32×`, or `1.5×` where it is not whole."""
    return f"{factor:.3g}×" if factor < 100 else f"{factor:.0f}×"


def aligned(rows: list[list[str]], to_the_left: Collection[int] = (0,)) -> list[str]:
    """The rows, headings first, as lines: numbers to the right, columns of words `to_the_left`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if k in to_the_left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _decimals(value: Any, places: int) -> str:
    if pd.isna(value):
        return DASH
    number = float(value)
    if number and abs(number) < 10 ** (1 - places):
        places = 1 - math.floor(math.log10(abs(number)))
    return f"{number:.{places}f}"
