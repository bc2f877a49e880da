"""What a chain's run in MLflow shows of the report: headline, curves against steps, models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pdpipe import layout
from pdpipe.cli.run import digest_input
from pdpipe.errors import counted

if TYPE_CHECKING:
    from PIL.Image import Image

    from pdpipe.evaluation.records import Cell, MetricsRecord, Protocol
    from pdpipe.params import Params
    from pdpipe.reporting import Headline
    from pdpipe.tracking import Chain
    from pdpipe.tracking.registry import TrackedModel


def figure_name(metric: str, protocol: Protocol) -> str:
    """`FID-1500-digits-cnn`: a figure's name in full, as MLflow takes it."""
    return f"{metric}-{protocol.num_fake}-{protocol.extractor.name}"


def cell_figures(protocol: Protocol, cell: Cell) -> dict[str, float]:
    """What a cell has of the metrics that are shown against steps, by name and w."""
    from pdpipe.evaluation.metrics import AGAINST_STEPS

    values = cell.model_dump(by_alias=True)
    return {
        f"{figure_name(metric.name, protocol)}/w_{cell.w:g}": values[metric.key]
        for metric in AGAINST_STEPS
    }


def chain(params: Params, found: Headline, outputs: Mapping[str, Path]) -> Chain:
    """What the report puts on the chain's run, with the models to register.

    Args:
        params: of the chain.
        found: the report's headline.
        outputs: {stage: its main output}, by whose digest the run that made it is found.
    """
    from pdpipe.cli.naming import chain_run_name, special_settings
    from pdpipe.evaluation.records import MetricsRecord, read_record
    from pdpipe.params import chain_id, chain_params
    from pdpipe.tracking import Chain

    names = ["teacher", *(f"student-{n}" for n in params.rungs())]
    records = [read_record(layout.metrics(name), MetricsRecord) for name in names]
    makers = {path: stage for stage, path in outputs.items()}
    name = chain_id(params, digest_input(layout.SHARDS))
    return Chain(
        name,
        chain_params(params),
        {stage: digest_input(path) for stage, path in outputs.items()}
        | {"report": digest_input(layout.REPORTS / "metrics.json")},
        headline_figures(found, records),
        [layout.REPORTS],
        curves=_curves(records),
        models=[_model(record, makers[layout.model(record.model.name)]) for record in records],
        table=headline_markdown(found, records),
        name=chain_run_name(
            params.data.source, name, special_settings(params), _outcome(found, records)
        ),
    )


def _outcome(found: Headline, records: list[MetricsRecord]) -> str:
    """`FID 0.35 in 1 step, teacher 0.27 in 64`: the fewest steps' student at the headline's w."""
    cells = [
        (record.model.kind, cell)
        for record in records
        for cell in record.cells
        if cell.w == found.w
    ]
    full = max((cell for kind, cell in cells if kind == "teacher"), key=lambda cell: cell.steps)
    said = f"teacher {full.fid:.2f} in {full.steps}"
    students = [cell for kind, cell in cells if kind == "student"]
    if not students:
        return f"FID of the {said}"
    last = min(students, key=lambda cell: cell.steps)
    return f"FID {last.fid:.2f} in {counted(last.steps, 'step')}, {said}"


def sample_grids(name: str) -> Iterator[tuple[int, float, Image]]:
    """(steps, w, picture) of each of a model's sample sheets; a column is a class."""
    from pdpipe.evaluation.sheets import METADATA
    from pdpipe.pictures import grid
    from pdpipe.tensor_files import load_tensors

    tensors, about = load_tensors(layout.samples(name), METADATA)
    for key, sheets in tensors.items():
        if key.startswith("sheet/"):
            for w, sheet in zip(about["w"], sheets, strict=True):
                yield int(key.removeprefix("sheet/")), w, grid(sheet.transpose(0, 1))


def saved(found: Headline) -> dict[str, float]:
    """How many times fewer evaluations, by the names of reports/metrics.json."""
    return {name: value for name, value in found.metrics.items() if name.startswith("saved")}


def headline_figures(found: Headline, records: list[MetricsRecord]) -> dict[str, float]:
    """Each model's FID at the headline's w, the teacher's at its full step count.

    No name has a slash: MLflow's charts begin with names that have one, which are the curves.
    """
    figures = saved(found)
    for record in records:
        at = max((c for c in record.cells if c.w == found.w), key=lambda cell: cell.steps)
        name = figure_name("FID", record.protocol)
        figures[f"{name} at w_{found.w:g} - {record.model.name}"] = at.fid
    return figures


def _curves(records: list[MetricsRecord]) -> dict[str, dict[int, float]]:
    """{metric: {sampling steps: FID}}, for teacher and students at each w."""
    curves: dict[str, dict[int, float]] = {}
    for record in records:
        for cell in record.cells:
            section = f"{figure_name('FID', record.protocol)} by sampling steps"
            curve = curves.setdefault(f"{section}/{record.model.kind} w_{cell.w:g}", {})
            curve[cell.steps] = cell.fid
    return {name: curve for name, curve in curves.items() if len(curve) > 1}


def _model(record: MetricsRecord, stage: str) -> TrackedModel:
    """A model and its figures; the teacher's are those at its full step count."""
    from pdpipe.evaluation.metrics import AGAINST_STEPS
    from pdpipe.tracking.registry import TrackedModel

    model, protocol = record.model, record.protocol
    steps = max(cell.steps for cell in record.cells)
    cells = [cell for cell in record.cells if cell.steps == steps]
    named = f"{protocol.num_fake}[{protocol.extractor.name}]"
    lines = [["w", *(f"{metric.name}-{named}" for metric in AGAINST_STEPS)]]
    lines.append(["---"] * len(lines[0]))
    for cell in cells:
        values = cell.model_dump(by_alias=True)
        lines.append([f"{cell.w:g}", *(f"{values[m.key]:.4g}" for m in AGAINST_STEPS)])
    sampler = protocol.sampler.upper() if protocol.sampler == "ddim" else protocol.sampler
    head = f"The {model.kind} at {steps} sampling step{'s' * (steps > 1)} ({sampler})."
    return TrackedModel(
        name=model.name,
        kind=model.kind,
        path=layout.model(model.name),
        sha256=model.sha256,
        stage=stage,
        steps=steps,
        figures={k: v for cell in cells for k, v in cell_figures(protocol, cell).items()},
        about=f"{head}\n\n{_markdown(lines)}",
    )


def _markdown(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def headline_markdown(found: Headline, records: list[MetricsRecord]) -> str:
    """The headline, FID of each model at each w with its interval, the report, samples."""
    from pdpipe.reporting.intervals import margin, with_margin

    weights = sorted({cell.w for record in records for cell in record.cells})
    lines = [[found.figure, *(f"w = {w:g}" for w in weights)], ["---"] * (len(weights) + 1)]
    for record in records:
        steps = max(cell.steps for cell in record.cells)
        fids = {
            cell.w: with_margin(cell.fid, margin(cell.fid_se, cell.se_dof))
            for cell in record.cells
            if cell.steps == steps
        }
        name = f"{record.model.kind}, {steps} step{'s' * (steps > 1)}"
        lines.append([name, *(fids.get(w, "-") for w in weights)])
    page = f"[The report](artifact:{(layout.REPORTS / 'index.html').as_posix()})"
    grid = f"![Samples](artifact:{(layout.REPORTS / 'figures/samples_by_steps.png').as_posix()})"
    said = " ".join([f"**{found.sentence}.**", *found.details])
    return f"{said}\n\n{page}\n\n{_markdown(lines)}\n\n{grid}"
