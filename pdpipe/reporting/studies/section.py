"""What a study adds to the report."""

from __future__ import annotations

from dataclasses import dataclass, field

from matplotlib.figure import Figure

from pdpipe.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Section:
    """A question, the answer in a sentence that is computed, and the figures behind it."""

    title: str
    conclusion: str
    tables: list[Table] = field(default_factory=list)
    figure: Figure | None = None
    caption: str = ""  # of the figure
    name: str = ""  # the study's, in stages/
    question: str = ""


def out_of_date(study: str, differing: list[str]) -> Section:
    """The section of a study whose models, or whose protocol, are not the chain's of now."""
    return Section(
        title=f"Study {study}",
        conclusion=f"This study was run on another chain than this one (other: "
        f"{', '.join(differing)}): run `dvc repro stages/{study}/dvc.yaml`, then `dvc repro`.",
    )
