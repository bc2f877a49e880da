"""What standard errors allow to be said: an interval, and whether two figures are apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
from scipy.special import stdtrit

from pdpipe.reporting import formats

LEVEL = 0.95
VERDICTS = ("below", "not separated from", "above")


def margin(se: Any, dof: Any) -> float:
    """Half the width of the 95 % interval of a figure, by Student's t; NaN for no error.

    `se` is its standard error, `dof` the degrees of freedom of that.
    """
    if pd.isna(se):
        return math.nan
    return float(stdtrit(int(dof), (1 + LEVEL) / 2)) * float(se)


def difference_margin(a_margin: float, b_margin: float) -> float:
    """Half the width of the 95 % interval of the difference of two figures; NaN for none.

    The images are made from the same noise, so their errors go together as a rule, and the sum of
    the squares, which is meant for independent ones, is on the safe side.
    """
    return math.hypot(a_margin, b_margin)


def apart(a: Any, b: Any) -> bool:
    """Whether the FIDs of two rows differ by more than the interval of their difference.

    Without standard errors nothing is apart.
    """
    return bool(abs(a["fid"] - b["fid"]) > difference_margin(fid_margin(a), fid_margin(b)))


def verdict(a: Any, b: Any) -> str:
    """One of `VERDICTS`, of the FID of row `a` beside that of row `b`."""
    if not apart(a, b):
        return "not separated from"
    return "below" if a["fid"] < b["fid"] else "above"


def fid_margin(row: Any) -> float:
    """Half the width of the 95 % interval of a row's FID; NaN for none."""
    return margin(row["fid_se"], row["se_dof"])


def ratio_margin(a: Any, a_margin: float, b: Any, b_margin: float) -> float:
    """Half the width of the 95 % interval of the ratio a / b of two figures; NaN for none.

    To first order in the errors, which are taken as independent (see `difference_margin`); NaN
    where a figure is not positive.
    """
    if not (a > 0 and b > 0):
        return math.nan
    return float(a / b) * math.hypot(a_margin / float(a), b_margin / float(b))


def with_margin(value: Any, half: float, text: Callable[[Any], str] = formats.figure) -> str:
    """A figure with its interval, as `1.39 ± 0.08`; alone where there is none.

    `half` is from `margin`, and gets as many decimals as `text` gives the figure.
    """
    shown = text(value)
    decimals = len(shown.partition(".")[2])
    if math.isnan(half):
        return shown
    rounded = f"{half:.{decimals}f}"
    return f"{shown} ± {rounded if float(rounded) else f'{half:.1g}'}"
