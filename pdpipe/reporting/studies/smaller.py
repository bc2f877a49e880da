"""Study `smaller-student`: quality against the size of the network and the time of an image."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pdpipe.reporting import formats
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.studies import methods
from pdpipe.reporting.studies.section import Section, Study
from pdpipe.reporting.tables import Table


@dataclass(frozen=True)
class Size:
    """The network of a method."""

    method: str
    parameters: int
    seconds: float  # an image takes in one evaluation: the median over the method's cells


def section(study: Study, m: Measurements) -> Section:
    """The comparison of methods, and what each of them saves of the baseline's."""
    compared, found = methods.section(study, m), sizes(study)
    first, smallest = found[0], min(found, key=lambda size: size.parameters)
    fewer, quicker = shares(smallest, first)
    return replace(
        compared,
        conclusion=f"The smallest network, {smallest.method}, has {fewer} of the parameters and "
        f"takes {quicker} of the time of an image. {compared.conclusion}",
        tables=[_table(found), *compared.tables],
    )


def sizes(study: Study) -> list[Size]:
    """Of every method, the baseline's first."""
    found = []
    for method, rows in study.frame.groupby("method", sort=False):
        seconds = (rows["seconds_per_image"] / rows["nfe"]).median()
        found.append(Size(str(method), int(rows["parameters"].iloc[0]), float(seconds)))
    return sorted(found, key=lambda size: size.method != study.baseline)


def shares(size: Size, of: Size) -> tuple[str, str]:
    """Its parameters and its time as shares of another's, in words."""
    return (
        formats.percent(size.parameters / of.parameters),
        formats.percent(size.seconds / of.seconds),
    )


def _table(found: list[Size]) -> Table:
    rows = []
    for size in found:
        fewer, quicker = shares(size, found[0])
        count, time = formats.count(size.parameters), formats.milliseconds(size.seconds)
        rows.append([size.method, count, fewer, time, quicker])
    return Table(
        title="Size and time",
        columns=["", "parameters", "of the first's", "ms an evaluation", "of the first's"],
        rows=rows,
        note="The time of an image in one evaluation of the network, made in batches on the "
        "machine of the study: the median over the cells, without an interval.",
    )
