"""Study `ladders`: fast schedules, topic by topic (PD, Figs. 12 and 13).

A method called `topic: setting` belongs to that topic; the chain's students stand in each.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from pdpipe.reporting import formats
from pdpipe.reporting.intervals import apart
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.metrics import FID
from pdpipe.reporting.studies import methods
from pdpipe.reporting.studies.methods import Methods
from pdpipe.reporting.studies.section import Study, StudySection
from pdpipe.reporting.tables import Table

# Of this topic the best setting is picked for each N (PD, Fig. 13), and of `learning rate at …`, of
# other budgets than the chain's, where its students are not among the candidates.
SWEEP = "learning rate"


def section(study: Study, m: Measurements) -> StudySection:
    """The study's section, from its table and the chain's own measurements."""
    compared = methods.methods(study, m)
    steps = sorted(study.frame["steps"].unique().tolist(), reverse=True)
    weights = sorted(study.frame["w"].unique().tolist())
    baseline, by_topic = next(iter(compared)), topics(compared)
    tables = methods.beside(compared)
    tables += [methods.table(found, steps, weights, key) for key, found in by_topic.items()]
    for topic, found in by_topic.items():
        if topic.startswith(SWEEP):
            candidates = {k: v for k, v in found.items() if topic == SWEEP or k != baseline}
            tables.append(picked(topic, candidates, steps, weights))
    return StudySection(
        verdict=methods.verdict(compared),
        tables=tables,
        figure=_figure(by_topic, m, steps, weights),
        caption=f"{methods.CAPTION} A row of panels for each of {', '.join(by_topic)}.",
    )


def topics(compared: Methods) -> dict[str, Methods]:
    """{topic: the baseline and its methods, by their setting}."""
    baseline, *others = compared
    found: dict[str, Methods] = {}
    for name in others:
        topic, _, setting = name.partition(": ")
        found.setdefault(topic, {baseline: compared[baseline]})[setting] = compared[name]
    return found


def picked(topic: str, compared: Methods, steps: list[int], weights: list[float]) -> Table:
    """Which setting of a topic has the lowest FID in each cell."""
    rows = [[formats.steps(n), *(_lowest(compared, n, w) for w in weights)] for n in steps]
    return Table(
        title=f"The best {topic} for each N and w",
        columns=["steps", *map(formats.weight, weights)],
        rows=rows,
        note="The lowest FID, which being picked is a little too low, and in brackets how many of "
        f"the other {len(compared) - 1} are not separated from it.",
    )


def _lowest(compared: Methods, n: int, w: float) -> str:
    found = {name: cells[n, w] for name, cells in compared.items() if (n, w) in cells}
    if not found:
        return formats.DASH
    best = min(found, key=lambda name: float(found[name]["fid"]))
    alike = sum(not apart(row, found[best]) for name, row in found.items() if name != best)
    return f"{best}: {FID.shown(found[best])} ({alike})"


def _figure(
    by_topic: dict[str, Methods], m: Measurements, steps: list[int], weights: list[float]
) -> Figure:
    drawing = Figure(figsize=(max(5.0, 3.6 * len(weights)), 4.2 * len(by_topic)))
    parts = drawing.subfigures(len(by_topic), 1, squeeze=False)[:, 0]
    for part, (topic, found) in zip(parts, by_topic.items(), strict=True):
        methods.draw(part, found, m, steps, weights, len(weights))
        part.legends[0].set_title(topic)
    return drawing
