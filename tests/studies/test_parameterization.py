"""The section of the study `parameterization`: an ablation of teachers, and students beside it."""

from __future__ import annotations

import pytest

from pdpipe.reporting.studies import parameterization

FIDS = {
    "x, SNR": 9.0,
    "x, truncated SNR": 0.6,
    "(x, eps), SNR": 0.7,
    "(x, eps), truncated SNR": 0.51,
    "v, SNR": 0.8,
    "v, truncated SNR": 0.5,
}


@pytest.fixture
def study(study_of, cell):
    teachers = [
        cell(f"teacher: {name}", 16, 0.0, fid, kind="teacher") for name, fid in FIDS.items()
    ]
    students = [cell("students: v", 4, 0.0, 0.6), cell("students: x", 4, 0.0, 9.0)]
    return study_of([*teachers, *students], baseline="students: v")


def test_teachers_stand_in_a_grid_of_predictions_and_weights(measured, study):
    grid = parameterization.section(study, measured).tables[0]
    assert grid.title == "Teachers by DDIM, 16 steps, w = 0"
    assert grid.columns == ["network predicts", "SNR", "truncated SNR"]
    assert grid.rows == [
        ["x", "9.00 ± 0.02", "0.60 ± 0.02"],
        ["(x, eps)", "0.70 ± 0.02", "0.51 ± 0.02"],
        ["v", "0.80 ± 0.02", "0.50 ± 0.02"],
    ]


def test_the_verdict_names_the_lowest_and_what_is_not_separated_from_it(measured, study):
    assert parameterization.section(study, measured).verdict == (
        "Of 6 teachers (DDIM, 16 steps, w = 0), v with truncated SNR has the lowest FID, 0.50, not "
        "separated from (x, eps) with truncated SNR; after distillation, with x, FID is higher "
        "than with v at 4 steps and w = 0 (15 times)."
    )


def test_a_missing_teacher_leaves_a_gap(measured, study_of, cell):
    rows = [
        cell("teacher: x, SNR", 16, 0.0, 9.0),
        cell("teacher: v, SNR + 1", 16, 0.0, 0.5),
        cell("students: v", 4, 0.0, 0.6),
    ]
    grid = parameterization.section(study_of(rows, baseline="students: v"), measured).tables[0]
    assert grid.rows == [["x", "9.00 ± 0.02", "–"], ["v", "–", "0.50 ± 0.02"]]
