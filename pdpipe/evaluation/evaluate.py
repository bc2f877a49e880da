"""The evaluation of one model: all its cells, as the records that a stage writes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pdpipe.diffusion import Sampler
from pdpipe.errors import counted
from pdpipe.evaluation.cells import Maker, balanced_labels
from pdpipe.evaluation.fidelity import inception_score_splits
from pdpipe.evaluation.measure import paired_mse
from pdpipe.evaluation.observe import Instruments
from pdpipe.evaluation.records import (
    BALANCED_LABELS,
    JACKKNIFE_DOF,
    NEAREST_SAMPLES,
    Cell,
    CellCost,
    MeasuredModel,
    MetricsRecord,
    Protocol,
    versions,
)
from pdpipe.evaluation.store import CellStore, Finished
from pdpipe.models import DiffusionModel, Sampling, evaluations_of
from pdpipe.params import EvaluationParams
from pdpipe.progress import Progress

DDIM = Sampling()


@dataclass(frozen=True)
class Evaluated:
    """A model's metrics, the cost of each cell, the cells, and what earlier runs took for them."""

    metrics: MetricsRecord
    costs: list[CellCost]
    cells: list[Finished]
    classes: list[str]
    earlier_seconds: float

    def at(self, steps: int) -> list[Finished]:
        """The cells at one step count, in the order of w."""
        return [cell for cell in self.cells if cell.steps == steps]


def evaluate_model(
    model: DiffusionModel,
    instruments: Instruments,
    settings: EvaluationParams,
    places: list[tuple[int, float]],
    store: CellStore,
    paired: dict[float, Tensor] | None = None,
    sampling: Sampling = DDIM,
) -> Evaluated:
    """Measure a model at some step counts and guidance weights.

    Args:
        model: the teacher or a student.
        instruments: to measure with.
        settings: section `evaluation` of params.yaml, but for its weights and step counts.
        places: (steps, w) of each cell.
        store: keeps finished cells, and gives back those of an earlier run.
        paired: the teacher's full-count images at each w, (p, C, H, W); None for the teacher
            itself, whose cells at its largest step count then take that part.
        sampling: the sampler, its setting and its grid.

    Raises:
        EvaluationError: the samples cannot be measured.
        ParamsError: the samples cannot be shared equally by the classes.
        ModelError: a w outside the model's range.
    """
    conditional = model.network.conditional
    classes = model.info.classes if conditional else ["all"]
    labels = balanced_labels(settings.num_samples, len(classes))
    cells = _all_cells(model, instruments, settings, labels, places, store, sampling)
    assert model.info.kind != "encoder"  # which makes no images
    if paired is None:
        most = max(cell.steps for cell in cells)
        paired = {cell.w: cell.paired for cell in cells if cell.steps == most}
    metrics = MetricsRecord(
        model=MeasuredModel(
            name=model.info.name,
            kind=model.info.kind,
            sha256=model.sha256,
            made_from=model.info.provenance.get("inputs", {}),
            weights=model.info.weights,
            parameters=model.parameters,
        ),
        protocol=_protocol(model, instruments, settings, sampling),
        cells=[_record(cell, paired[cell.w]) for cell in cells],
    )
    costs = [
        CellCost(
            steps=cell.steps,
            w=cell.w,
            nfe=cell.nfe,
            seconds=cell.seconds,
            seconds_per_image=cell.seconds / (len(labels) * cell.seeds),
        )
        for cell in cells
    ]
    return Evaluated(metrics, costs, cells, classes, store.earlier_seconds)


def cell_evaluations(model: DiffusionModel, sampler: Sampler, steps: int, w: float) -> int:
    """The network evaluations of each image of a cell."""
    return evaluations_of(sampler, steps) * model.evaluations_per_step(w)


def _all_cells(
    model: DiffusionModel,
    instruments: Instruments,
    settings: EvaluationParams,
    labels: Tensor,
    places: list[tuple[int, float]],
    store: CellStore,
    sampling: Sampling,
) -> list[Finished]:
    cells = []
    sampler = sampling.sampler(model.schedule, clip=settings.clip)
    total = len(labels) * sum(
        cell_evaluations(model, sampler, n, w) * settings.seeds_at(n) for n, w in places
    )
    model.sample(labels[: settings.batch_size], steps=1, w=places[0][1])  # warm up, unmeasured
    with Progress(f"evaluate {model.info.name}", total, "network evaluations") as progress:
        maker = Maker(model, sampling, labels, settings, instruments, store, progress)
        for n, w in places:
            progress.note = f"{counted(n, 'step')}, w = {w:g}"
            cells.append(maker.cell(n, w))
    return cells


def _record(cell: Finished, paired: Tensor) -> Cell:
    return Cell(
        steps=cell.steps,
        w=cell.w,
        nfe=cell.nfe,
        seeds=cell.seeds,
        se_dof=cell.seeds - 1 if cell.seeds > 1 else JACKKNIFE_DOF,
        paired_mse=paired_mse(cell.paired, paired),
        **cell.measured,
    )


def _protocol(
    model: DiffusionModel,
    instruments: Instruments,
    settings: EvaluationParams,
    sampling: Sampling,
) -> Protocol:
    reference, full = instruments.reference, max(settings.teacher_steps)
    conditional = model.network.conditional
    return Protocol(
        extractor=reference.extractor,
        sampler=sampling.name,
        gamma=sampling.gamma,
        grid=sampling.grid,
        clip=settings.clip,
        seed=settings.seed,
        seeds=settings.seeds,
        num_fake=settings.num_samples,
        num_real=reference.num_train,
        balance=BALANCED_LABELS if conditional else "no labels",
        is_splits=inception_score_splits(settings.num_samples),
        paired_with=f"teacher, {full} steps",
        paired_samples=settings.paired_samples,
        nearest_samples=min(NEAREST_SAMPLES, settings.num_samples),
        device=model.device.type,
        precision=model.precision,
        libraries=versions(),
    )
