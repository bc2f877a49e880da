"""What each training stage has to do, counted from its settings before it starts."""

from __future__ import annotations

from dataclasses import dataclass

from pdpipe.params import ExtractorParams, GuideParams, HalveParams, Rung, TeacherParams
from pdpipe.training.job import TrainingCost


@dataclass(frozen=True, kw_only=True)
class Work:
    """A training run, in updates and network evaluations."""

    updates: int
    batch_size: int
    forwards: int  # network evaluations of an image in an update, the student's and its teacher's

    @property
    def images_seen(self) -> int:
        """Training images drawn, with repetition."""
        return self.updates * self.batch_size

    @property
    def network_evaluations(self) -> int:
        """Images through a network, forward; a backward counts as none."""
        return self.forwards * self.images_seen

    def cost(self, seconds: float) -> TrainingCost:
        """Its cost, once it is done."""
        return TrainingCost(
            updates=self.updates,
            batch_size=self.batch_size,
            network_evaluations=self.network_evaluations,
            seconds=seconds,
        )


def extractor_work(extractor: ExtractorParams, *, shipped: bool = False) -> Work:
    """The classifier's training; none of one that is shipped."""
    updates = 0 if shipped else extractor.updates
    return Work(updates=updates, batch_size=extractor.batch_size, forwards=1)


def teacher_work(teacher: TeacherParams) -> Work:
    """The teacher's training."""
    return Work(updates=teacher.updates, batch_size=teacher.batch_size, forwards=1)


def guide_work(guide: GuideParams, *, conditional: bool) -> Work:
    """Stage one: the student, and its teacher with a label and, if `conditional`, without."""
    forwards = 3 if conditional else 2
    return Work(updates=guide.updates, batch_size=guide.batch_size, forwards=forwards)


def ratio_of(rung: Rung, num_steps: int) -> int:
    """How many of its teacher's steps one step of the student of `num_steps` is."""
    return int(rung.from_) // num_steps


def halving_work(halve: HalveParams, rung: Rung, num_steps: int, algorithm: str = "halve") -> Work:
    """A rung: the student, and its teacher once for each step that it takes.

    The naive students are two, and so are the evaluations of each of their teacher's steps.
    """
    steps = 2 if algorithm == "stochastic" else ratio_of(rung, num_steps)
    forwards = (steps + 1) * (2 if algorithm == "naive" else 1)
    return Work(updates=rung.updates, batch_size=halve.batch_size, forwards=forwards)
