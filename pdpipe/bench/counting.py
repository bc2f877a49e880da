"""The work of every stage of a chain, counted as the stages themselves count it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pdpipe.bench.untrained import Untrained
from pdpipe.evaluation.evaluate import cell_evaluations
from pdpipe.extractors import shipped_extractor
from pdpipe.methods import method_of
from pdpipe.methods.extractor import extractor_work
from pdpipe.methods.tasks import guide_task, rung_task
from pdpipe.methods.teacher import teacher_work
from pdpipe.models import DiffusionModel, Sampling
from pdpipe.params import Params
from pdpipe.plan import Work
from pdpipe.rungs import SAMPLES, drift_weights, rungs_of
from pdpipe.runtime import needs_float32


@dataclass(frozen=True, kw_only=True)
class CellWork:
    """A cell of an evaluation, at all of its generation seeds."""

    kind: str  # as `sampling_kind` calls it
    images: int
    nfe: int  # network evaluations an image


def halving_kind(params: Params, steps: int) -> str:
    """The kind of a rung: teacher steps per student step, and the precision."""
    kind = f"halve by {rung_task(params, steps).ratio}"
    long = needs_float32(params.teacher.parameterization, steps)
    return f"{kind} in float32" if long and params.runtime.precision == "auto" else kind


def sampling_kind(model: DiffusionModel, w: float) -> str:
    """The kind of a cell: those of one kind take equally long for each evaluation."""
    return f"{model.info.kind}, guided" if model.evaluations_per_step(w) > 1 else model.info.kind


def cells_work(
    params: Params,
    model: DiffusionModel,
    sampling: Sampling,
    places: list[tuple[int, float]],
    images: Callable[[int], int],
) -> list[CellWork]:
    """Cells of `model` at some (steps, w), of so many images each, by their steps."""
    sampler = sampling.sampler(model.schedule, clip=params.evaluation.clip)
    return [
        CellWork(
            kind=sampling_kind(model, w),
            images=images(steps),
            nfe=cell_evaluations(model, sampler, steps, w),
        )
        for steps, w in places
    ]


def trainings_of(params: Params) -> dict[str, tuple[str, Work]]:
    """{stage: (its kind of update, its work)} of every training stage, in the chain's order."""
    shipped = shipped_extractor(params.data.source, params.extractor.source) is not None
    guide, halve = method_of("guide"), method_of("halve")
    conditional = params.network.conditional
    found = {
        "extractor": ("extractor", extractor_work(params.extractor, shipped=shipped)),
        "teacher": ("teacher", teacher_work(params.teacher)),
        "guide": ("guide", guide.work(guide_task(params), conditional=conditional)),
    }
    for n in params.rungs():
        work = halve.work(rung_task(params, n), conditional=conditional)
        found[f"halve@{n}"] = (halving_kind(params, n), work)
    return found


def rungs_work(params: Params, models: Untrained) -> list[CellWork]:
    """The images of stage `rungs`, each made once; its losses are few and not counted."""
    made = {
        (name == "teacher", steps)
        for rung in rungs_of(params)
        for name, steps in ((rung.teacher, rung.teacher_steps), (rung.student, rung.steps))
    }
    return [
        cell
        for of_teacher, steps in sorted(made)
        for cell in cells_work(
            params,
            models.teacher if of_teacher else models.student,
            Sampling(),
            [(steps, w) for w in drift_weights(params)],
            lambda _: SAMPLES,
        )
    ]


def evaluations_of_chain(params: Params, models: Untrained) -> dict[str, list[CellWork]]:
    """{stage: its cells} of every evaluation, in the chain's order."""
    settings = params.evaluation
    sampling, places = Sampling.called(settings.teacher_sampler), settings.teacher_places

    def images(steps: int) -> int:
        return settings.num_samples * settings.seeds_at(steps)

    found = {"evaluate-teacher": cells_work(params, models.teacher, sampling, places, images)}
    for n in params.rungs():
        places = settings.places([n])
        found[f"evaluate@{n}"] = cells_work(params, models.student, Sampling(), places, images)
    return found
