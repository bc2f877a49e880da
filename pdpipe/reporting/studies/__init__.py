"""Studies beside the main chain: the table of one that was run, and its section in the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pdpipe.errors import EvaluationError
from pdpipe.files import digest_file, write_json, write_text
from pdpipe.reporting import formats
from pdpipe.reporting.markdown import to_markdown
from pdpipe.reporting.measurements import COLUMNS, Measurements, model_rows
from pdpipe.reporting.studies import baselines, methods
from pdpipe.reporting.studies.section import Section, Study, out_of_date

if TYPE_CHECKING:
    from pdpipe.evaluation.arms import ArmCost, ArmRecord

__all__ = ["Section", "read_sections", "studies_markdown", "write_study"]

# The columns of stages/<study>/table.csv: those of the report's table, and what tells arms apart.
STUDY_COLUMNS = {
    "arm": "string",
    "method": "string",
    "budget": "Int64",  # most network evaluations an image that the arm was given
    "model_sha256": "string",
    **COLUMNS,
}

# What turns a study into its section; one that is not here gets the tables of `methods`.
SECTIONS: dict[str, Callable[[Study, Measurements], Section]] = {"baselines": baselines.section}


def write_study(
    study: str,
    about: dict[str, Any],
    arms: dict[str, tuple[ArmRecord, ArmCost]],
    table: Path,
    studies: Path,
) -> None:
    """Write a study's table, and its entry among the studies that the report takes up.

    Args:
        study: its name.
        about: `title`; `question`, that it answers; `baseline`, the method that others are
            compared with; `made_from`, {path: sha256} of what it used of the main chain.
        arms: the measurements and costs of each arm.
        table: the CSV to write.
        studies: the JSON file of all studies that were run; the others' entries stay.

    Raises:
        EvaluationError: the measurements and the costs of an arm are of different runs, or two
            arms were measured with different extractors.
    """
    rows = [row for record, cost in arms.values() for row in _arm_rows(record, cost)]
    extractors = {one.protocol.extractor.sha256 for arm, _ in arms.values() for one in arm.records}
    if len(extractors) > 1:
        raise EvaluationError(
            f"the arms of study {study} were measured with different extractors: run "
            f"`dvc repro stages/{study}/dvc.yaml`, which measures them alike"
        )
    made_from = {**about["made_from"], "extractor": extractors.pop()}
    frame = pd.DataFrame(rows, columns=list(STUDY_COLUMNS)).astype(STUDY_COLUMNS)
    write_text(table, frame.to_csv(index=False, lineterminator="\n"))
    entry = {**about, "made_from": made_from, "table_sha256": digest_file(table)}
    others = _entries(studies) if studies.is_file() else {}
    write_json(studies, dict(sorted({**others, study: entry}.items())))


def _arm_rows(record: ArmRecord, cost: ArmCost) -> list[dict[str, object]]:
    measured = [[(c.steps, c.w, c.nfe) for c in metrics.cells] for metrics in record.records]
    if measured != [[(c.steps, c.w, c.nfe) for c in costs] for costs in cost.costs]:
        raise EvaluationError(
            f"the measurements and the costs of arm {record.arm} are of different runs: "
            "run `dvc checkout`, or measure the arm again with `dvc repro -f`"
        )
    rows: list[dict[str, object]] = []
    for metrics, costs in zip(record.records, cost.costs, strict=True):
        shared = {
            "arm": record.arm,
            "method": record.method,
            "model_sha256": metrics.model.sha256,
        }
        for row in model_rows(metrics, costs):
            # a single step may take more than was allowed
            budget = min((nfe for nfe in record.nfe if row["nfe"] <= nfe), default=row["nfe"])
            rows.append(shared | {"budget": budget} | row)
    return rows


def read_sections(studies: Path, m: Measurements, digests: dict[str, str]) -> list[Section]:
    """The section of each study that was run; one that measured other models says so instead.

    Args:
        studies: the JSON file of the studies that were run; none if it does not exist.
        m: the chain's own measurements.
        digests: {path: sha256} of the chain's data and models, and of its `extractor`.

    Raises:
        EvaluationError: the file is damaged, or the table of a study is missing or another.
    """
    sections = []
    for study, entry in _entries(studies).items() if studies.is_file() else ():
        frame = _table(studies, study, entry["table_sha256"])
        others = _differences(frame, entry["made_from"], m, digests)
        if others:
            section = out_of_date(study, others)
        else:
            about = {key: entry[key] for key in ("title", "question", "baseline")}
            run = Study(name=study, frame=frame, **about)
            section = SECTIONS.get(study, methods.section)(run, m)
        title, question = entry["title"], entry["question"]
        sections.append(replace(section, name=study, title=title, question=question))
    return sections


# What has to be equal for the figures of a study to stand beside the chain's.
_COMPARABLE = ["extractor", "num_fake", "num_real", "seed", "clip"]


def _differences(
    frame: pd.DataFrame, made_from: dict[str, str], m: Measurements, digests: dict[str, str]
) -> list[str]:
    """What a study measured, or how it measured, that is not the chain's."""
    chain = m.select("teacher").iloc[0]
    protocol = [key for key in _COMPARABLE if (frame[key] != chain[key]).any()]
    files = sorted(path for path, sha256 in made_from.items() if digests.get(path) != sha256)
    weights = [formats.weight(w) for w in frame["w"].unique() if w not in m.guidance]
    return list(dict.fromkeys([*files, *protocol, *weights]))


def studies_markdown(sections: list[Section]) -> str:
    """The sections as Markdown, to follow the report's tables."""
    lines = []
    for section in sections:
        lines += [f"\n## {section.title}\n", f"{section.question}\n", f"{section.conclusion}\n"]
        lines += [to_markdown(table, level=3) for table in section.tables]
    return "\n".join(lines)


def _entries(studies: Path) -> dict[str, dict[str, Any]]:
    try:
        entries = json.loads(studies.read_text(encoding="utf-8"))
        for entry in entries.values():
            for key in ("title", "question", "baseline", "made_from", "table_sha256"):
                entry[key]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(
            f"{studies} is damaged ({error}): write {{}} into it, and for each study run "
            "`dvc repro -f -s stages/<study>/dvc.yaml:conclude`"
        ) from None
    return dict(entries)


def _table(studies: Path, study: str, sha256: str) -> pd.DataFrame:
    path = studies.parent / study / "table.csv"
    again = f"run `dvc repro -f -s stages/{study}/dvc.yaml:conclude`"
    if not path.is_file():
        raise EvaluationError(f"{path} does not exist: {again}")
    if digest_file(path) != sha256:
        raise EvaluationError(f"{path} is not the table that the study {study} wrote: {again}")
    frame = pd.read_csv(path, dtype=STUDY_COLUMNS)
    if list(frame.columns) != list(STUDY_COLUMNS):
        raise EvaluationError(f"{path} has other columns than this version writes: {again}")
    return frame
