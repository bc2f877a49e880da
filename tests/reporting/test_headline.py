"""The headline is computed, and honest when there is nothing to boast of."""

import json

import pytest

from pdpipe.cli import overview
from pdpipe.reporting.headline import headline
from pdpipe.reporting.measurements import Measurements, measurements
from pdpipe.reporting.near import headline_w, match
from pdpipe.reporting.results import read_results
from pdpipe.reporting.speedup import saved_sentence, saving


def with_fids(
    chain, fids: dict[tuple[str, int], float], fid_se: float | None = 0.0
) -> Measurements:
    """The chain's measurements with these FIDs, by (kind, steps), at every w."""
    for path in (chain.results_dir / "metrics").glob("[ts]*.json"):
        record = json.loads(path.read_text())
        for cell in record["cells"]:
            cell["fid"] = fids.get((record["model"]["kind"], cell["steps"]), 100.0)
            cell["fid_se"] = fid_se
        path.write_text(json.dumps(record))
    return measurements(read_results(chain.params, chain.results_dir))


@pytest.fixture
def chain(make_chain):
    return make_chain(start=8, ladder=(4, 2, 1), w=(0.0, 0.3, 2.0))


@pytest.mark.parametrize(
    ("teacher", "one_step", "expected"),
    [
        (1.0, 1.25, 1),  # exactly a quarter above the teacher: reached
        (1.0, 1.2501, 2),
        (1.0, 0.5, 1),  # better than the teacher: reached
        (4.0, 5.0, 1),  # the share is of the teacher's own figure
        (0.9, 1.26, None),
    ],
)
def test_the_fewest_steps_that_reach_the_teacher_win(chain, teacher, one_step, expected):
    fids = {("teacher", 8): teacher, ("student", 4): 1.2, ("student", 2): 1.2}
    m = with_fids(chain, fids | {("student", 1): one_step})
    assert match(m, 0.3).steps == expected


def test_what_is_reached_does_not_hang_on_the_floor(chain):
    fids = {("teacher", 8): 1.0, ("student", 4): 1.0, ("student", 2): 1.3, ("student", 1): 1.3}
    for floor in (0.1, 100.0):
        chain.edit("metrics/floor.json", lambda record, fid=floor: record["floor"].update(fid=fid))
        assert match(with_fids(chain, fids), 0.3).steps == 4


def test_a_student_in_between_that_fails_does_not_hide_a_shorter_one(chain):
    fids = {("teacher", 8): 1.0, ("student", 4): 1.0, ("student", 2): 9.0, ("student", 1): 1.1}
    assert match(with_fids(chain, fids), 0.3).steps == 1


@pytest.mark.parametrize(
    ("fid_se", "expected"), [(0.0, 1), (0.03, 1), (0.04, 2), (0.2, None), (None, None)]
)
def test_a_student_reaches_the_teacher_with_its_whole_interval(chain, fid_se, expected):
    """0.15 above the teacher where 0.25 is: 2.26 · √2 · 0.03 is below 0.1, with 0.04 above."""
    fids = {("teacher", 8): 1.0, ("student", 2): 1.0, ("student", 1): 1.15}
    assert match(with_fids(chain, fids, fid_se=fid_se), 0.3).steps == expected


def test_sentence_with_guidance(chain):
    fids = {("teacher", 8): 1.0, ("teacher", 1): 7.0, ("student", 4): 1.25, ("student", 1): 3.0}
    found = headline(with_fids(chain, fids))
    assert found.w == 0.3
    assert found.sentence == (
        "1 step instead of 8: FID 3.00, where the guided teacher has 1.00 in 8 steps and 7.00 in 1 "
        "(w = 0.3; lower is better)"
    )
    assert found.details[:2] == [
        "That is 200 % above the teacher's FID (at the other w: 200 % above), with 16× fewer "
        "network evaluations, since guidance takes two a step.",
        "At w = 0.3, 4 steps suffice to be within 25 % of the teacher's FID, the 95 % interval of "
        "the difference included: 4× fewer evaluations.",
    ]
    assert found.metrics["saved_near"] == 4.0


