"""Studies beside the main chain: the table of one that was run, and its section in the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pdpipe.errors import EvaluationError, did_you_mean
from pdpipe.files import digest_file, write_json, write_text
from pdpipe.reporting.measurements import COLUMNS, Measurements, model_rows
from pdpipe.reporting.studies import baselines
from pdpipe.reporting.studies.section import Section, out_of_date
from pdpipe.reporting.tables import to_markdown

if TYPE_CHECKING:
    from pdpipe.evaluation.arms import ArmCost, ArmRecord

__all__ = ["Section", "read_sections", "studies_markdown", "write_study"]

# The columns of stages/<study>/table.csv: those of the report's table, and what tells arms apart.
STUDY_COLUMNS = {
    "arm": "string",
    "budget": "Int64",  # most network evaluations an image that the arm was given
    "model_sha256": "string",
    **COLUMNS,
}

# What turns a study's table into its section; the question of its params is put above it.
SECTIONS: dict[str, Callable[[pd.DataFrame, Measurements], Section]] = {
    "baselines": baselines.section,
}


def write_study(
    study: str,
    question: str,
    arms: dict[str, tuple[ArmRecord, ArmCost]],
    table: Path,
    studies: Path,
) -> None:
    """Write a study's table, and its entry among the studies that the report takes up.

    Args:
        study: its name.
        question: that it answers.
        arms: the measurements and costs of each arm.
        table: the CSV to write.
        studies: the JSON file of all studies that were run; the others' entries stay.
    """
    rows = [row for record, cost in arms.values() for row in _arm_rows(record, cost)]
    frame = pd.DataFrame(rows, columns=list(STUDY_COLUMNS)).astype(STUDY_COLUMNS)
    write_text(table, frame.to_csv(index=False, lineterminator="\n"))
    entry = {"question": question, "table_sha256": digest_file(table)}
    others = _entries(studies) if studies.is_file() else {}
    write_json(studies, dict(sorted({**others, study: entry}.items())))


def _arm_rows(record: ArmRecord, cost: ArmCost) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for metrics, costs in zip(record.records, cost.costs, strict=True):
        for row in model_rows(metrics, costs):
            within = [nfe for nfe in record.nfe if row["nfe"] <= nfe]
            budget = min(within, default=max(record.nfe))
            shared = {"arm": record.arm, "budget": budget, "model_sha256": metrics.model.sha256}
            rows.append(shared | row)
    return rows


def read_sections(studies: Path, m: Measurements, models: dict[str, str]) -> list[Section]:
    """The section of each study that was run; one that measured other models says so instead.

    Args:
        studies: the JSON file of the studies that were run; none if it does not exist.
        m: the chain's own measurements.
        models: {name: sha256} of the chain's models.

    Raises:
        EvaluationError: an entry is of no known study, or its table is missing or another.
    """
    sections = []
    for study, entry in _entries(studies).items() if studies.is_file() else ():
        if study not in SECTIONS:
            raise EvaluationError(
                f"{studies} has the study {study!r}, for which there is no section: "
                f"{did_you_mean(study, SECTIONS)}"
            )
        frame = _table(studies, study, entry["table_sha256"])
        others = _other_protocol(frame, m) or _other_models(frame, models)
        section = out_of_date(study, others) if others else SECTIONS[study](frame, m)
        sections.append(replace(section, name=study, question=entry["question"]))
    return sections


# What has to be equal for the figures of a study to stand beside the chain's.
_COMPARABLE = ["extractor", "num_fake", "num_real", "seed", "clip", "weights"]


def _other_protocol(frame: pd.DataFrame, m: Measurements) -> list[str]:
    """The parts of the protocol in which a study differs from the chain's measurements."""
    chain = m.select("teacher").iloc[0]
    return [key for key in _COMPARABLE if (frame[key] != chain[key]).any()]


def _other_models(frame: pd.DataFrame, models: dict[str, str]) -> list[str]:
    """The models in a study's table that are not the chain's of that name."""
    measured = frame[["model", "model_sha256"]].drop_duplicates()
    return [name for name, sha256 in measured.itertuples(index=False) if models.get(name) != sha256]


def studies_markdown(sections: list[Section]) -> str:
    """The sections as Markdown, to follow the report's tables."""
    lines = []
    for section in sections:
        lines += [f"\n## {section.title}\n", f"{section.question}\n", f"{section.conclusion}\n"]
        lines += [to_markdown(table, level=3) for table in section.tables]
    return "\n".join(lines)


def _entries(studies: Path) -> dict[str, dict[str, str]]:
    try:
        entries = json.loads(studies.read_text(encoding="utf-8"))
        for entry in entries.values():
            entry["question"], entry["table_sha256"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(
            f"{studies} is damaged ({error}): write {{}} into it, and run the studies again"
        ) from None
    return dict(entries)


def _table(studies: Path, study: str, sha256: str) -> pd.DataFrame:
    path = studies.parent / study / "table.csv"
    again = f"run `dvc repro -f -s stages/{study}/dvc.yaml:conclude`"
    if not path.is_file():
        raise EvaluationError(f"{path} does not exist: {again}")
    if digest_file(path) != sha256:
        raise EvaluationError(f"{path} is not the table that the study {study} wrote: {again}")
    return pd.read_csv(path, dtype=STUDY_COLUMNS)
