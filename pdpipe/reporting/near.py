"""Which student reaches the teacher, at one w, and at which w that is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from pdpipe.reporting.intervals import difference_margin, fid_margin
from pdpipe.reporting.measurements import Measurements

# A student reaches the teacher when its FID exceeds that of the teacher at its full step count by
# at most this share of the teacher's, the 95 % interval of the difference included.
NEAR = 0.25


@dataclass(frozen=True)
class Match:
    """At one w, the full-count teacher, and the student of the fewest steps that reaches it."""

    w: float
    teacher: pd.Series[Any]
    student: pd.Series[Any] | None = None

    @property
    def steps(self) -> int | None:
        """The student's; None for none."""
        return None if self.student is None else int(self.student["steps"])

    @property
    def fewer_evaluations(self) -> float:
        """How many times fewer network evaluations it needs; 1 when no student reaches it."""
        return 1.0 if self.student is None else float(self.teacher["nfe"] / self.student["nfe"])


def headline_w(m: Measurements) -> float:
    """The w of the headline: the smallest positive one, else 0.

    It follows from the params alone, so two revisions of a chain are compared at the same w; and
    mild guidance is both the usual optimum of FID and where distillation saves most, since the
    guided teacher evaluates its network twice a step.
    """
    return next((w for w in m.guidance if w > 0), m.guidance[0])


def match(m: Measurements, w: float) -> Match:
    """The student of the fewest steps that reaches the full-count teacher at w.

    With the whole 95 % interval of the difference, so that none reaches it by chance, and none does
    where there are no standard errors. Both FIDs are of the same number of images.
    """
    full = m.full(w)
    students = m.select("student", w=w).sort_values("steps")
    for _, student in students[students["nfe"] < full["nfe"]].iterrows():
        highest = student["fid"] + difference_margin(fid_margin(student), fid_margin(full))
        if highest <= (1 + NEAR) * full["fid"]:
            return Match(w, full, student)
    return Match(w, full)
