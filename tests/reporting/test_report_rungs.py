"""Where quality is lost: the tables say what was measured of each rung."""

from __future__ import annotations

from pdpipe.evaluation.records import RungsRecord, read_record
from pdpipe.reporting.measurements import measurements
from pdpipe.reporting.results import read_results
from pdpipe.reporting.tables import coupling_table, rungs_table


def test_a_row_for_each_student_beside_its_own_teacher(full_chain):
    record = read_record(full_chain.results_dir / "metrics/rungs.json", RungsRecord)
    table = rungs_table(record)
    assert table.headings == [
        *("student", "teacher", "loss: held-out"),
        *(f"drift of images: w = {w:g}" for w in full_chain.w),
    ]
    assert [row[:3] for row in table.rows] == [
        ["student-16", "teacher, 16 steps", "0.0010"],
        ["student-8", "student-16, 16 steps", "0.0020"],
        ["student-4", "student-8, 8 steps", "0.0030"],
        ["student-2", "student-4, 4 steps", "0.0040"],
        ["student-1", "student-2, 2 steps", "0.0050"],
    ]
    assert table.rows[0][3:] == ["0.0100", "0.0103", "0.0120"]
    assert "270 held-out images at 8 random times" in table.note


def test_the_coupling_goes_from_many_steps_to_one(full_chain):
    m = measurements(read_results(full_chain.params, full_chain.results_dir))
    table = coupling_table(m)
    assert [row[0] for row in table.rows] == [
        *("8 steps", "4 steps", "2 steps", "1 step"),
        *(f"teacher by DDIM, {n}" for n in ("8 steps", "4 steps", "2 steps", "1 step")),
    ]
    assert table.rows[3][1:] == [
        f"{full_chain.value('paired_mse', 'student', 1, w):.4f}" for w in full_chain.w
    ]
    assert table.references == 4
