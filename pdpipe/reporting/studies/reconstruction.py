"""A study of encoders: how much of an image returns, and what outlives a change of its class."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from pdpipe.reporting import figures, formats
from pdpipe.reporting.intervals import margin, with_margin
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.studies.section import Section, Study
from pdpipe.reporting.tables import Table

# The columns of its table; see `evaluation.reconstruction.Row`.
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
# {how a method's error lies to the baseline's: how the baseline's lies to it, in words}
VERDICTS = {
    "above": "separated from and below",
    "not separated": "not separated from",
    "below": "separated from and above",
}


def section(study: Study, m: Measurements) -> Section:
    """The study's section, from its table alone."""
    rows = study.frame[study.frame["part"] == "reconstruction"]
    transfer = study.frame[study.frame["part"] == "transfer"]
    decoders = list(dict.fromkeys(rows["decoder"]))
    tables = [_table(rows[rows["decoder"] == name], name, study.baseline) for name in decoders]
    sentences = [
        _of_decoder(rows[rows["decoder"] == name], name, study.baseline) for name in decoders
    ]
    if not transfer.empty:
        tables.append(_transfer_table(transfer))
        sentences += _of_transfer(transfer)
    return Section(
        conclusion=" ".join(sentences),
        tables=tables,
        figure=_figure(rows, decoders),
        caption="Error of reconstruction (mean squared, pixels in [-1, 1]) against the network "
        "evaluations of encoding, both logarithmic, with 95 % intervals, through each decoder; "
        "dotted: images decoded from fresh noise, of which nothing was kept.",
    )


def verdict(row: pd.Series[Any]) -> str:
    """A key of `VERDICTS`, by the 95 % interval of the row's difference from the baseline."""
    half = margin(row["difference_se"], int(row["images"]) - 1)
    if not abs(row["difference"]) > half:  # without a standard error nothing is separated
        return "not separated"
    return "above" if row["difference"] > 0 else "below"


def _of_decoder(rows: pd.DataFrame, decoder: str, baseline: str) -> str:
    """The sentence on every method against the baseline, at equal evaluations."""
    said = []
    for method, found in rows.dropna(subset="difference").groupby("method", sort=False):
        by_verdict: dict[str, list[str]] = {key: [] for key in VERDICTS}
        for _, row in found.sort_values("nfe").iterrows():
            own = formats.small(row["mse"] - row["difference"])
            figure = f"{int(row['nfe'])} ({own} against {formats.small(row['mse'])})"
            by_verdict[verdict(row)].append(figure)
        parts = [
            f"{words} that of the {method} with {', '.join(by_verdict[key])}"
            for key, words in VERDICTS.items()
            if by_verdict[key]
        ]
        said.append("; ".join(parts))
    if not said:
        return f"Through {decoder}, no method encodes with as many evaluations as the {baseline}."
    return (
        f"Through {decoder}, the error of the {baseline} is, by evaluations of encoding, "
        f"{'; '.join(said)}."
    )


# What cannot have a source's style, in words.
_CONTROLS = {
    "style transfer of another source": "what other sources became",
    "no encoder: fresh noise": "fresh samples",
}


def _of_transfer(transfer: pd.DataFrame) -> list[str]:
    """A sentence for each pair of classes: what the images became, and what they kept."""
    sentences = []
    for (source, target), rows in transfer.groupby(["source", "target"], sort=False):
        kept = rows[rows["difference"].isna()]
        low, high = (formats.percent(kept["accuracy"].agg(end)) for end in ("min", "max"))
        share = low if low == high else f"{low} to {high}"
        parts = []
        for method, others in rows.dropna(subset="difference").groupby("method", sort=False):
            by_verdict: dict[str, list[str]] = {key: [] for key in VERDICTS}
            for _, row in others.iterrows():
                by_verdict[verdict(row)].append(f"{row['w']:g}")
            parts += [
                f"{words} that of {_CONTROLS.get(str(method), method)} at w = {', '.join(at)}"
                for key, words in VERDICTS.items()
                if (at := by_verdict[key])
            ]
        sentences.append(
            f"Of the images of {source} decoded as {target}, {share} are judged to be {target}; "
            f"their distance to their sources is {'; '.join(parts)}."
        )
    return sentences


