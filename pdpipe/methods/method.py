"""What every method that makes a student of a teacher has to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from pdpipe.errors import TrainingError, counted
from pdpipe.methods.sizes import fitted
from pdpipe.models import DiffusionModel
from pdpipe.networks import Network, described
from pdpipe.params import GuideParams, HalveParams
from pdpipe.plan import Objective, Optimization, Plan, Work
from pdpipe.seeds import derive_seed


@dataclass(frozen=True, kw_only=True)
class Task:
    """A student that is to be made: the settings, of which each method uses what it needs."""

    steps: int  # N, the student's
    updates: int
    learning_rate: float
    guide: GuideParams  # the section of stage one
    halve: HalveParams  # that of stage two
    teacher_steps: int | None = None  # that the student reproduces; None: the teacher's own count
    network: Mapping[str, Any] = field(default_factory=dict)  # sizes that are not the teacher's

    @property
    def ratio(self) -> int:
        """Teacher steps per student step."""
        assert self.teacher_steps is not None
        return self.teacher_steps // self.steps


class Method:
    """A way to make a student of a teacher; all but `objective` is a halving's by default."""

    small_targets = True  # its target differs from the teacher's v by about 1/N: docs/precision.md
    random_start = "student network"  # seeds the weights that the teacher's do not fill

    def complaint(self, teacher: DiffusionModel) -> str | None:
        """Why this teacher cannot be distilled, to be read after its name; None: it can."""
        if teacher.info.kind == "encoder":
            return "is an encoder, from which only encoders can be distilled: take a student"
        return None

    def teacher_steps(self, teacher: DiffusionModel, task: Task) -> int:
        """How many DDIM steps the student reproduces, as the task says or by the teacher's count.

        A teacher that was trained for the stochastic sampler jumps over two of its intervals: half
        as many.

        Raises:
            TrainingError: nothing says how many, or the method cannot distil so many.
        """
        name, steps = teacher.info.name, task.teacher_steps or teacher.info.steps
        if task.teacher_steps is None and steps and teacher.info.sampler == "stochastic":
            if steps % 2:
                raise TrainingError(
                    f"{name} jumps over two of its {counted(steps, 'interval')}, an odd number: "
                    "say in `teacher_steps` how many of its steps the student reproduces"
                )
            steps //= 2
        if steps is None:
            raise TrainingError(
                f"{name} can take any number of steps: say in `teacher_steps` how many of them the "
                "student reproduces"
            )
        if (problem := self.wrong_ratio(steps, task.steps)) is not None:
            raise TrainingError(problem.format(name=name, steps=steps))
        return steps

    def wrong_ratio(self, teacher_steps: int, steps: int) -> str | None:
        """Why a student of so many steps cannot reproduce so many of the teacher's."""
        if teacher_steps > steps and teacher_steps % steps == 0:
            return None
        return (
            f"{{name}} takes {counted(teacher_steps, 'step')}, which is no multiple of the "
            f"student's {steps}: change `from`, `teacher_steps` or `steps`"
        )

    def first_network(self, teacher: DiffusionModel, task: Task) -> Network:
        """The network from which training starts: the teacher's, as far as it fits, no dropout."""
        return fitted(teacher.network, {"dropout": 0.0, **task.network})

    def objective(self, teacher: DiffusionModel, student: Network, task: Task) -> Objective:
        """(student, batch) -> loss. `student` has the layout of the network that is trained."""
        raise NotImplementedError

    def forwards(self, ratio: int, *, conditional: bool) -> int:
        """Network evaluations of an image in an update: the student's, and its teacher's steps."""
        return 1 + ratio

    def optimization(self, task: Task) -> Optimization:
        """The optimiser settings: those that all rungs share."""
        return Optimization.of(task.halve, task.updates, task.learning_rate)

    def becomes(self, task: Task) -> dict[str, Any]:
        """Fields of `ModelInfo` in which the student differs from one by halving."""
        return {}

    def work(self, task: Task, *, conditional: bool) -> Work:
        """What the training costs."""
        optimization = self.optimization(task)
        return Work(
            updates=optimization.updates,
            batch_size=optimization.batch_size,
            forwards=self.forwards(task.ratio, conditional=conditional),
        )

    def plan(
        self, teacher: DiffusionModel, task: Task, seed: int, provenance: Mapping[str, Any]
    ) -> Plan:
        """The training of a student.

        Args:
            teacher: what it is distilled from.
            task: what it is to become.
            seed: of the run.
            provenance: stored with the model.

        Raises:
            TrainingError: the teacher, or its number of steps, is none that the method can distil.
        """
        if (problem := self.complaint(teacher)) is not None:
            raise TrainingError(f"{teacher.info.name} {problem} in `from`")
        task = replace(task, teacher_steps=self.teacher_steps(teacher, task))
        torch.manual_seed(derive_seed(seed, self.random_start))
        student, optimization = self.first_network(teacher, task), self.optimization(task)
        info = teacher.info.model_copy(
            update={
                "kind": "student",
                "guidance": "input",
                "sampler": "ddim",
                "name": f"student-{task.steps}",
                "network": described(student),
                "steps": task.steps,
                "w_max": student.config.w_max,
                "weights": "ema" if optimization.ema_decay else "raw",
                "provenance": dict(provenance),
                **self.becomes(task),
            }
        )
        return Plan(
            network=student,
            objective=self.objective(teacher, student, task),
            optimization=optimization,
            info=info,
            work=self.work(task, conditional=teacher.network.conditional),
        )


def wanted(method: str, steps: int, teacher_steps: int) -> str:
    """That the method needs a teacher of exactly so many steps."""
    return (
        f"a student of {counted(steps, 'step')} by algorithm {method} needs a teacher of "
        f"{teacher_steps}, and {{name}} takes {{steps}}: change `from` or `teacher_steps`"
    )
