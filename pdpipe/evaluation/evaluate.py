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
from pdpipe.models import DiffusionModel, evaluations_of, make_sampler
from pdpipe.params import EvaluationParams
from pdpipe.progress import Progress


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
    steps: list[int],
    store: CellStore,
    paired: dict[float, Tensor] | None = None,
) -> Evaluated:
    """Measure a model at every step count of `steps` and every w of the settings.

    Args:
        model: the teacher or a student.
        classifier, reference: the extractor and the real side made with it.
        settings: section `evaluation` of params.yaml.
        steps: the step counts.
        store: keeps finished cells, and gives back those of an interrupted run.
        paired: the teacher's full-count images at each w, (p, C, H, W); None for the teacher
            itself, whose cells at the largest count of `steps` then take that part.

    Raises:
        EvaluationError: the samples cannot be shared equally by the classes, or not be measured.
        ModelError: a w outside the model's range.
    """
    conditional = model.network.config.num_classes > 0
    classes = model.info.classes if conditional else ["all"]
    labels = balanced_labels(settings.num_samples, len(classes))
    name = settings.teacher_sampler if model.info.kind == "teacher" else "ddim"
    sampler = make_sampler(name, model.schedule, clip=settings.clip)
    cells = _all_images(model, sampler, labels, settings, steps, store)
    if paired is None:
        paired = {cell.w: cell.paired for cell in cells if cell.steps == max(steps)}
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
        protocol=_protocol(reference, settings, name, conditional),
        cells=measured,
    )
    return Evaluated(metrics, costs, cells, classes)


def _all_images(
    model: DiffusionModel,
    sampler: Sampler,
    labels: Tensor,
    settings: EvaluationParams,
    steps: list[int],
    store: CellStore,
) -> list[Images]:
    cells = []
    grid = [(n, w) for n in steps for w in settings.w]
    total = sum(
        len(labels) * evaluations_of(sampler, n) * model.evaluations_per_step(w) for n, w in grid
    )
    model.sample(labels[: settings.batch_size], steps=1, w=settings.w[0])  # warm up, unmeasured
    with Progress(f"evaluate {model.info.name}", total, "network evaluations") as progress:
        for n, w in grid:
            cell = store.get(n, w)
            if cell is None:
                progress.note = f"{n} steps, w = {w:g}"
                cell = make_images(model, sampler, labels, n, w, settings, progress.advance)
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
    reference: Reference, settings: EvaluationParams, sampler: str, conditional: bool
) -> Protocol:
    full = max(settings.teacher_steps)
    fields: dict[str, Any] = {} if conditional else {"balance": "no labels"}
    return Protocol(
        extractor=reference.extractor,
        sampler=sampler,
        clip=settings.clip,
        seed=settings.seed,
        num_fake=settings.num_samples,
        num_real=reference.num_train,
        paired_with=f"teacher, {full} steps",
        paired_samples=settings.paired_samples,
        **fields,
    )