def test_sentence_without_guidance_claims_no_double_saving(make_chain):
    chain = make_chain(start=8, ladder=(4, 1), w=(0.0,))
    found = headline(with_fids(chain, {("teacher", 8): 1.0, ("student", 1): 1.25}))
    assert "where the teacher has 1.00 in 8 steps" in found.sentence
    assert found.details[0] == (
        "That is 25 % above the teacher's FID, with 8× fewer network evaluations."
    )


def test_no_student_that_reaches_the_teacher_is_said(chain):
    m = with_fids(chain, {("teacher", 8): 1.0, ("student", 4): 1.75, ("student", 2): 3.0})
    found = headline(m)
    assert found.details[1] == (
        "At w = 0.3, no student of fewer evaluations is shown to be within 25 % of the teacher's "
        "FID, the 95 % interval of the difference included."
    )
    assert found.metrics["saved_near"] == 1.0


def test_a_student_that_saves_nothing_reaches_nothing(make_chain):
    chain = make_chain(start=8, ladder=(4, 2), w=(0.0,), teacher_steps=(2, 4))
    m = with_fids(chain, {("teacher", 4): 1.0, ("student", 4): 1.0, ("student", 2): 9.0})
    assert match(m, 0.0).steps is None
    assert headline(m).details[1].startswith("At w = 0, no student of fewer evaluations is shown")


def test_an_empty_ladder_is_said(make_chain):
    chain = make_chain(ladder=(), w=(0.5, 1.0))
    found = headline(with_fids(chain, {("teacher", 8): 1.0}))
    assert found.sentence.startswith("No student yet (the ladder is empty): the guided teacher has")
    assert found.details == []
    assert found.metrics["saved"] == 1.0


@pytest.mark.parametrize(
    ("w", "expected"), [((4.0, 0.0, 0.3), 0.3), ((0.0,), 0.0), ((2.0, 1.0), 1.0)]
)
def test_headline_w_follows_from_the_params(make_chain, w, expected):
    chain = make_chain(w=w)
    assert headline_w(measurements(read_results(chain.params, chain.results_dir))) == expected


def test_the_overview_of_a_tracker_has_the_finding_and_every_interval(full_chain):
    results = read_results(full_chain.params, full_chain.results_dir)
    m = measurements(results)
    found = headline(m)
    assert found.details[-1] == f"{saved_sentence(m, 0.3)}."
    text = overview.headline_markdown(found, results.models)
    assert text.startswith(f"**{found.sentence}.** {' '.join(found.details)}\n\n")
    assert "| FID-1500[digits-cnn] | w = 0 | w = 0.3 | w = 2 |\n" in text
    # 2.26 standard errors of 0.02, and of 0.01 + 0.05 / 16
    assert "| student, 4 steps | 1.11 ± 0.05 | 1.15 ± 0.05 | 1.33 ± 0.05 |\n" in text
    assert "| teacher, 16 steps | 1.56 ± 0.03 | 1.60 ± 0.03 | 1.82 ± 0.03 |\n" in text


def test_what_a_tracker_gets_is_numbers_and_a_rectangular_table(chain):
    m = with_fids(chain, {("teacher", 8): 1.0, ("student", 2): 1.25})
    found = headline(m)
    assert "fid_floor" not in found.metrics  # of fewer images: it does not compare
    assert all(isinstance(value, float) for value in found.metrics.values())
    assert found.metrics["fid_2"] == 1.25
    assert found.table["w"] == [0.0, 0.3, 2.0]
    assert found.table["fewest_steps_reaching_teacher"] == [2, 2, 2]
    assert found.table["fewer_evaluations_reaching_teacher"] == [4.0, 8.0, 8.0]
    equal = [saving(m, 1, w).evaluations for w in (0.0, 0.3, 2.0)]
    assert found.table["fewer_evaluations_equal_fid"] == [span.factor for span in equal]
    span = (found.metrics[f"saved{end}"] for end in ("", "_low", "_high"))
    assert tuple(span) == equal[1]
    assert {len(column) for column in found.table.values()} == {3}
    json.dumps(found.table)