def _table(rows: pd.DataFrame, decoder: str, baseline: str) -> Table:
    counts = sorted(n for n in rows["nfe"].unique().tolist() if n)
    body = []
    for method, found in rows[rows["nfe"] > 0].groupby("method", sort=False):
        at = {int(row["nfe"]): row for _, row in found.iterrows()}
        body.append([str(method), *(_error(at.get(n)) for n in counts)])
        if method != baseline:
            body.append(
                [f"{method}, less {baseline}", *(_difference(at.get(n)) for n in counts)],
            )
        body.append([f"{method}, rms of z", *(_rms(at.get(n)) for n in counts)])
    (fresh,) = (row for _, row in rows[rows["nfe"] == 0].iterrows())
    return Table(
        title=f"Reconstruction through {decoder}, {formats.weight(fresh['w'])}",
        columns=["", *map(str, counts)],
        rows=body,
        groups=(("error, by network evaluations of encoding", len(counts)),),
        note=f"Mean squared error of {int(fresh['images'])} held-out images, pixels in [-1, 1]; ± "
        "is the 95 % interval over images, that of a difference over the images' own differences. "
        f"Decoded from fresh noise the error is {_error(fresh)}: what an encoding that keeps "
        "nothing reaches. rms of z: root mean square of the noise; that of the schedule's is 1.",
    )


def _error(row: pd.Series[Any] | None) -> str:
    return formats.DASH if row is None else _with_interval(row, "mse")


def _difference(row: pd.Series[Any] | None) -> str:
    if row is None or pd.isna(row["difference"]):
        return formats.DASH
    return _with_interval(row, "difference")


def _rms(row: pd.Series[Any] | None) -> str:
    return formats.DASH if row is None else formats.figure(row["z_rms"])


def _with_interval(row: pd.Series[Any], column: str) -> str:
    half = margin(row[f"{column}_se"], int(row["images"]) - 1)
    return with_margin(row[column], half, formats.small)


def _transfer_table(transfer: pd.DataFrame) -> Table:
    body = []
    for (source, target, _), rows in transfer.groupby(["source", "target", "w"], sort=False):
        kept, another, fresh = (row for _, row in rows.iterrows())
        body.append(
            [
                f"{source} → {target}, {formats.weight(kept['w'])}",
                formats.percent(kept["accuracy"]),
                formats.percent(fresh["accuracy"]),
                _error(kept),
                _error(another),
                _difference(another),
                _error(fresh),
                _difference(fresh),
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


_LOOKS = [
    (figures.STUDENT, "o"),
    (figures.TEACHER, "s"),
    ("#009e73", "^"),
    ("#cc79a7", "v"),
    ("#e69f00", "D"),
]


def _figure(rows: pd.DataFrame, decoders: list[str]) -> Figure:
    figure = Figure(figsize=(max(6.0, 4.4 * len(decoders)), 4.6))
    panels = figure.subplots(1, len(decoders), sharex=True, sharey=True, squeeze=False)[0]
    coded = rows[rows["nfe"] > 0]
    for axes, decoder in zip(panels, decoders, strict=True):
        (fresh,) = rows.loc[(rows["decoder"] == decoder) & (rows["nfe"] == 0), "mse"]
        axes.axhline(fresh, color=figures.FAINT, linestyle=":", label="fresh noise")
        methods = coded[coded["decoder"] == decoder].groupby("method", sort=False)
        for (name, found), (colour, marker) in zip(methods, cycle(_LOOKS)):
            ordered = found.sort_values("nfe")
            axes.errorbar(
                ordered["nfe"].tolist(),
                ordered["mse"].tolist(),
                yerr=[
                    margin(row["mse_se"], int(row["images"]) - 1) for _, row in ordered.iterrows()
                ],
                color=colour,
                marker=marker,
                label=str(name),
            )
        axes.set_title(f"through {decoder}")
    figures.log_axis(panels[0], "y", rows["mse"])
    figures.steps_axis(panels[0], coded["nfe"].tolist())
    figure.supxlabel("network evaluations of encoding", fontsize=10, color=figures.INK)
    figure.supylabel("error of reconstruction", fontsize=10, color=figures.INK)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, fontsize=9)
    return figure
