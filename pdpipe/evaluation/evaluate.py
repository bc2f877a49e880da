"""The evaluation of one model: all its cells, as the records that a stage writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pdpipe.diffusion import Sampler
from pdpipe.evaluation.cells import CellStore, Images, balanced_labels, make_images
from pdpipe.evaluation.measure import measure_cell, paired_mse
from pdpipe.evaluation.records import Cell, CellCost, MetricsRecord, ModelInfo, Protocol
from pdpipe.evaluation.reference import Reference
from pdpipe.models import DiffusionModel, Sampling, evaluations_of
from pdpipe.params import EvaluationParams
from pdpipe.progress import Progress

DDIM = Sampling()


@dataclass(frozen=True)
class Evaluated:
    """A model's metrics, the cost of each cell, and the cells' images."""

    metrics: MetricsRecord
    costs: list[CellCost]
    cells: list[Images]
    classes: list[str]

    def at(self, steps: int) -> list[Images]:
        """The cells at one step count, in the order of w."""
        return [cell for cell in self.cells if cell.steps == steps]


def evaluate_model(
    model: DiffusionModel,
    classifier: nn.Module,
    reference: Reference,
    settings: EvaluationParams,
    places: list[tuple[int, float]],
    store: CellStore,
    paired: dict[float, Tensor] | None = None,
    sampling: Sampling = DDIM,
) -> Evaluated:
    """Measure a model at some step counts and guidance weights.

    Args:
        model: the teacher or a student.
        classifier, reference: the extractor and the real side made with it.
        settings: section `evaluation` of params.yaml, but for its weights and step counts.
        places: (steps, w) of each cell.
        store: keeps finished cells, and gives back those of an interrupted run.
        paired: the teacher's full-count images at each w, (p, C, H, W); None for the teacher
            itself, whose cells at its largest step count then take that part.
        sampling: the sampler, its setting and its grid.

    Raises:
        EvaluationError: the samples cannot be shared equally by the classes, or not be measured.
        ModelError: a w outside the model's range.
    """
    conditional = model.network.config.num_classes > 0
    classes = model.info.classes if conditional else ["all"]
    labels = balanced_labels(settings.num_samples, len(classes))
    cells = _all_images(model, sampling, labels, settings, places, store)
    if paired is None:
        most = max(cell.steps for cell in cells)
        paired = {cell.w: cell.paired for cell in cells if cell.steps == most}
    measured = [
        _measured(cell, labels if conditional else None, classifier, reference, paired[cell.w])
        for cell in cells
    ]
    costs = [
        CellCost(
            steps=cell.steps,
            w=cell.w,
            nfe=cell.nfe,
            seconds=cell.seconds,
            seconds_per_image=cell.seconds / len(cell.images),
        )
        for cell in cells
    ]
    metrics = MetricsRecord(
        model=ModelInfo(
            name=model.info.name,
            kind=model.info.kind,
            sha256=model.sha256,
            weights=model.info.weights,
            parameters=model.parameters,
        ),
        protocol=_protocol(reference, settings, sampling, conditional),
        cells=measured,
    )
    return Evaluated(metrics, costs, cells, classes)


def cell_evaluations(model: DiffusionModel, sampler: Sampler, steps: int, w: float) -> int:
    """The network evaluations of each image of a cell."""
    return evaluations_of(sampler, steps) * model.evaluations_per_step(w)


def _all_images(
    model: DiffusionModel,
    sampling: Sampling,
    labels: Tensor,
    settings: EvaluationParams,
    places: list[tuple[int, float]],
    store: CellStore,
) -> list[Images]:
    cells = []
    sampler = sampling.sampler(model.schedule, clip=settings.clip)
    total = len(labels) * sum(cell_evaluations(model, sampler, n, w) for n, w in places)
    model.sample(labels[: settings.batch_size], steps=1, w=places[0][1])  # warm up, unmeasured
    with Progress(f"evaluate {model.info.name}", total, "network evaluations") as progress:
        for n, w in places:
            cell = store.get(n, w)
            if cell is None:
                progress.note = f"{n} steps, w = {w:g}"
                cell = make_images(model, sampling, labels, n, w, settings, progress.advance)
                store.put(cell)
            else:
                progress.skip(len(labels) * cell.nfe)
            cells.append(cell)
    return cells


def _measured(
    cell: Images,
    labels: Tensor | None,
    classifier: nn.Module,
    reference: Reference,
    paired: Tensor,
) -> Cell:
    device = next(classifier.parameters()).device
    found: dict[str, Any] = dict(
        measure_cell(cell.images, labels, classifier, reference, device=device)
    )
    return Cell.model_validate(
        {
            "steps": cell.steps,
            "w": cell.w,
            "nfe": cell.nfe,
            **found,
            "paired_mse": paired_mse(cell.paired, paired),
        }
    )


def _protocol(
    reference: Reference, settings: EvaluationParams, sampling: Sampling, conditional: bool
) -> Protocol:
    full = max(settings.teacher_steps)
    fields: dict[str, Any] = {} if conditional else {"balance": "no labels"}
    return Protocol(
        extractor=reference.extractor,
        sampler=sampling.name,
        gamma=sampling.gamma,
        grid=sampling.grid,
        clip=settings.clip,
        seed=settings.seed,
        num_fake=settings.num_samples,
        num_real=reference.num_train,
        paired_with=f"teacher, {full} steps",
        paired_samples=settings.paired_samples,
        **fields,
    )
