"""Studies beside the main chain: the table of one that was run, and its section in the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdpipe import layout
from pdpipe.errors import EvaluationError
from pdpipe.files import digest_file
from pdpipe.reporting.markdown import to_markdown
from pdpipe.reporting.measurements import COLUMNS, Measurements, model_rows
from pdpipe.reporting.studies import (
    backbone,
    baselines,
    ladders,
    methods,
    parameterization,
    reconstruction,
    smaller,
)
from pdpipe.reporting.studies.entries import (
    damaged,
    read_entries,
    read_picture,
    read_table,
    write_entry,
)
from pdpipe.reporting.studies.papers import papers
from pdpipe.reporting.studies.section import Study, StudySection

if TYPE_CHECKING:
    from pdpipe.studies.arms import ArmCost, ArmRecord
    from pdpipe.studies.reconstruction import ReconstructionRecord

__all__ = [
    "StudySection",
    "others_sentence",
    "read_sections",
    "studies_markdown",
    "write_reconstruction",
    "write_study",
]

# The columns of the table of a study of arms: those of the report's, and what tells arms apart.
STUDY_COLUMNS = {
    "arm": "string",
    "method": "string",
    "budget": "Int64",  # most network evaluations an image that the arm was given
    "model_sha256": "string",
    **COLUMNS,
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What studies of a kind measure, and what the report makes of it."""

    columns: dict[str, str]  # of stages/<study>/table.csv
    comparable: list[str]  # of these, what has to be as it is in the chain's own table
    at_chains_w: bool  # whether the chain has to be measured at every w of the study
    section: Callable[[Study, Measurements], StudySection]


KINDS = {
    "arms": Kind(
        columns=STUDY_COLUMNS,
        comparable=["extractor", "num_fake", "num_real", "seed", "clip"],
        at_chains_w=True,
        section=methods.section,
    ),
    "reconstruction": Kind(
        columns=reconstruction.COLUMNS,
        comparable=["seed", "clip"],
        at_chains_w=False,
        section=reconstruction.section,
    ),
}

