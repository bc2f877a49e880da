"""Study `smaller-student`: quality against the size of the network and the time of an image."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from pdpipe.reporting import formats
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.studies import methods
from pdpipe.reporting.studies.section import Study, StudySection
from pdpipe.reporting.tables import Table


def section(study: Study, m: Measurements) -> StudySection:
    """The comparison of methods, and what each of them saves of the baseline's."""
    compared, found = methods.section(study, m), sizes(study)
    smallest = found.sort_values("parameters", kind="stable").iloc[0]
    fewer, quicker = map(formats.percent, smallest[["fewer", "quicker"]])
    return replace(
        compared,
        conclusion=f"The smallest network, {smallest.name}, has {fewer} of the parameters and "
        f"takes {quicker} of the time of an image. {compared.conclusion}",
        tables=[_table(found), *compared.tables],
    )


def sizes(study: Study) -> pd.DataFrame:
    """The network of every method, the baseline's first.

    `seconds` is what an image takes in one evaluation, the median over the method's cells; `fewer`
    and `quicker` are its parameters and seconds as shares of the first's.
    """
    frame = study.frame.assign(seconds=study.frame["seconds_per_image"] / study.frame["nfe"])
    methods = frame.groupby("method", sort=False)
    found = methods.agg({"parameters": "first", "seconds": "median"}).astype(float)
    found = found.sort_index(key=lambda names: names != study.baseline, kind="stable")
    shares = found / found.iloc[0]
    return found.assign(fewer=shares["parameters"], quicker=shares["seconds"])


def _table(found: pd.DataFrame) -> Table:
    rows = [
        [
            str(method),
            formats.count(int(row["parameters"])),
            formats.percent(row["fewer"]),
            formats.milliseconds(row["seconds"]),
            formats.percent(row["quicker"]),
        ]
        for method, row in found.iterrows()
    ]
    return Table(
        title="Size and time",
        columns=["", "parameters", "of the first's", "ms an evaluation", "of the first's"],
        rows=rows,
        note="The time of an image in one evaluation of the network, made in batches on the "
        "machine of the study: the median over the cells, without an interval.",
    )
