"""The report's section of published figures: beside this chain's own, with what differs in words.

The published figures have no intervals and other protocols, so nothing here is ranked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pdpipe.reporting import formats
from pdpipe.reporting.markdown import to_markdown
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.metrics import FID, INCEPTION_SCORE, Quantity
from pdpipe.reporting.protocols import INCEPTION, PAPER_SETTINGS, differences
from pdpipe.reporting.published import METHODS, PAPERS, Method, PublishedFigure, read_published
from pdpipe.reporting.results import Results
from pdpipe.reporting.tables import Table

_KINDS = ("student", "teacher")
# A column's heading, and what it stands for.
_HEADINGS: dict[Method, tuple[str, str]] = {
    "guided_distillation_deterministic": ("GD, deterministic", "one student for every w, by DDIM"),
    "guided_distillation_stochastic": ("GD, stochastic", "its stochastic students and sampler"),
    "single_w": ("GD, single w", "a student for this w alone"),
    "naive_two_student": ("GD, naive", "two students, so two evaluations a step"),
    "progressive_distillation_unconditional": ("PD, no labels", "an unconditional model"),
    "teacher_ddim": ("GD, DDIM", "its guided teacher"),
}


@dataclass(frozen=True, kw_only=True)
class PublishedSection:
    """The papers' figures on one data set; `tables` are by w, a table for FID and one for IS."""

    title: str
    cited: str  # the papers, by the letters that stand for them
    verdict: str  # whether the figures compare
    differences: list[str]
    tables: dict[float, list[Table]]

    @property
    def all_tables(self) -> list[Table]:
        """The tables of every w."""
        return [table for tables in self.tables.values() for table in tables]


def published_section(dataset: str, results: Results, m: Measurements) -> PublishedSection:
    """The section for a data set, a name of `PAPER_SETTINGS`."""
    papers = PAPER_SETTINGS[dataset]
    figures = [figure for figure in read_published() if figure.dataset == dataset]
    verdict = _verdict(m, results.teacher.protocol.extractor.name)
    tables = {}
    for w in m.guidance:
        both = (_table(figures, m, w, metric, verdict) for metric in (FID, INCEPTION_SCORE))
        if found := [table for table in both if table is not None]:
            tables[w] = found
    return PublishedSection(
        title=f"Published figures, {papers.title}",
        cited=_cited(PAPERS),
        verdict=verdict,
        differences=differences(results, papers),
        tables=tables,
    )


def published_markdown(section: PublishedSection) -> str:
    """The section as Markdown, to follow the report's tables."""
    lines = [f"\n## {section.title}\n", f"{section.cited} {section.verdict}\n", "What differs:\n"]
    lines += [*(f"- {difference}" for difference in section.differences), ""]
    return "\n".join([*lines, *(to_markdown(table, level=3) for table in section.all_tables)])


def _verdict(m: Measurements, extractor: str) -> str:
    if extractor != INCEPTION:
        return (
            f"This chain's FID and IS have the features of {extractor}, the published "
            "figures those of Inception-v3: figures of another extractor do not compare at all. "
            "They stand here to show what the papers report."
        )
    return (
        "Both have the features of Inception-v3. The published figures have no intervals, and "
        "their protocol differs from this chain's, so a small difference says nothing."
    )


def _table(
    figures: list[PublishedFigure], m: Measurements, w: float, metric: Quantity, verdict: str
) -> Table | None:
    """The published figures at w of the step counts that this chain has; None for no such."""
    own = {kind: set(m.select(kind, w=w)["steps"].tolist()) for kind in _KINDS}
    values = {
        (figure.method, figure.steps): value
        for figure in figures
        if (figure.w or 0.0) == w and figure.steps in own[figure.kind]
        if (value := figure.fid if metric is FID else figure.is_) is not None
    }
    if not values:
        return None
    methods = {method for method, _ in values}
    shown = [figure for figure in figures if figure.method in methods and (figure.w or 0.0) == w]
    columns = {
        kind: [name for name in METHODS if name in {f.method for f in shown if f.kind == kind}]
        for kind in _KINDS
    }
    kinds = [kind for kind in _KINDS if columns[kind]]
    counts = sorted({steps for _, steps in values}, reverse=True)

    def cells(steps: int) -> Iterable[str]:
        for kind in kinds:
            yield metric.shown(m.cell(kind, steps, w) if steps in own[kind] else None)
            yield from (formats.figure(values.get((name, steps))) for name in columns[kind])

    headings = {kind: ["this chain", *(_HEADINGS[n][0] for n in columns[kind])] for kind in kinds}
    return Table(
        title=f"Published {metric.name} beside this chain's, {formats.weight(w)}",
        columns=["steps", *(heading for kind in kinds for heading in headings[kind])],
        groups=tuple((kind, len(headings[kind])) for kind in kinds),
        rows=[[str(n), *cells(n)] for n in counts],
        note=f"{_key(shown)} {verdict}",
    )


def _key(shown: list[PublishedFigure]) -> str:
    """What the columns stand for, and where their figures are from."""
    said = []
    for name in METHODS:
        sources = dict.fromkeys(figure.source for figure in shown if figure.method == name)
        if sources:
            heading, meaning = _HEADINGS[name]
            said.append(f"{heading}: {meaning} ({', '.join(sources)})")
    papers = dict.fromkeys(figure.source.partition(" ")[0] for figure in shown)
    return f"{'; '.join(said)}. {_cited(papers)}"


def _cited(papers: Iterable[str]) -> str:
    return "; ".join(f"{paper}: {PAPERS[paper]}" for paper in papers) + "."
