"""What a study adds to the report."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

from pdpipe.reporting.grids import Grid
from pdpipe.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study that was run: what it asks, and all that it measured."""

    name: str  # its folder in stages/
    title: str
    question: str
    baseline: str  # the method that the others are compared with; "": the chain's students
    frame: pd.DataFrame  # its table, with the columns of its kind


@dataclass(frozen=True, kw_only=True)
class Section:
    """The answer to a study's question, in a sentence that is computed, and what is behind it."""

    conclusion: str
    tables: list[Table] = field(default_factory=list)
    figure: Figure | None = None
    caption: str = ""  # of the figure
    grid: Grid | None = None  # of images
    name: str = ""  # the study's, as are its title and its question
    title: str = ""
    question: str = ""
