"""The section of the study `smaller-student`: what a smaller network costs, and what it saves."""

from __future__ import annotations

import pytest

from pdpipe.reporting.studies import smaller


@pytest.fixture
def study(study_of, cell):
    """The small network has a fifth of the parameters, and takes half the time in the median."""

    def row(method: str, steps: int, fid: float, parameters: int, seconds: float):
        time = {"parameters": parameters, "seconds_per_image": seconds * steps}
        return cell(method, steps, 0.0, fid, **time)

    return study_of(
        [
            row("small", 4, 0.7, 100_000, 0.0001),
            row("small", 2, 0.55, 100_000, 0.0001),
            row("small", 1, 0.9, 100_000, 0.0009),
            row("large", 4, 0.5, 500_000, 0.0002),
            row("large", 2, 0.56, 500_000, 0.0002),
        ],
        baseline="large",
    )


def test_sizes_and_times_are_relative_to_the_baseline(measured, study):
    table = smaller.section(study, measured).tables[0]
    assert table.rows == [
        ["large", "500,000", "100.0 %", "0.20", "100.0 %"],
        ["small", "100,000", "20.0 %", "0.10", "50.0 %"],
    ]


def test_the_verdict_has_size_time_and_quality(measured, study):
    assert smaller.section(study, measured).verdict == (
        "With 20 % of the parameters, a student takes 50 % of the time, and its FID is typically "
        "1.17 times that of the full size (0.98 to 1.40), not separated from it in 1 of the 2 step "
        "counts."
    )
