"""One side of a comparison: what a chain measured, with which settings and in which way."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdpipe import layout
from pdpipe.errors import EvaluationError, brief
from pdpipe.evaluation.metrics import AGAINST_STEPS
from pdpipe.evaluation.records import JACKKNIFE_DOF
from pdpipe.files import parse_json, unsealed
from pdpipe.params import dotted, settings_of
from pdpipe.reporting import formats
from pdpipe.reporting.results import COMPARABLE

TABLE = layout.REPORTS / "table.csv"
FIGURES = tuple(metric.key for metric in AGAINST_STEPS)
ERRORS = tuple(f"{key}_se" for key in FIGURES)  # not in the tables of early versions
Place = tuple[str, int, float]  # (model, steps, w) of a cell
# What a cell was made with: it may differ between two chains, and their figures still compare.
MADE_WITH = ("sampler", "gamma", "grid", "weights", "guidance")
MEASURED_WITH = (*COMPARABLE, "standard_errors")
MADE_AGAIN = "`dvc repro report` makes it again"
# {field of the protocol: the table's column}. The table has a figure that is called `precision`.
COLUMNS = {
    **{name: name for name in (*MEASURED_WITH, *MADE_WITH) if name != "extractor"},
    "extractor.name": "extractor",
    "extractor.sha256": "extractor_sha256",
    "precision": "precision_of_networks",
}


@dataclass(frozen=True, kw_only=True)
class Side:
    """A chain as its report has it.

    `cells` has the `FIGURES`, the `ERRORS` (NaN for none) and the degrees of freedom of those,
    `se_dof`, of every cell of generated images, in the table's order. `protocols` maps each model
    to its protocol, by dotted fields.
    """

    name: str
    cells: dict[Place, dict[str, float]]
    protocols: dict[str, dict[str, Any]]
    settings: dict[str, Any] | None  # {dotted key: value}; None: the report came without
    whole: bool  # whether every protocol says which file the extractor was


def read_side(name: str, read: Callable[[Path], str | None]) -> Side:
    """The chain whose files `read` gives.

    The figures are those of the report's table. Protocols are those of the metrics files, which a
    project has in git, and as far as the table knows them where a table is all there is.

    Args:
        name: for the reader.
        read: the text of a file, None if there is none.

    Raises:
        EvaluationError: there is no report, it is damaged, or not of the metrics beside it.
        ParamsError: its params are not YAML.
    """
    text = read(TABLE)
    if text is None:
        raise EvaluationError(
            f"{name} has no {TABLE}: run `dvc repro`, which makes it, and commit what it made "
            "before you experiment; then compare with that commit"
        )
    rows = read_rows(text, f"{TABLE} of {name}")
    protocols = {row["model"]: _protocol_in_table(row) for row in rows}
    cells = _cells(rows, f"{TABLE} of {name}")
    whole = True
    for model in protocols:
        path = layout.metrics(model)
        record = read(path)
        whole = whole and (record is not None or "extractor.sha256" in protocols[model])
        if record is not None:
            protocols[model] |= _protocol_of(record, model, cells, f"{path} of {name}")
    params = read(layout.PARAMS)
    settings = None if params is None else settings_of(params, f"{layout.PARAMS} of {name}")
    return Side(name=name, cells=cells, protocols=protocols, settings=settings, whole=whole)


def read_rows(text: str, where: str) -> list[dict[str, str]]:
    """The rows of generated images in the text of a report's table, by column.

    Raises:
        EvaluationError: it is no report's table, or damaged.
    """
    try:
        columns, *lines = list(csv.reader(io.StringIO(text), strict=True)) or [[]]
    except csv.Error as error:
        raise EvaluationError(f"{where} is damaged ({error}): {MADE_AGAIN}") from None
    absent = [name for name in ("model", "kind", "steps", "w", *FIGURES) if name not in columns]
    if absent:
        raise EvaluationError(f"{where} has no column {absent[0]!r}, so it is no report's table")
    for number, line in enumerate(lines, start=2):
        if len(line) != len(columns):
            raise EvaluationError(
                f"{where} is damaged (line {number} has {len(line)} fields, not {len(columns)}): "
                f"{MADE_AGAIN}"
            )
    rows = [dict(zip(columns, line, strict=True)) for line in lines]
    generated = [row for row in rows if row["kind"] != "real"]
    if not generated:
        raise EvaluationError(f"{where} has no row of generated images: {MADE_AGAIN}")
    return generated


def _cells(rows: list[dict[str, str]], where: str) -> dict[Place, dict[str, float]]:
    cells: dict[Place, dict[str, float]] = {}
    for row in rows:
        try:
            place = (row["model"], int(row["steps"]), float(row["w"]))
            figures = {name: _finite(row[name]) for name in FIGURES}
            figures |= {name: float(row.get(name) or math.nan) for name in ERRORS}
            figures["se_dof"] = _dof(row.get("se_dof") or JACKKNIFE_DOF)
        except ValueError as error:
            raise EvaluationError(
                f"{where} is damaged ({error}, in a row of {row['model']}): {MADE_AGAIN}"
            ) from None
        if place in cells:
            at = f"{formats.steps(place[1])}, {formats.weight(place[2])}"
            raise EvaluationError(f"{where} has two rows for {place[0]} at {at}: {MADE_AGAIN}")
        cells[place] = figures
    return cells


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"a figure is {text}")
    return number


def _dof(text: str | int) -> float:
    if (number := int(text)) < 1:
        raise ValueError(f"se_dof is {text}")
    return float(number)


def _protocol_in_table(row: dict[str, str]) -> dict[str, Any]:
    """What a row of the table knows of its protocol, by the names and types of metrics files."""
    return {name: _plain(row[column]) for name, column in COLUMNS.items() if row.get(column)}


def _plain(text: str) -> Any:
    """`text` as the number or truth value that it spells, if it does."""
    words = {"True": True, "False": False}
    try:
        return words[text] if text in words else parse_json(text)
    except ValueError:
        return text


def _protocol_of(
    text: str, model: str, cells: dict[Place, dict[str, float]], where: str
) -> dict[str, Any]:
    """The protocol in the text of a metrics file, whose figures are those of the table."""
    try:
        record = unsealed(parse_json(text))
        protocol = dotted(record["protocol"])
        measured = {(cell["steps"], float(cell["w"])): _measured(cell) for cell in record["cells"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(
            f"{where} is damaged ({brief(error, 100)}): `dvc repro` makes it again"
        ) from None
    for (name, steps, w), figures in cells.items():
        if name != model:
            continue
        at = f"({model}, {formats.steps(steps)}, {formats.weight(w)}): run `dvc repro report`"
        if (steps, w) not in measured:
            raise EvaluationError(f"{where} lacks a cell that {TABLE} has {at}")
        for metric, value in measured[steps, w].items():
            if figures[metric] != value and not math.isnan(figures[metric] - value):
                raise EvaluationError(
                    f"{where} has {metric.upper()} {value} where {TABLE} has {figures[metric]} {at}"
                )
    return protocol


def _measured(cell: dict[str, Any]) -> dict[str, float]:
    """The figures of a cell of a metrics file and their errors, NaN for none, as far as it has any.

    A damaged table is told from a whole one by these: it has no digest of its own.
    """
    known = {name: cell[name] for name in (*FIGURES, *ERRORS) if name in cell}
    return {name: math.nan if value is None else float(value) for name, value in known.items()}
