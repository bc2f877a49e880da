"""The students of a study: any algorithm, from any model, of any width."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch

from pdpipe.data import ImageSet
from pdpipe.errors import TrainingError
from pdpipe.models import DiffusionModel, ModelInfo
from pdpipe.networks import UNet
from pdpipe.params import DistilledParams, GuideParams, HalveParams, Rung
from pdpipe.seeds import derive_seed
from pdpipe.training.guide import student_of
from pdpipe.training.halve import train_halving
from pdpipe.training.job import Job, TrainingCost


def train_student(
    job: Job,
    images: ImageSet,
    teacher: DiffusionModel,
    student: DistilledParams,
    halve: HalveParams,
    guide: GuideParams,
    provenance: dict[str, Any],
) -> tuple[UNet, ModelInfo, TrainingCost]:
    """The averaged network of a student of stage two, its metadata and its cost.

    Args:
        job: the stage's run.
        images: the training split.
        teacher: what it is distilled from.
        student: its entry in the study's params.
        halve: the settings that rungs share.
        guide: says how w enters the network of a naive student, whose first teacher takes none.
        provenance: stored with the model.

    Raises:
        TrainingError: the teacher's steps are none that the algorithm can distil.
    """
    steps = teacher_steps(teacher, student)
    torch.manual_seed(derive_seed(job.seed, "student network"))
    return train_halving(
        job,
        images,
        teacher,
        student.steps,
        Rung(from_=str(steps), updates=student.updates, learning_rate=student.learning_rate),
        halve,
        provenance,
        algorithm=student.algorithm,
        untrained=first_network(teacher, student, guide),
    )


def teacher_steps(teacher: DiffusionModel, student: DistilledParams) -> int:
    """How many DDIM steps the teacher takes, as the params say or by its own count.

    One that was trained for the stochastic sampler jumps over two of its intervals: half as many.

    Raises:
        TrainingError: nothing says how many, or the algorithm cannot distil so many.
    """
    steps = student.teacher_steps or teacher.info.steps
    if student.teacher_steps is None and steps and teacher.info.sampler == "stochastic":
        steps //= 2
    if steps is None:
        raise TrainingError(
            f"{teacher.info.name} can take any number of steps: say in `teacher_steps` how many of "
            "them the student reproduces"
        )
    wanted = {"stochastic": student.steps, "naive": 2 * student.steps}.get(student.algorithm)
    if wanted is not None and steps != wanted:
        raise TrainingError(
            f"a student of {student.steps} steps by algorithm {student.algorithm} needs a teacher "
            f"of {wanted}, and {teacher.info.name} takes {steps}: change `from` or `teacher_steps`"
        )
    if wanted is None and (steps <= student.steps or steps % student.steps):
        raise TrainingError(
            f"{teacher.info.name} takes {steps} steps, which is no multiple of the student's "
            f"{student.steps}: change `from`, `teacher_steps` or `steps`"
        )
    return steps


def first_network(teacher: DiffusionModel, student: DistilledParams, guide: GuideParams) -> UNet:
    """The network from which the student's training starts: the teacher's, as far as it fits."""
    network = teacher.network
    if student.network:
        return fitted(network, student.network)
    if student.algorithm == "naive" and network.embed_w is None:
        return student_of(network, guide.w_frequencies, guide.w_max)
    return copy.deepcopy(network)


def fitted(teacher: UNet, changes: dict[str, Any]) -> UNet:
    """A network with other sizes; weights take from the teacher's of their name what fits.

    The first channels of a wider tensor fill a narrower one; layers that the student lacks are
    left out, and what the teacher lacks keeps its random start.
    """
    student = UNet(replace(teacher.config, **changes))
    ours = student.state_dict()
    for name, theirs in teacher.state_dict().items():
        if name in ours and ours[name].dim() == theirs.dim():
            shared = [slice(min(a, b)) for a, b in zip(ours[name].shape, theirs.shape, strict=True)]
            ours[name][tuple(shared)] = theirs[tuple(shared)]
    return student
