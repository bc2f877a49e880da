"""A study of encoders: how much of an image returns, and what outlives a change of its class."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from pdpipe.reporting import formats
from pdpipe.reporting.figures import Panel, draw_panels
from pdpipe.reporting.intervals import margin, with_margin
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.studies.section import Study, StudySection, grouped
from pdpipe.reporting.studies.verdicts import ALIKE, HIGHER, LOWER, joined, typical
from pdpipe.reporting.tables import Table

# The columns of its table; see `studies.reconstruction.Row`.
COLUMNS = {
    "part": "string",  # reconstruction or transfer
    "method": "string",  # of encoding
    "encoder": "string",  # the model; none for fresh noise
    "steps": "Int64",  # of encoding, 0 for fresh noise
    "nfe": "Int64",  # network evaluations an image, of encoding
    "decoder": "string",
    "source": "string",  # the images' class; none for all
    "target": "string",  # the class that they are decoded as; none for their own
    "w": "float64",  # guidance weight of decoding
    "images": "Int64",
    "mse": "float64",  # between images and what they became, pixels in [-1, 1]
    "mse_se": "float64",  # standard error over the images
    "difference": "float64",  # mse less the baseline's at equal nfe
    "difference_se": "float64",  # of the paired differences
    "accuracy": "float64",  # judged to be of the class that they were decoded as
    "z_rms": "float64",  # root mean square of the encoded noise
    "judge": "string",  # the classifier behind accuracy
    "seed": "Int64",  # of fresh noise
    "clip": "boolean",
}


def section(study: Study, m: Measurements) -> StudySection:
    """The study's section, from its table alone."""
    rows = study.frame[study.frame["part"] == "reconstruction"]
    transfer = study.frame[study.frame["part"] == "transfer"]
    through = {str(name): found for name, found in rows.groupby("decoder", sort=False)}
    tables = [_table(found, name, study.baseline) for name, found in through.items()]
    said = [_of_encoding(rows, study.baseline)]
    if not transfer.empty:
        tables.append(_transfer_table(transfer))
        said.append(_of_transfer(transfer))
    return StudySection(
        verdict=f"{'; '.join(said)}.",
        tables=tables,
        figure=_figure(through),
        caption="Error of reconstruction (mean squared, pixels in [-1, 1]) against the network "
        "evaluations of encoding, both logarithmic, with 95 % intervals, through each decoder; "
        "dotted: images decoded from fresh noise, of which nothing was kept.",
    )


def _verdict(row: pd.Series[Any]) -> str:
    """How the error of a row lies to the baseline's, by the 95 % interval of their difference."""
    if not abs(row["difference"]) > _margin(row, "difference"):
        return ALIKE  # as all are without a standard error
    return HIGHER if row["difference"] > 0 else LOWER


def _of_encoding(rows: pd.DataFrame, baseline: str) -> str:
    """The baseline's error of reconstruction beside the others', at equal evaluations."""
    found = [row for _, row in rows.dropna(subset="difference").sort_values("nfe").iterrows()]
    if not found:
        return f"No method encodes with as many evaluations as the {baseline}"
    by_count = grouped((int(row["nfe"]), row) for row in found)
    few = [*takewhile(lambda n: all(_verdict(row) == HIGHER for row in by_count[n]), by_count)]
    below = [row for n in few for row in by_count[n]]
    more = [row for n, others in by_count.items() if n not in few for row in others]
    error = f"With the {baseline}, the error of reconstruction is"
    if not few:
        return f"{error} {_counted(more, 'lower than with other methods', 'higher')}"
    where = "" if not more else _up_to(few)
    said = f"{error} lower than with the other methods{where} ({typical(_ratios(below))})"
    return f"{said}; at more, it is {_counted(more, 'lower', 'higher')}" if more else said


def _up_to(counts: list[int]) -> str:
    """` at 8 evaluations or fewer`; the counts begin with the lowest."""
    return (
        f" at {counts[-1]} evaluations or fewer"
        if len(counts) > 1
        else f" at {counts[0]} evaluation{'s' * (counts[0] > 1)}"
    )


def _of_transfer(transfer: pd.DataFrame) -> str:
    """What images became that were decoded as another class, and what they kept."""
    kept = transfer.loc[transfer["difference"].isna(), "accuracy"]
    low, high = (formats.share(share) for share in (kept.min(), kept.max()))
    rows = [row for _, row in transfer.dropna(subset="difference").iterrows()]
    return (
        f"of images decoded as another class, {low if low == high else f'{low} to {high}'} are "
        "judged to be of it, and their distance to their source is "
        f"{_counted(rows, 'smaller than that of images made without it', 'larger')}"
    )


