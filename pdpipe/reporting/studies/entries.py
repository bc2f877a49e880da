"""stages/studies.json, the studies that were run, and the table of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pdpipe.errors import EvaluationError
from pdpipe.evaluation.metrics import METRICS
from pdpipe.files import digest_file, parse_json, sealed, unsealed, write_json, write_text

# Columns that tables of earlier versions lack.
_NEW = {name for key, m in METRICS.items() if m.new for name in (key, f"{key}_se")}
_KEYS = ("kind", "title", "question", "baseline", "made_from", "table_sha256")


def write_entry(
    study: str,
    about: Mapping[str, Any],
    rows: list[dict[str, object]],
    columns: dict[str, str],
    table: Path,
    studies: Path,
) -> None:
    """Write a study's table, and its entry; the entries of other studies stay.

    Args:
        study: its name.
        about: what its entry says of it, but for the table's digest.
        rows, columns: of its table; {name: type}.
        table: the CSV to write.
        studies: the JSON file of all studies that were run.

    Raises:
        EvaluationError: that file is damaged.
    """
    frame = pd.DataFrame(rows, columns=list(columns)).astype(columns)
    write_text(table, frame.to_csv(index=False, lineterminator="\n"))
    entries = {**read_entries(studies), study: {**about, "table_sha256": digest_file(table)}}
    write_json(studies, {name: sealed(entry) for name, entry in sorted(entries.items())})


def read_entries(studies: Path) -> dict[str, dict[str, Any]]:
    """{study: its entry}, none if the file does not exist; raises EvaluationError if damaged."""
    if not studies.is_file():
        return {}
    try:
        read = parse_json(studies.read_text(encoding="utf-8"))
        entries = {study: unsealed(entry) for study, entry in read.items()}
        for entry in entries.values():
            for key in _KEYS:
                entry[key]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(studies, str(error)) from None
    return entries


def damaged(studies: Path, detail: str) -> EvaluationError:
    """The error of a file of studies that does not hold what it should."""
    return EvaluationError(
        f"{studies} is damaged ({detail}): write {{}} into it, and for each study run "
        "`pdpipe conclude <study>`"
    )


def read_table(studies: Path, study: str, sha256: str, columns: dict[str, str]) -> pd.DataFrame:
    """A study's table.

    Args:
        studies: the file of all studies.
        study: which one.
        sha256: of the table, by the study's entry.
        columns: {name: type} of each.

    Raises:
        EvaluationError: it is not the table that its entry is of, or not one of this version.
    """
    path, mend = studies.parent / study / "table.csv", again(study, "conclude")
    if not path.is_file():
        raise EvaluationError(f"{path} does not exist: {mend}")
    if digest_file(path) != sha256:
        raise EvaluationError(f"{path} is not the table that the study {study} wrote: {mend}")
    frame = pd.read_csv(path, dtype=columns)
    if set(columns) - _NEW <= set(frame.columns) <= set(columns):
        frame = frame.reindex(columns=list(columns)).astype(columns)
    if list(frame.columns) != list(columns):
        raise EvaluationError(f"{path} has other columns than this version writes: {mend}")
    return frame


def again(study: str, stage: str) -> str:
    """How what a stage of a study makes is made anew."""
    return f"run `pdpipe {stage} {study}`"
