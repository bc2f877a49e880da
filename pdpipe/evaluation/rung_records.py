"""The file of how far each student is from its own teacher."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pdpipe.evaluation.records import Count, NotNegative, Record


class Drift(Record):
    """How far a student's images are from its own teacher's at one w, from the same noise."""

    w: NotNegative
    mse: NotNegative  # over pixels in [-1, 1], both clamped


class RungDistance(Record):
    """How well one student reproduces the teacher that it was distilled from."""

    student: str
    teacher: str
    steps: Count  # of the student
    teacher_steps: Count
    loss: NotNegative  # of its own algorithm, on held-out images, at random t and w
    drifts: Annotated[list[Drift], Field(min_length=1)]


class RungsProtocol(Record):
    """How the distances of the rungs were made."""

    seed: Annotated[int, Field(ge=0)]
    heldout_images: Count
    draws: Count  # of t, w and noise for each held-out image
    samples: Count  # images of each drift
    clip: bool
    device: str


class RungsRecord(Record):
    """results/metrics/rungs.json: stage one first, then the halvings, most steps first."""

    protocol: RungsProtocol
    rungs: Annotated[list[RungDistance], Field(min_length=1)]

    @property
    def images(self) -> int:
        """Images made for the drifts: a model's, once for each step count and w."""
        made = {
            (name, steps, drift.w)
            for rung in self.rungs
            for name, steps in ((rung.student, rung.steps), (rung.teacher, rung.teacher_steps))
            for drift in rung.drifts
        }
        return len(made) * self.protocol.samples