def _counted(rows: list[pd.Series[Any]], below: str, above: str) -> str:
    """How often the baseline's figure is below and above those of `rows`, by how much."""
    by = grouped(((_verdict(row), row) for row in rows), (HIGHER, LOWER, ALIKE))
    words = {HIGHER: below, LOWER: above, ALIKE: ALIKE}
    parts: list[str] = []
    for key, found in by.items():
        size = "" if key == ALIKE else f" ({typical(_ratios(found))})"
        if len(found) == len(rows):
            number = f"all {len(rows)} comparisons"
        else:
            number = f"{len(found)} of {len(rows)} comparisons" if not parts else f"{len(found)}"
        parts.append(f"{words[key]} in {number}{size}")
    return joined(parts)


def _ratios(rows: list[pd.Series[Any]]) -> list[float]:
    """The baseline's figures by those of the rows."""
    return [float((row["mse"] - row["difference"]) / row["mse"]) for row in rows]


def _table(rows: pd.DataFrame, decoder: str, baseline: str) -> Table:
    counts = sorted(n for n in rows["nfe"].unique().tolist() if n)
    body = []
    for method, found in rows[rows["nfe"] > 0].groupby("method", sort=False):
        at = {int(row["nfe"]): row for _, row in found.iterrows()}
        found_at = [at.get(n) for n in counts]
        body.append([str(method), *(_interval(row, "mse") for row in found_at)])
        if method != baseline:
            less = [_interval(row, "difference") for row in found_at]
            body.append([f"{method}, less {baseline}", *less])
        rms = [formats.figure(None if row is None else row["z_rms"]) for row in found_at]
        body.append([f"{method}, rms of z", *rms])
    (fresh,) = (row for _, row in rows[rows["nfe"] == 0].iterrows())
    return Table(
        title=f"Reconstruction through {decoder}, {formats.weight(fresh['w'])}",
        columns=["", *map(str, counts)],
        rows=body,
        groups=(("error, by network evaluations of encoding", len(counts)),),
        note=f"Mean squared error of {int(fresh['images'])} held-out images, pixels in [-1, 1]; ± "
        "is the 95 % interval over images, that of a difference over the images' own differences. "
        f"Decoded from fresh noise the error is {_interval(fresh, 'mse')}: what an encoding that "
        "keeps nothing reaches. rms of z: root mean square of the noise; that of the schedule's is "
        "1.",
    )


def _interval(row: pd.Series[Any] | None, column: str) -> str:
    """A row's figure with its interval, if it has one."""
    if row is None or pd.isna(row[column]):
        return formats.DASH
    return with_margin(row[column], _margin(row, column), formats.small)


def _margin(row: pd.Series[Any], column: str) -> float:
    """Half the width of the interval of a row's figure, over images."""
    return margin(row[f"{column}_se"], int(row["images"]) - 1)


def _transfer_table(transfer: pd.DataFrame) -> Table:
    body = []
    for (source, target, _), rows in transfer.groupby(["source", "target", "w"], sort=False):
        kept, another, fresh = (row for _, row in rows.iterrows())
        body.append(
            [
                f"{source} → {target}, {formats.weight(kept['w'])}",
                formats.percent(kept["accuracy"]),
                formats.percent(fresh["accuracy"]),
                _interval(kept, "mse"),
                *(_interval(row, key) for row in (another, fresh) for key in ("mse", "difference")),
            ]
        )
    first = transfer.iloc[0]
    return Table(
        title="Style transfer",
        columns=[
            "",
            "transferred",
            "fresh sample",
            "transferred",
            "another source's",
            "difference",
            "fresh sample",
            "difference",
        ],
        rows=body,
        groups=(("judged to be of the new class", 2), ("distance to the source", 5)),
        note=f"{int(first['images'])} held-out images of a class, encoded at w = 0 by "
        f"{first['encoder']} with {formats.steps(int(first['steps']))} and decoded as another by "
        f"{first['decoder']}. Compared with the source are what it became itself, what another "
        "source became, and a fresh sample of the new class, decoded from noise of no image; the "
        "differences are from the first of these. Distance: mean squared, pixels in [-1, 1]. A "
        f"class is judged by {first['judge']}. ± is the 95 % interval over images.",
    )


_LOOKS = "student o, teacher s, green ^, pink v, orange D"


def _figure(through: dict[str, pd.DataFrame]) -> Figure:
    panels: list[Panel] = []
    for decoder, rows in through.items():
        (fresh,) = rows.loc[rows["nfe"] == 0, "mse"]
        curves = []
        for method, found in rows[rows["nfe"] > 0].groupby("method", sort=False):
            ordered = (row for _, row in found.sort_values("nfe").iterrows())
            points = [(int(row["nfe"]), row["mse"], _margin(row, "mse")) for row in ordered]
            curves.append((str(method), points))
        panels.append((f"through {decoder}", fresh, curves))
    figure = Figure(figsize=(max(6.0, 4.4 * len(panels)), 4.6))
    x, y = "network evaluations of encoding", "error of reconstruction"
    counts = [int(n) for rows in through.values() for n in rows["nfe"] if n]
    draw_panels(figure, panels, counts, _LOOKS, x, y, across=len(panels), level_name="fresh noise")
    return figure
