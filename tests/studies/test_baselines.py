"""The section of the study `baselines`: every method at equal evaluations, and what follows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pdpipe.errors import EvaluationError
from pdpipe.files import digest_file, sealed
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.studies import baselines, read_sections, studies_markdown
from pdpipe.reporting.studies.section import Study as Run

# As in the table of conftest.py.
SHA = {
    "models/teacher.safetensors": "a" * 64,
    "models/student-2.safetensors": "b" * 64,
    "models/student-4.safetensors": "c" * 64,
    "extractor": "e" * 64,
}
STUDENT_2, STUDENT_4 = "models/student-2.safetensors", "models/student-4.safetensors"
Study = Callable[..., pd.DataFrame]


def test_a_tuned_method_takes_the_best_gamma_of_each_cell(measured: Measurements, study: Study):
    found = {method.name: method for method in baselines.methods(study(), measured)}
    assert list(found) == [
        "student by DDIM",
        "student by ancestral sampling, tuned γ",
        "teacher by DDIM",
        "teacher by Heun's method",
        "teacher by ancestral sampling, γ = 0",
        "teacher by ancestral sampling, γ = 1",
        "teacher by ancestral sampling, tuned γ",
    ]
    tuned = found["teacher by ancestral sampling, tuned γ"].cells[4, 1.0]
    assert (tuned["gamma"], tuned["fid"]) == (0.5, 2.0)
    student = found["student by ancestral sampling, tuned γ"].cells[4, 0.0]
    assert (student["model"], student["gamma"]) == ("student-4", 0.0)


def test_methods_stand_side_by_side_at_equal_evaluations(measured: Measurements, study: Study):
    tables = baselines.section(as_study(study()), measured).tables
    assert [table.title.rpartition(", ")[2] for table in tables[1:]] == ["w = 0", "w = 1"]
    cells = {row[0]: row[1:] for row in tables[2].rows}
    # at w = 1 the teacher evaluates twice a step: DDIM-1 for 2 evaluations, DDIM-2 for 4
    assert cells["teacher by DDIM"] == ["5.00 ± 0.02", "3.00 ± 0.02"]
    assert cells["student by DDIM"] == ["0.55 ± 0.02", "0.53 ± 0.02"]
    assert cells["teacher by Heun's method"] == ["4.00 ± 0.02 (1)", "2.50 ± 0.02 (3)"]


def test_the_verdict_follows_the_figures_and_their_intervals(measured, study):
    def verdict(**changes: object) -> str:
        return baselines.section(as_study(study(**changes)), measured).verdict

    # at 2 and w = 0, 1: 0.55 against 1.00 and 3.00; at 4: 0.525 against 0.50 and 2.00
    assert verdict() == (
        "With the best of the teacher's samplers, FID is higher than with the student by DDIM in 3 "
        "of the 4 combinations of evaluations and w, most of them at w = 1 (typically 3.36 times, "
        "1.82 to 5.45), and not separated at 4 evaluations and w = 0."
    )
    exact = verdict(fid_se=0.0)
    assert "lower than with the student by DDIM at 4 evaluations and w = 0 (0.95 times)" in exact
    assert "higher than with the student by DDIM in all 4 combinations" in verdict(fid=2.0)
    assert "lower than with the student by DDIM in all 4 combinations" in verdict(fid=0.1)


def as_study(frame: pd.DataFrame) -> Run:
    """A study that was run, with this table."""
    return Run(baseline="", frame=frame)


def test_no_sampler_is_the_best_that_the_intervals_do_not_separate(measured, study):
    """At 4 evaluations and w = 0: tuned 0.50, Heun, γ = 0 and γ = 1 0.75, DDIM 1.00."""

    def best(fid_se: float) -> list[str]:
        table, *_ = baselines.section(as_study(study(fid_se=fid_se)), measured).tables
        (row,) = (row for row in table.rows if row[:2] == ["4", "w = 0"])
        assert row[2].startswith("0.53")
        assert row[3].startswith("0.50")
        return row[4:]

    assert best(0.01) == ["ancestral sampling, tuned γ", "0"]
    assert best(0.1) == ["ancestral sampling, tuned γ", "3"]
    assert best(10.0) == ["ancestral sampling, tuned γ", "4"]


def write(folder: Path, frame: pd.DataFrame, name: str = "baselines") -> Path:
    """A studies.json with one entry, whose table is `frame`."""
    table = folder / name / "table.csv"
    table.parent.mkdir()
    frame.to_csv(table, index=False)
    entry = {"kind": "arms", "title": "Samplers", "question": "How far?", "baseline": ""}
    entry |= {"made_from": SHA}
    entry["table_sha256"] = digest_file(table)
    (folder / "studies.json").write_text(json.dumps({name: sealed(entry)}))
    return folder / "studies.json"


def test_sections_are_read_from_the_files(measured, study, tmp_path: Path):
    (section,), others = read_sections(write(tmp_path, study()), measured, SHA)
    assert others == []
    direct = baselines.section(as_study(study()), measured)
    assert (section.name, section.question) == ("baselines", "How far?")
    assert (section.tables, section.verdict) == (direct.tables, direct.verdict)
    text = studies_markdown([section], [])
    assert "## Samplers" in text
    assert "### Samplers at equal evaluations, w = 1" in text
    assert text.splitlines()[3] == f"**{section.verdict}**"  # before all else
    assert "not run" not in text


def test_an_entry_that_changed_on_the_disk_is_refused(measured, study, tmp_path: Path):
    studies = write(tmp_path, study())
    studies.write_text(studies.read_text().replace("How far?", "How fat?"))
    with pytest.raises(EvaluationError, match=r"studies.json is damaged \(its checksum does not"):
        read_sections(studies, measured, SHA)


def test_without_studies_there_is_no_section(measured, tmp_path: Path):
    assert read_sections(tmp_path / "studies.json", measured, SHA) == ([], [])
    (tmp_path / "studies.json").write_text("{}")
    assert read_sections(tmp_path / "studies.json", measured, SHA) == ([], [])
    for name in ("naive", "baselines"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "params.yaml").touch()
    (tmp_path / "notes").mkdir()
    others = ["baselines", "naive"]
    assert read_sections(tmp_path / "studies.json", measured, SHA) == ([], others)
    assert studies_markdown([], others).strip() == (
        "Studies: baselines, naive were not run on these models: `pdpipe study NAME` runs one. "
        "What pdpipe's own runs found is in docs/results/index.html."
    )


@pytest.mark.parametrize(
    ("changes", "models"),
    [
        ({}, {**SHA, STUDENT_4: "d" * 64}),
        ({}, {path: sha for path, sha in SHA.items() if path != STUDENT_2}),
        ({}, {**SHA, "extractor": "d" * 64}),
        ({"w": 3.0}, SHA),
        ({"num_fake": 300}, SHA),
        ({"seed": 2}, SHA),
    ],
)
def test_another_chains_study_is_not_shown(measured, study, tmp_path, changes, models):
    found = read_sections(write(tmp_path, study(**changes)), measured, models)
    assert found == ([], ["baselines"])


def refused(studies: Path, measured: Measurements) -> str:
    with pytest.raises(EvaluationError) as error:
        read_sections(studies, measured, SHA)
    return str(error.value)


def test_damaged_entries_and_tables_are_refused(measured, study, tmp_path: Path):
    studies = write(tmp_path, study())
    table = tmp_path / "baselines/table.csv"
    table.write_text(table.read_text() + "x")
    again = "run `pdpipe conclude baselines`"
    assert refused(studies, measured) == (
        f"{table} is not the table that the study baselines wrote: {again}"
    )
    table.unlink()
    assert refused(studies, measured) == f"{table} does not exist: {again}"
    for damaged in ("{", "[1]", '{"baselines": {"question": "?"}}', '{"baselines": 3}'):
        studies.write_text(damaged)
        assert "write {} into it, and for each study run `pdpipe conclude <study>`" in refused(
            studies, measured
        )


def test_a_table_of_another_version_is_refused(measured, study, tmp_path: Path):
    studies = write(tmp_path, study().drop(columns="grid"))
    assert "has other columns than this version writes" in refused(studies, measured)
