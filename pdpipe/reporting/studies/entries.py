"""stages/studies.json, the studies that were run, and the table and the picture of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from pdpipe.errors import DamagedError, EvaluationError, brief
from pdpipe.evaluation.metrics import METRICS
from pdpipe.files import digest_file, parse_json, sealed, unsealed, write_json, write_text
from pdpipe.reporting.grids import BLOCK, Grid, block
from pdpipe.tensor_files import load_tensors

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
    """Write a study's table, of `columns` {name: type}, and its entry beside those of the others.

    The entry is `about` and the table's digest.

    Raises:
        EvaluationError: the JSON file of all studies is damaged.
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
    """A study's table, of these columns and the digest that its entry has.

    Raises:
        EvaluationError: it is not the table that its entry is of, or not one of this version.
    """
    path, mend = studies.parent / study / "table.csv", f"run `pdpipe conclude {study}`"
    _check(path, sha256, f"the table that the study {study} wrote", mend)
    frame = pd.read_csv(path, dtype=columns)
    if set(columns) - _NEW <= set(frame.columns) <= set(columns):
        frame = frame.reindex(columns=list(columns)).astype(columns)
    if list(frame.columns) != list(columns):
        raise EvaluationError(f"{path} has other columns than this version writes: {mend}")
    return frame


class _About(BaseModel):
    """The metadata beside the images of a picture."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    title: str
    shows: str
    rows: list[str]
    columns: list[str]


def read_picture(studies: Path, study: str, sha256: str) -> Grid:
    """What `studies.reconstruction.save_pictures` wrote for a study, as labelled blocks.

    Raises:
        EvaluationError: the file is missing, another than its entry is of, or damaged.
    """
    path, mend = studies.parent / study / "images.safetensors", f"run `pdpipe reconstruct {study}`"
    _check(path, sha256, "the picture that its study wrote", mend)
    try:
        tensors, found = load_tensors(path, "picture")
        about, images = _About.model_validate(found), tensors["images"].numpy()
    except (DamagedError, KeyError, ValidationError) as error:
        raise EvaluationError(f"{path} is damaged ({brief(error)}): {mend}") from None
    if images.dtype != np.uint8 or images.shape[:2] != (len(about.rows), len(about.columns)):
        raise EvaluationError(f"{path} holds other images than its labels say: {mend}")
    across = min(BLOCK, images.shape[2])
    return Grid(
        **about.model_dump(),
        blocks=[[block(cell, across) for cell in row] for row in images],
        breaks=[],
    )


def _check(path: Path, sha256: str, what: str, mend: str) -> None:
    if not path.is_file():
        raise EvaluationError(f"{path} does not exist: {mend}")
    if digest_file(path) != sha256:
        raise EvaluationError(f"{path} is not {what}: {mend}")
