"""What standard errors allow to be said: an interval, and whether two figures are apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
from scipy.special import stdtrit

from pdpipe.evaluation.records import JACKKNIFE_GROUPS
from pdpipe.reporting import formats

LEVEL = 0.95


def margin(se: Any, freedom: int = JACKKNIFE_GROUPS - 1) -> float:
    """Half the width of the 95 % interval of a figure with this standard error; NaN for none.

    Args:
        se: the standard error.
        freedom: its degrees of freedom, the jackknife's by default.
    """
    if pd.isna(se):
        return math.nan
    return float(stdtrit(freedom, (1 + LEVEL) / 2)) * float(se)


def difference_margin(a_se: Any, b_se: Any) -> float:
    """Half the width of the 95 % interval of the difference of two figures; NaN for no errors.

    The images are made from the same noise, so their errors go together as a rule, and the sum of
    the squares, which is meant for independent ones, is on the safe side.
    """
    return math.hypot(margin(a_se), margin(b_se))


def apart(a: Any, b: Any) -> bool:
    """Whether the FIDs of two rows differ by more than the interval of their difference.

    Without standard errors nothing is apart.
    """
    return bool(abs(a["fid"] - b["fid"]) > difference_margin(a["fid_se"], b["fid_se"]))


def ratio_margin(a: Any, a_se: Any, b: Any, b_se: Any) -> float:
    """Half the width of the 95 % interval of the ratio a / b of two figures; NaN for no errors.

    To first order in the errors, which are taken as independent (see `difference_margin`); NaN
    where a figure is not positive.
    """
    if not (a > 0 and b > 0):
        return math.nan
    return float(a / b) * math.hypot(margin(a_se) / float(a), margin(b_se) / float(b))


def with_margin(value: Any, se: Any, text: Callable[[Any], str] = formats.figure) -> str:
    """A figure with its interval, as `1.39 ± 0.08`; alone where there is no standard error.

    Args:
        value: the figure.
        se: its standard error.
        text: how it is written; the interval gets as many decimals.
    """
    return with_half(value, margin(se), text)


def with_half(value: Any, half: float, text: Callable[[Any], str] = formats.figure) -> str:
    """A figure with half the width of its interval, NaN for none, as `with_margin` writes it."""
    shown = text(value)
    decimals = len(shown.partition(".")[2])
    if math.isnan(half):
        return shown
    rounded = f"{half:.{decimals}f}"
    return f"{shown} ± {rounded if float(rounded) else f'{half:.1g}'}"
