"""The section of a study of students: cells side by side, and only what is separated is ranked."""

from __future__ import annotations

import pytest

from pdpipe.reporting.studies import methods


# The chain's students have 0.55 with 2 steps and 0.525 with 4, at w = 0 and 1, each +- 0.01.
@pytest.fixture
def cells(cell):
    return [
        cell("other", 4, 0.0, 0.3),
        cell("other", 4, 1.0, 0.53),
        cell("other", 2, 0.0, 0.9, nfe=4),
        cell("other", 8, 0.0, 0.1),
    ]


def test_only_separated_cells_are_ranked(measured, study_of, cells):
    found = methods.section(study_of(cells), measured)
    assert found.verdict == (
        "With other, FID is lower than with the student of the main chain at 4 steps and w = 0 "
        "(0.57 times), higher at 2 steps and w = 0 (1.64 times), and not separated elsewhere."
    )
    assert found.tables[0].title == "Beside the baseline, student of the main chain"
    assert found.tables[0].rows == [
        ["other", "4 steps", "0", "1", "–", "0.76 (0.57 to 1.01)"],
        ["other", "2 steps", "–", "–", "0", "1.64"],
    ]


@pytest.mark.parametrize("se", [0.2, float("nan")])
def test_wide_or_missing_intervals_separate_nothing(measured, se: float, study_of, cell):
    rows = [cell("other", 4, 0.0, 0.3, se), cell("other", 2, 1.0, 0.9, se)]
    assert methods.section(study_of(rows), measured).verdict == (
        "With other, FID is not separated from that with the student of the main chain in any of "
        "the 2 combinations of steps and w (typically 0.97 times, 0.57 to 1.64)."
    )


def test_the_table_has_a_row_for_each_method_and_step_count(measured, study_of, cells):
    _, table, _ = methods.section(study_of(cells), measured).tables
    assert table.columns == ["steps", "method", "w = 0", "w = 1"]
    assert table.rows == [
        ["8 steps", "other", "0.10 ± 0.02", "–"],
        ["4 steps", "student of the main chain", "0.53 ± 0.02", "0.53 ± 0.02"],
        ["4 steps", "other", "0.30 ± 0.02", "0.53 ± 0.02"],
        ["2 steps", "student of the main chain", "0.55 ± 0.02", "0.55 ± 0.02"],
        ["2 steps", "other", "0.90 ± 0.02 (4)", "–"],
    ]
    assert "more than the steps" in (table.note or "")


def test_a_baseline_of_its_own(measured, study_of, cell):
    rows = [cell("a", 4, 0.0, 0.3), cell("b", 4, 0.0, 0.6), cell("c", 1, 0.0, 0.2)]
    found = methods.section(study_of(rows, baseline="b"), measured)
    assert [line[1] for line in found.tables[1].rows] == ["b", "a", "c"]
    assert found.verdict == "With a, FID is lower than with b at 4 steps and w = 0 (0.50 times)."


def test_nothing_in_common(measured, study_of, cell):
    found = methods.section(study_of([cell("other", 8, 0.0, 0.1)]), measured)
    assert [table.title for table in found.tables] == ["FID of each method", "IS of each method"]
    assert found.verdict == (
        "No method was measured at a step count and w of the baseline, student of the main chain."
    )


def test_repetitions_are_a_mean_with_the_interval_of_their_spread(measured, study_of, cell):
    """Three trainings at 0.2, 0.3 and 0.4: 0.3, standard error 0.1 / sqrt(3), t = 4.303."""
    rows = [cell("other", 4, 0.0, fid) for fid in (0.2, 0.3, 0.4)]
    found = methods.section(study_of(rows), measured)
    _, table, _ = found.tables
    assert ["4 steps", "other", "0.30 ± 0.25"] in table.rows
    assert "not separated" in found.verdict  # 0.525 is within
    assert "several seeds" in (table.note or "")


def test_of_several_gammas_the_best_of_each_cell_stands(measured, study_of, cell):
    tuned = [
        cell("tuned", n, 0.0, fid, arm="one", gamma=gamma)
        for n, fids in ((4, (0.4, 0.3, 0.6)), (2, (0.9, 0.8, 0.7)))
        for gamma, fid in zip((0.0, 0.5, 1.0), fids, strict=True)
    ]
    _, table, _ = methods.section(study_of(tuned), measured).tables
    assert ["4 steps", "tuned", "0.30 ± 0.02"] in table.rows
    assert ["2 steps", "tuned", "0.70 ± 0.02"] in table.rows
    assert "which favours it" in (table.note or "")
    assert "several seeds" not in (table.note or "")


def test_the_inception_score_stands_beside_fid(measured, study_of, cell):
    scores = {"is": 7.5, "is_se": 0.1}
    table = methods.section(study_of([cell("other", 4, 1.0, 0.3, **scores)]), measured).tables[-1]
    assert table.title == "IS of each method"
    assert table.rows == [
        ["4 steps", "student of the main chain", "8.00 ± 0.02"],
        ["4 steps", "other", "7.50 ± 0.23"],
    ]


def test_scores_of_repetitions_are_means_too(measured, study_of, cell):
    rows = [cell("other", 4, 0.0, 0.3, **{"is": score}) for score in (7.0, 7.5, 8.0)]
    *_, table = methods.section(study_of(rows), measured).tables
    assert table.rows[1] == ["4 steps", "other", "7.50 ± 1.24"]
