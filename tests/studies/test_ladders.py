"""The section of the study `ladders`: topic by topic, and the best learning rate of each cell."""

from __future__ import annotations

import pytest

from pdpipe.reporting.studies import ladders

CHAIN = "student of the main chain"  # 0.525 with 4 steps and 0.55 with 2, each +- 0.01


@pytest.fixture
def study(study_of, cell):
    """Half the budget is worse; a higher rate is better with 2 steps, a lower one is alike."""
    return study_of(
        [
            cell("budget: ÷ 2", 4, 0.0, 0.8),
            cell("budget: ÷ 2", 2, 0.0, 0.9),
            cell("learning rate: × 0.5", 4, 0.0, 0.53),
            cell("learning rate: × 0.5", 2, 0.0, 0.56),
            cell("learning rate: × 2", 4, 0.0, 0.9),
            cell("learning rate: × 2", 2, 0.0, 0.3),
        ]
    )


def test_each_topic_has_its_table_beside_the_chain(measured, study):
    tables = ladders.section(study, measured).tables
    assert [table.title for table in tables] == [
        f"Beside the baseline, {CHAIN}",
        "FID of each method, budget",
        "FID of each method, learning rate",
        "The best learning rate for each N and w",
    ]
    assert [row[1] for row in tables[1].rows] == [CHAIN, "÷ 2", CHAIN, "÷ 2"]
    assert [row[1] for row in tables[2].rows] == [CHAIN, "× 0.5", "× 2"] * 2


def test_the_best_rate_of_a_cell_says_what_is_not_separated_from_it(measured, study):
    best = ladders.section(study, measured).tables[-1]
    assert best.columns == ["steps", "w = 0"]
    assert best.rows == [
        ["4 steps", f"{CHAIN}: 0.53 ± 0.02 (1)"],
        ["2 steps", "× 2: 0.30 ± 0.02 (0)"],
    ]


def test_at_another_budget_the_chains_own_student_is_not_picked(measured, study_of, cell):
    swept = [
        cell(f"learning rate at budget ÷ 5: {k}", 4, 0.0, v) for k, v in (("a", 0.9), ("b", 2))
    ]
    best = ladders.section(study_of(swept), measured).tables[-1]
    assert best.title == "The best learning rate at budget ÷ 5 for each N and w"
    assert best.rows == [["4 steps", "a: 0.90 ± 0.02 (0)"]]


def test_the_verdict_names_the_methods_of_each_standing(measured, study):
    assert ladders.section(study, measured).verdict == (
        f"With learning rate × 0.5, FID is not separated from that with the {CHAIN} at any of the "
        "step counts; with budget ÷ 2, it is higher at both step counts (typically 1.58 times, "
        "1.52 to 1.64); with learning rate × 2, it is lower at 2 steps (0.55 times)."
    )


def test_the_figure_has_a_row_of_panels_for_each_topic(measured, study):
    figure = ladders.section(study, measured).figure
    assert len(figure.subfigs) == 2
    shown = [text.get_text() for text in figure.subfigs[1].legends[0].get_texts()]
    assert shown == [CHAIN, "× 0.5", "× 2"]
    assert figure.subfigs[1].legends[0].get_title().get_text() == "learning rate"


def test_without_a_sweep_nothing_is_picked(measured, study_of, cell):
    found = ladders.section(study_of([cell("ladder: by four", 4, 0.0, 0.5)]), measured)
    assert [table.title for table in found.tables[1:]] == ["FID of each method, ladder"]
