"""What a student saves: exact where the teacher's curve is a power law, and an honest interval."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from pdpipe.reporting.measurements import COLUMNS, Measurements, measurements
from pdpipe.reporting.results import read_results
from pdpipe.reporting.speedup import saved_sentence, saving, savings_tables

if TYPE_CHECKING:
    from conftest import Chain, MakeChain


def chain(
    student: float, *, teacher_se: float | None = 0.0, student_se: float | None = 0.0
) -> Measurements:
    """A teacher with FID 32 / NFE at 1, 2, 4, … 64 evaluations, and a student of 2."""
    shared = {"w": 1.0, "se_dof": 9, "extractor": "x", "num_fake": 100, "sampler": "ddim"}
    rows = [
        {
            "model": "teacher",
            "kind": "teacher",
            "steps": n // 2,
            "nfe": n,
            "fid": 32.0 / n,
            "fid_se": None if teacher_se is None else teacher_se / n,
            "seconds_per_image": 0.5 * n,
            **shared,
        }
        for n in (2, 4, 8, 16, 32, 64)
    ]
    rows.append(
        {
            "model": "student-2",
            "kind": "student",
            "steps": 2,
            "nfe": 2,
            "fid": student,
            "fid_se": student_se,
            "seconds_per_image": 0.25,
            **shared,
        }
    )
    return Measurements(pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS))


@pytest.mark.parametrize("nfe", [4.0, 5.0, 11.3, 32.0, 63.9])
def test_a_power_law_is_interpolated_exactly(nfe: float) -> None:
    found = saving(chain(32.0 / nfe), 2, 1.0)
    assert found.evaluations.factor == pytest.approx(nfe / 2, rel=1e-12)
    assert found.evaluations[1:] == pytest.approx((nfe / 2, nfe / 2), rel=1e-12)
    assert found.seconds.factor == pytest.approx(0.5 * nfe / 0.25, rel=1e-12)
    assert not found.at_least


def test_a_student_better_than_the_teacher_saves_at_least_its_full_count() -> None:
    found = saving(chain(0.4), 2, 1.0)
    assert (found.evaluations.factor, found.at_least) == (32.0, True)
    assert found.text(found.evaluations) == "≥ 32× (32× to ≥ 32×)"
    evaluations, time = savings_tables(chain(0.4))
    assert evaluations.rows == [["2", "≥ 32× (32× to ≥ 32×)"]]
    assert time.rows == [["2", "≥ 128× (128× to ≥ 128×)"]]
    assert savings_tables(chain(0.4), paper=True) == [evaluations]


def test_a_student_worse_than_the_teacher_at_equal_evaluations_saves_nothing() -> None:
    assert saving(chain(20.0), 2, 1.0).evaluations.factor == 1.0


def test_the_interval_is_that_of_repeated_measurements() -> None:
    """Of the student's error alone, at the slope of the teacher's curve, which is -1."""
    found = saving(chain(4.0, student_se=0.1), 2, 1.0).evaluations
    assert found.factor == pytest.approx(4.0)
    t = 2.262157  # 97.5 % of Student's t with 9 degrees of freedom
    assert found.low == pytest.approx(16 / (4 + 0.1 * t), rel=0.03)
    assert found.high == pytest.approx(16 / (4 - 0.1 * t), rel=0.03)
    wide = saving(chain(4.0, student_se=0.1, teacher_se=1.6), 2, 1.0).evaluations
    assert wide.low < found.low < found.high < wide.high


def test_the_sentence_beside_the_headline_has_both_factors_and_their_intervals(
    full_chain: Chain, full_report: Path
) -> None:
    m = measurements(read_results(full_chain.params, full_chain.results_dir))
    sentence = saved_sentence(m, 0.3)
    assert sentence == (
        "For equal FID at w = 0.3, interpolated, the guided teacher by DDIM needs "
        "≥ 32× (32× to ≥ 32×) the network evaluations of the student of 1 step, and "
        "≥ 32× (32× to ≥ 32×) its time"
    )
    for name in ("table.md", "index.html"):
        assert f"{sentence}." in (full_report / name).read_text()


def test_it_is_of_the_fewest_steps_and_there_is_none_without_students(
    make_chain: MakeChain,
) -> None:
    one = make_chain(start=8, ladder=(4, 1), w=(0.0,))
    m = measurements(read_results(one.params, one.results_dir))
    m.frame.loc[m.frame["kind"] == "student", "fid"] = [
        9.0,
        2.13,
    ]  # of 4 steps, and of 1: as the teacher's 8
    sentence = saved_sentence(m, 0.0)
    assert "at w = 0, interpolated, the teacher by DDIM needs 7.97× (7.64× to " in sentence
    assert "of the student of 1 step" in sentence
    none = make_chain(ladder=(), w=(0.5,))
    assert saved_sentence(measurements(read_results(none.params, none.results_dir)), 0.5) == ""


def test_the_time_has_the_interval_of_the_evaluations() -> None:
    """Half a second an evaluation against 0.25 s for the student's two: four times the factor."""
    found = saving(chain(4.0, student_se=0.1, teacher_se=0.1), 2, 1.0)
    assert found.evaluations.low < found.evaluations.factor < found.evaluations.high
    assert found.seconds == pytest.approx(tuple(4 * one for one in found.evaluations))


def test_without_standard_errors_there_is_no_interval() -> None:
    found = saving(chain(4.0, teacher_se=None), 2, 1.0)
    assert math.isnan(found.evaluations.low)
    assert found.text(found.evaluations) == "4×"


def test_a_teacher_that_gets_worse_again_counts_where_it_first_is_as_good() -> None:
    m = chain(4.0)
    m.frame.loc[m.frame["nfe"] >= 16, "fid"] = 30.0
    assert saving(m, 2, 1.0).evaluations.factor == pytest.approx(4.0)
    assert np.isfinite(saving(m, 2, 1.0).evaluations.high)
