"""What params.yaml asks of the methods: the students of the chain and of studies."""

from __future__ import annotations

from pdpipe.methods.method import Task
from pdpipe.params import DistilledParams, GuideParams, HalveParams, Params


def guide_task(params: Params) -> Task:
    """The chain's student of stage one, by the method `guide`."""
    guide = params.guide
    return Task(
        steps=guide.steps,
        teacher_steps=guide.steps,
        updates=guide.updates,
        learning_rate=guide.learning_rate,
        guide=guide,
        halve=params.halve,
    )


def rung_task(params: Params, steps: int) -> Task:
    """A rung of the chain's ladder, by the method `halve`."""
    rung = params.ladder[str(steps)]
    return Task(
        steps=steps,
        teacher_steps=int(rung.from_),
        updates=rung.updates,
        learning_rate=rung.learning_rate,
        guide=params.guide,
        halve=params.halve,
    )


def study_task(student: DistilledParams, guide: GuideParams, halve: HalveParams) -> Task:
    """A student of a study, with its own settings of both sections."""
    return Task(
        steps=student.steps,
        teacher_steps=student.teacher_steps,
        updates=student.updates,
        learning_rate=student.learning_rate,
        guide=guide,
        halve=halve,
        network=student.network,
    )
