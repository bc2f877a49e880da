"""What a study adds to the report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import pandas as pd
from matplotlib.figure import Figure

from pdpipe.reporting.grids import Grid
from pdpipe.reporting.tables import Table

_Key = TypeVar("_Key")
_Found = TypeVar("_Found")


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a study that was run measured."""

    baseline: str  # the method that the others are compared with; "": the chain's students
    frame: pd.DataFrame  # its table, with the columns of its kind


@dataclass(frozen=True, kw_only=True)
class StudySection:
    """The answer to a study's question, and what is behind it.

    `verdict` is one sentence, computed from the measurements; every number else is in the tables.
    `papers` are (label, URL) of what the study is about.
    """

    verdict: str
    tables: list[Table] = field(default_factory=list)
    figure: Figure | None = None
    caption: str = ""  # of the figure
    grid: Grid | None = None  # of images
    name: str = ""  # the study's, as are its title and its question
    title: str = ""
    question: str = ""
    papers: tuple[tuple[str, str], ...] = ()


def grouped(
    found: Iterable[tuple[_Key, _Found]], order: Iterable[_Key] = ()
) -> dict[_Key, list[_Found]]:
    """What was found by its key, in `order`, then as found; no key stands for nothing."""
    groups: dict[_Key, list[_Found]] = {key: [] for key in order}
    for key, one in found:
        groups.setdefault(key, []).append(one)
    return {key: group for key, group in groups.items() if group}
