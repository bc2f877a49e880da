"""Verdicts in words: where a method is better than its baseline, by how much, and what is open."""

from __future__ import annotations

import pytest

from pdpipe.reporting.studies import backbone
from pdpipe.reporting.studies.papers import papers
from pdpipe.reporting.studies.verdicts import (
    ALIKE,
    HIGHER,
    LOWER,
    Standing,
    geometric_mean,
    sentence,
    spoken,
    standings_table,
)

RATIOS = {LOWER: 0.5, ALIKE: 1.0, HIGHER: 2.0}
STEPS, WEIGHTS = (8, 4, 2, 1), (0.0, 1.0, 4.0)


def grid(*rows: str) -> Standing:
    """A row for each N of `STEPS`, a letter for each w: l(ower), - or h(igher)."""
    words = {"l": LOWER, "-": ALIKE, "h": HIGHER}
    cells = {
        (n, w): words[letter]
        for n, row in zip(STEPS, rows, strict=False)
        for w, letter in zip(WEIGHTS, row, strict=False)
    }
    return Standing(found={place: (word, RATIOS[word]) for place, word in cells.items()})


def said(*rows: str) -> str:
    return sentence({"a": grid(*rows)}, "b").removeprefix("With a, FID is ")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["hhh"] * 4, "higher than with b in all 12 combinations of steps and w"),
        (["---", "---", "lll", "lll"], "lower than with b at 2 steps or fewer (typically"),
        (["-ll"] * 4, "lower than with b at w ≥ 1 (typically"),
        (["h-h"] * 4, "higher than with b at w = 0 and 4 (typically"),
        (["-ll", "-ll", "---", "---"], "in 8 of the 12 combinations of steps and w, and lower at 4 "
         "steps or more and w ≥ 1 (typically"),
        (["l--", "---", "---", "--l"], "and lower at 8 steps and w = 0 and at 1 step and w = 4"),
        (["lll", "lll", "l-l", "hhh"], "lower than with b in 8 of the 12 combinations of steps and "
         "w, most of them at 4 steps or more (typically"),
        (["l", "l", "h", "h"], "lower than with b at 4 steps or more (typically"),
        (["hh"], "higher than with b at both values of w"),
    ],
)  # fmt: skip
def test_where(rows, expected):
    assert expected in said(*rows)


def test_a_mixed_result_is_counted():
    """Nothing holds a pattern here: the counts of all three say so, and add up to 12."""
    text = said("l-h", "h-l", "-lh", "hl-")
    assert text == (
        "lower than with b in 4 of the 12 combinations of steps and w (typically 0.50 times, 0.50 "
        "to 0.50), higher in 4 (typically 2.00 times, 2.00 to 2.00), and not separated in 4"
    )


def test_the_typical_ratio_is_the_geometric_mean():
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    ratios = {(8, 0.0): (HIGHER, 1.1), (4, 0.0): (HIGHER, 4.4), (2, 0.0): (HIGHER, 12.1)}
    text = sentence({"a": Standing(found=ratios)}, "b")
    assert text.endswith("at all 3 step counts (typically 3.88 times, 1.10 to 12.1)")


def test_several_methods_share_the_clause_of_one_verdict():
    methods = {
        "student": grid("---", "---"),
        "topic: one": grid("hh-", "hh-"),
        "topic: two": grid("hh-", "hh-"),
        "control": grid("l"),  # measured in too few settings to be spoken of
    }
    assert sentence(methods, "b") == (
        "With the student, FID is not separated from that with b in any of the combinations of "
        "steps and w; with topic one and topic two, it is higher at w ≤ 1 (typically 2.00 and 2.00 "
        "times, 2.00 to 2.00) and not separated elsewhere"
    )


def test_the_table_lists_every_setting_once():
    table = standings_table({"a": grid("l-h", "hhh")}, "b")
    assert table.rows == [
        ["a", "8 steps", "0", "1", "4", "1.00 (0.50 to 2.00)"],
        ["a", "4 steps", "–", "–", "0, 1, 4", "2.00 (2.00 to 2.00)"],
    ]


def test_names_inside_a_sentence():
    assert spoken("TRACT, 64 to 1") == "TRACT (64 to 1)"
    assert spoken("channels × [1, 2]") == "channels × [1, 2]"
    assert spoken("teacher by DDIM") == "the teacher by DDIM"
    assert spoken("a student of each w") == "a student of each w"


def test_papers_are_links():
    ((label, url),) = papers("parameterization")
    assert label == "Salimans & Ho 2022, Table 1"
    assert url == "https://arxiv.org/abs/2202.00512"
    assert papers("of my own") == ()


def test_another_networks_students_stand_beside_their_own_teacher_too(measured, study_of, cell):
    """The chain's students: 0.525 with 4 steps, 0.55 with 2; its teacher: 1 and 2 with 4 steps."""
    rows = [
        cell("DiT teacher", 4, 0.0, 1.0, kind="teacher"),
        cell("DiT students", 4, 0.0, 1.05),
        cell("DiT students", 2, 0.0, 1.1),
    ]
    found = backbone.section(study_of(rows), measured)
    assert found.verdict == (
        "With DiT students, FID is higher than with the student of the main chain at both step "
        "counts (typically 2.00 times, 2.00 to 2.00); it is typically 1.07 times that of their own "
        "teacher at 4 steps (1.05 to 1.10), against typically 0.38 times (0.26 to 0.55) in the "
        "main chain."
    )
    assert "own teacher" not in backbone.section(study_of(rows[1:]), measured).verdict
