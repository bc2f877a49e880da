"""Study `smaller-student`: quality against the size of the network and the time of an image."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from pdpipe.reporting import formats
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.studies import methods
from pdpipe.reporting.studies.section import Study, StudySection
from pdpipe.reporting.studies.verdicts import ALIKE, Standing, factor, geometric_mean, joined
from pdpipe.reporting.tables import Table


def section(study: Study, m: Measurements) -> StudySection:
    """The comparison of methods, and what each of them saves of the baseline's."""
    compared, found = methods.section(study, m), sizes(study)
    standings = methods.standings(methods.methods(study, m))
    verdict = _verdict(found, standings) if standings else compared.verdict
    return replace(compared, verdict=verdict, tables=[_table(found), *compared.tables])


def _verdict(found: pd.DataFrame, standings: dict[str, Standing]) -> str:
    """What each of the networks has of the baseline's size and time, and what that costs."""
    shares = found.loc[list(standings)]
    fewer, quicker = (joined([formats.share(s) for s in shares[k]]) for k in _SHARES)
    told = list(standings.values())
    alike = joined([str(len(one.at(ALIKE))) for one in told])
    ratios = [one.ratios() for one in told]
    means = joined([factor(geometric_mean(own)) for own in ratios])
    low, high = (factor(end(map(end, ratios))) for end in (min, max))
    return (
        f"With {fewer} of the parameters, a student takes {quicker} of the time, and its FID is "
        f"typically {means} times that of the full size ({low} to {high}), not separated from it "
        f"in {alike} of the {len(told[0].found)} {told[0].combinations()}."
    )


_SHARES = ("fewer", "quicker")  # columns of `sizes`


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
