"""The figures that the report shows: those of `evaluation.metrics`, and what else a cell has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pdpipe.evaluation import metrics
from pdpipe.reporting import formats
from pdpipe.reporting.intervals import margin, with_margin
from pdpipe.reporting.measurements import Measurements


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A figure of a cell: its columns among the measurements, how it is written, where it stands.

    `se` is the column of its standard error. The flags are the tables that show it: over N × w,
    against steps at one w (with the teacher at `equal_nfe` too), and the papers', which hold
    nothing that depends on a machine.
    """

    name: str
    means: str  # what it is, in a line
    column: str
    text: Callable[[Any], str] = formats.figure
    se: str | None = None
    better: str = "lower"
    note: str = ""  # beside its table
    over_w: bool = True
    against_steps: bool = True
    equal_nfe: bool = False
    in_paper: bool = True

    @property
    def directed(self) -> str:
        """The name, with an arrow to where it is better."""
        return f"{self.name} {'↓' if self.better == 'lower' else '↑'}"

    @property
    def columns(self) -> list[str]:
        """Its columns among the measurements."""
        return [self.column] if self.se is None else [self.column, self.se]

    def shown(self, row: pd.Series[Any] | None, suffix: str = "") -> str:
        """The figure of a row with its interval; its columns there end in `suffix`."""
        if row is None:
            return formats.DASH
        value = row[self.column + suffix]
        if self.se is None:
            return self.text(value)
        half = margin(row[self.se + suffix], row["se_dof" + suffix])
        return with_margin(value, half, self.text)

    def measured(self, m: Measurements) -> bool:
        """Whether any generated images have it."""
        return bool(m.select("teacher")[self.column].notna().any())


_TEXTS = {2: formats.figure, 4: formats.small}


_MEASURED = {
    key: Quantity(
        name=metric.name,
        means=metric.means,
        column=key,
        se=f"{key}_se",
        text=_TEXTS[metric.decimals],
        better=metric.better,
        note=metric.note,
        against_steps=metric.against_steps,
        equal_nfe=key == "fid",
    )
    for key, metric in metrics.METRICS.items()
}
FID, INCEPTION_SCORE = _MEASURED["fid"], _MEASURED["is"]
FID_HELDOUT = _MEASURED["fid_heldout"]
# In the order in which they stand in tables.
METRICS = (
    *_MEASURED.values(),
    Quantity(
        name="label accuracy",
        means="share of the images in which the classifier sees the class that was asked for",
        column="accuracy",
        text=formats.percent,
        better="higher",
        against_steps=False,
    ),
    Quantity(
        name="paired error",
        means="mean squared difference to the images of the teacher at full steps, same noise",
        column="paired_mse",
        text=formats.small,
        over_w=False,
    ),
    Quantity(
        name="ms/image",
        means="milliseconds for one image, on the machine that the report names",
        column="seconds_per_image",
        text=formats.milliseconds,
        over_w=False,
        in_paper=False,
    ),
)