# What turns a study into its section; one that is not here gets that of its kind.
SECTIONS: dict[str, Callable[[Study, Measurements], StudySection]] = {
    "backbone": backbone.section,
    "baselines": baselines.section,
    "ladders": ladders.section,
    "parameterization": parameterization.section,
    "smaller-student": smaller.section,
}


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
        table, studies: the CSV to write, and the JSON file of all studies that were run.

    Raises:
        EvaluationError: the measurements and the costs of an arm are of different runs, or two
            arms were measured with different extractors.
    """
    rows = [row for record, cost in arms.values() for row in _arm_rows(record, cost)]
    extractors = {one.protocol.extractor.sha256 for arm, _ in arms.values() for one in arm.records}
    if len(extractors) > 1:
        raise EvaluationError(
            f"the arms of study {study} were measured with different extractors: run "
            f"`pdpipe study {study}`, which measures them alike"
        )
    made_from = {**about["made_from"], "extractor": extractors.pop()}
    entry = {"kind": "arms", **about, "made_from": made_from}
    write_entry(study, entry, rows, STUDY_COLUMNS, table, studies)


def write_reconstruction(
    study: str,
    about: dict[str, Any],
    record: ReconstructionRecord,
    images: Path | None,
    table: Path,
    studies: Path,
) -> None:
    """Write the table of a study of encoders, and its entry.

    All is as for `write_study`, but for the `images`, the picture that it shows.
    """
    shared = record.model_dump(include={"judge", "clip", "seed"})
    rows = [shared | row.model_dump() for row in record.rows]
    entry = {"kind": "reconstruction", **about}
    if images is not None:
        entry["images_sha256"] = digest_file(images)
    write_entry(study, entry, rows, reconstruction.COLUMNS, table, studies)


def _arm_rows(record: ArmRecord, cost: ArmCost) -> list[dict[str, object]]:
    measured = [[(c.steps, c.w, c.nfe) for c in metrics.cells] for metrics in record.records]
    if measured != [[(c.steps, c.w, c.nfe) for c in costs] for costs in cost.costs]:
        raise EvaluationError(
            f"the measurements and the costs of arm {record.arm} are of different runs: "
            "run `dvc checkout`, or measure the arm again with `dvc repro -f`"
        )
    rows: list[dict[str, object]] = []
    for metrics, costs in zip(record.records, cost.costs, strict=True):
        model = {"arm": record.arm, "method": record.method, "model_sha256": metrics.model.sha256}
        for row in model_rows(metrics, costs):
            # a single step may take more than was allowed
            budget = min((nfe for nfe in record.nfe if row["nfe"] <= nfe), default=row["nfe"])
            rows.append(model | {"budget": budget} | row)
    return rows


def read_sections(
    studies: Path, m: Measurements, digests: dict[str, str]
) -> tuple[list[StudySection], list[str]]:
    """The sections of the studies that were run on this chain's models, and the other studies.

    Args:
        studies: the JSON file of the studies that were run; none if it does not exist. Each
            folder with params beside it is a study.
        m: the chain's own measurements.
        digests: {path: sha256} of the chain's data and models, and of its `extractor`.

    Returns:
        The sections, and the names of the studies that were not run, or on other models.

    Raises:
        EvaluationError: the file is damaged, or the table of a study is missing or another.
    """
    entries = read_entries(studies)
    found = [_section(study, entry, studies, m, digests) for study, entry in entries.items()]
    sections = [section for section in found if section is not None]
    known = {path.parent.name for path in studies.parent.glob(f"*/{layout.PARAMS}")} | {*entries}
    return sections, sorted(known - {section.name for section in sections})


def others_sentence(others: list[str]) -> str:
    """What the report says of studies that were not run on its models; `` `…` `` is code."""
    it, was = ("it", "was") if len(others) == 1 else ("one", "were")
    said = f"{', '.join(others)} {was} not run on these models: `pdpipe study NAME` runs {it}."
    published = layout.PUBLISHED / "index.html"  # in pdpipe's own repository
    return said + f" What pdpipe's own runs found is in {published}." * published.exists()


def _section(
    name: str, entry: dict[str, Any], studies: Path, m: Measurements, digests: dict[str, str]
) -> StudySection | None:
    """The section of a study; None if it measured other models, or in another way."""
    if entry["kind"] not in KINDS:
        raise damaged(studies, f"there is no kind {entry['kind']!r} of study")
    kind = KINDS[entry["kind"]]
    frame = read_table(studies, name, entry["table_sha256"], kind.columns)
    chain = m.select("teacher").iloc[0]
    weights = frame["w"].unique().tolist() if kind.at_chains_w else []
    if (
        any((frame[key] != chain[key]).any() for key in kind.comparable)
        or any(digests.get(path) != sha256 for path, sha256 in entry["made_from"].items())
        or any(w not in m.guidance for w in weights)
    ):
        return None
    study = Study(baseline=entry["baseline"], frame=frame)
    section = SECTIONS.get(name, kind.section)(study, m)
    if "images_sha256" in entry:
        section = replace(section, grid=read_picture(studies, name, entry["images_sha256"]))
    about = {key: entry[key] for key in ("title", "question")}
    return replace(section, name=name, papers=papers(name), **about)


def studies_markdown(sections: list[StudySection], others: list[str]) -> str:
    """The sections as Markdown, to follow the report's tables."""
    lines = []
    for section in sections:
        lines += [f"\n## {section.title}\n", f"**{section.verdict}**\n", f"{section.question}\n"]
        if section.papers:
            cited = (f"[{label}]({url})" for label, url in section.papers)
            lines.append(f"About: {', '.join(cited)}\n")
        lines += [to_markdown(table, level=3) for table in section.tables]
    if others:
        lines.append(f"\nStudies: {others_sentence(others)}\n")
    return "\n".join(lines)
