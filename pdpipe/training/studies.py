"""The students of a study: any algorithm, from any model, of any width."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from pdpipe.data import ImageSet
from pdpipe.errors import TrainingError, counted
from pdpipe.models import DiffusionModel, ModelInfo
from pdpipe.networks import UNet
from pdpipe.params import DistilledParams, GuideParams, HalveParams, Rung
from pdpipe.seeds import derive_seed
from pdpipe.training.guide import student_of, train_guide
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
    """The averaged network of a student by any algorithm, its metadata and its cost.

    Args:
        job: the stage's run.
        images: the training split.
        teacher: what it is distilled from.
        student: its entry in the study's params.
        halve: the settings that rungs share.
        guide: the settings of stage one; for a naive student, how w enters its network, since its
            first teacher takes none.
        provenance: stored with the model.

    Raises:
        TrainingError: the teacher, or its number of steps, is none that the algorithm can distil.
    """
    check_teacher(teacher, student.algorithm)
    if student.algorithm == "guide":
        return train_guide(job, images, teacher, guide, provenance)
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


def check_teacher(teacher: DiffusionModel, algorithm: str) -> None:
    """Refuse a model whose predictions are not what the algorithm takes them for.

    Raises:
        TrainingError: it runs the other way, takes w already, or has nothing to guide.
    """
    info, takes_w = teacher.info, teacher.network.embed_w is not None
    mixed = info.guidance == "mixture"
    if info.kind == "encoder" and algorithm != "encoder":
        wrong = "is an encoder, from which only encoders can be distilled: take a student"
    elif algorithm == "guide" and (takes_w or not mixed):
        wrong = "is a student already, and stage one begins at a teacher: take that"
    elif algorithm == "naive" and not (mixed and teacher.network.config.num_classes):
        wrong = (
            "has no two predictions to mix, which algorithm naive distils one by one: take a "
            "class-conditional teacher, or a naive student"
        )
    elif algorithm in ("halve", "stochastic", "encoder") and mixed and takes_w:
        wrong = (
            f"is two students mixed by w, and algorithm {algorithm} would distil one alone: use "
            "algorithm naive, or another model"
        )
    else:
        return
    raise TrainingError(f"{info.name} {wrong} in `from`")


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
            f"a student of {counted(student.steps, 'step')} by algorithm {student.algorithm} needs "
            f"a teacher of {wanted}, and {teacher.info.name} takes {steps}: change `from` or "
            "`teacher_steps`"
        )
    if wanted is None and (steps <= student.steps or steps % student.steps):
        raise TrainingError(
            f"{teacher.info.name} takes {counted(steps, 'step')}, which is no multiple of the "
            f"student's {student.steps}: change `from`, `teacher_steps` or `steps`"
        )
    return steps


def first_network(teacher: DiffusionModel, student: DistilledParams, guide: GuideParams) -> UNet:
    """The network from which the student's training starts: the teacher's, as far as it fits.

    Like that of stage one, it has no dropout.
    """
    network = teacher.network
    if student.algorithm == "naive" and network.embed_w is None:
        network = student_of(network, guide.w_frequencies, guide.w_max)
    return fitted(network, {"dropout": 0.0, **student.network})


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
