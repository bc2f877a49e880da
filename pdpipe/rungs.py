"""Where quality is lost: how far each student is from the teacher that it was distilled from.

It takes seconds and needs no features: the loss of the student's own algorithm on held-out images,
and the drift of its final images from its teacher's, from the same noise. The rung that stands out
is the one that needs more updates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache

import torch
from torch import Tensor

from pdpipe.data import ImageSet, to_unit
from pdpipe.diffusion import Condition
from pdpipe.evaluation.measure import paired_mse
from pdpipe.evaluation.records import Drift, RungDistance, RungsProtocol, RungsRecord
from pdpipe.methods import method_of
from pdpipe.methods.tasks import guide_task, rung_task
from pdpipe.models import DiffusionModel
from pdpipe.params import Params
from pdpipe.plan import Batch, Objective
from pdpipe.progress import Progress
from pdpipe.seeds import derive_seed

SAMPLES = 50  # images of each drift
HELDOUT = 1000  # most held-out images in the loss
DRAWS = 8  # of t, w and noise for each of them
BATCH = 250


@dataclass(frozen=True)
class Rung:
    """A student and what it was distilled from, by the names of their models."""

    student: str
    teacher: str
    steps: int
    teacher_steps: int  # those that it reproduces


def rungs_of(params: Params) -> list[Rung]:
    """Stage one, then the halvings, most steps first."""
    top = params.guide.steps
    first = Rung(f"student-{top}", "teacher", top, top)
    rest = [
        Rung(f"student-{n}", f"student-{above}", n, int(above))
        for n, above in ((n, params.ladder[str(n)].from_) for n in params.rungs())
    ]
    return [first, *rest]


def drift_weights(params: Params) -> list[float]:
    """The least, the middle and the largest weight of evaluation.w: what drifts are measured at."""
    ordered = sorted(params.evaluation.w)
    return sorted({ordered[0], ordered[len(ordered) // 2], ordered[-1]})


def measure_rungs(
    rungs: list[Rung], load: Callable[[str], DiffusionModel], heldout: ImageSet, params: Params
) -> RungsRecord:
    """The distance of each rung's student to its own teacher.

    Args:
        rungs: which to measure.
        load: the model of a name.
        heldout: images that no model was trained on.
        params: of the chain; evaluation.seed is that of everything random.
    """
    settings, model = params.evaluation, cache(load)
    classes = max(model(rungs[0].student).network.config.num_classes, 1)
    labels = torch.arange(SAMPLES) % classes
    chosen = torch.linspace(0, len(heldout) - 1, min(len(heldout), HELDOUT)).long()
    x, seen = to_unit(heldout.images[chosen]), heldout.labels[chosen]

    weights = drift_weights(params)

    @cache
    def images(name: str, steps: int, w: float) -> Tensor:
        return model(name).sample(
            labels,
            w=w,
            steps=steps,
            seed=derive_seed(settings.seed, "rungs"),
            clip=settings.clip,
            batch_size=min(settings.batch_size, SAMPLES // 2),
        )

    def drift(rung: Rung, w: float) -> Drift:
        made = images(rung.student, rung.steps, w)
        return Drift(w=w, mse=paired_mse(made, images(rung.teacher, rung.teacher_steps, w)))

    found = []
    with Progress("rungs", len(rungs), "rungs") as progress:
        for rung in rungs:
            student = model(rung.student)
            objective = _objective(rung, student, model(rung.teacher), params)
            found.append(
                RungDistance(
                    **asdict(rung),
                    loss=_loss(objective, student, x, seen, settings.seed),
                    drifts=[drift(rung, w) for w in weights],
                )
            )
            progress.advance(note=f"{rung.student}: loss {found[-1].loss:.3g}")
    return RungsRecord(
        protocol=RungsProtocol(
            seed=settings.seed,
            heldout_images=len(chosen),
            draws=DRAWS,
            samples=SAMPLES,
            clip=settings.clip,
            device=model(rungs[0].student).device.type,
        ),
        rungs=found,
    )


def _objective(
    rung: Rung, student: DiffusionModel, teacher: DiffusionModel, params: Params
) -> Objective:
    """What the student was trained on."""
    first = teacher.info.kind == "teacher"
    task = guide_task(params) if first else rung_task(params, rung.steps)
    task = replace(task, teacher_steps=rung.teacher_steps)
    return method_of("guide" if first else "halve").objective(teacher, student.network, task)


@torch.inference_mode()
def _loss(
    objective: Objective, student: DiffusionModel, x: Tensor, labels: Tensor, seed: int
) -> float:
    """The mean of an objective over images x (n, C, H, W), `DRAWS` times each."""
    device = student.device
    generator, scalars = torch.Generator(device), torch.Generator()
    generator.manual_seed(derive_seed(seed, "rungs", "noise"))
    scalars.manual_seed(derive_seed(seed, "rungs", "scalars"))
    total = 0.0
    for _ in range(DRAWS):
        for some, theirs in zip(torch.split(x, BATCH), torch.split(labels, BATCH), strict=True):
            given = Condition(label=theirs).to(device)
            batch = Batch(some.to(device), given, generator, scalars)
            with student.autocast():
                total += float(objective(student.network, batch)) * len(some)
    return total / (DRAWS * len(x))
