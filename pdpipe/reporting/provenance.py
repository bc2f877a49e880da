"""How the numbers were made and what they cost, as tables."""

from __future__ import annotations

from pdpipe.errors import counted
from pdpipe.evaluation.records import (
    CostRecord,
    Machine,
    Protocol,
    StageCostRecord,
    TrainingCostRecord,
)
from pdpipe.params import FEW_STEPS
from pdpipe.reporting import formats
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.results import Results
from pdpipe.reporting.tables import Table


def protocol_table(results: Results, m: Measurements) -> Table:
    """Everything that a figure depends on beside the model."""
    protocol, floor = results.teacher.protocol, results.floor.protocol
    samplers = dict.fromkeys(metrics.protocol.sampler for metrics in results.models)
    weights = dict.fromkeys(
        f"{metrics.model.kind}: {metrics.model.weights}" for metrics in results.models
    )
    extractor = protocol.extractor
    rows = [
        ["figures are called", f"{m.named('FID')}, {m.named('IS')}: metric-count[extractor]"],
        ["extractor", f"{extractor.name}, {extractor.features} features"],
        *(
            [["extractor's held-out accuracy", formats.percent(extractor.heldout_accuracy)]]
            if extractor.heldout_accuracy is not None
            else []
        ),
        ["extractor's sha256", extractor.sha256],
        ["generated images a cell", f"{formats.count(protocol.num_fake)}, {protocol.balance}"],
        ["real images", f"{formats.count(protocol.num_real)} of the split {protocol.real_split}"],
        [
            "floor",
            f"{formats.count(floor.num_heldout)} held-out against "
            f"{formats.count(floor.num_train)} training images, {floor.balance}",
        ],
        ["sampler", ", ".join(samplers)],
        ["x_hat clipped to [-1, 1]", "yes" if protocol.clip else "no"],
        ["seed", f"{protocol.seed}; sample k starts from the same noise in every cell"],
        ["standard errors", errors_by(protocol)],
        ["images", protocol.quantization],
        ["splits of the inception score", str(protocol.is_splits)],
        ["networks", f"{protocol.device}, {protocol.precision}"],
        ["libraries", ", ".join(f"{name} {v}" for name, v in protocol.libraries.items())],
        ["weights", ", ".join(weights)],
        ["guidance", f"{protocol.guidance}; w = 0 is unguided"],
        [
            "NFE, network evaluations a sample",
            "counted as the sampler asks for them; at w > 0 the teacher takes two each time",
        ],
        [
            "paired error",
            f"mean squared error (pixels in [-1, 1]) to {protocol.paired_with}, same noise, "
            f"{formats.count(protocol.paired_samples)} samples",
        ],
    ]
    return Table(title="Protocol", columns=["", "value"], rows=rows)


def errors_by(protocol: Protocol) -> str:
    """How the standard errors were made."""
    if protocol.seeds == 1:
        return protocol.standard_errors
    return (
        f"spread of {protocol.seeds} generation seeds, whose means are given, up to "
        f"{FEW_STEPS} steps; else {protocol.standard_errors}"
    )


def protocol_sentence(results: Results) -> str:
    """What a figure depends on beside the model, for a caption; nothing of the machine."""
    protocol = results.teacher.protocol
    extractor = protocol.extractor
    samplers = dict.fromkeys(formats.sampler(one.protocol.sampler) for one in results.models)
    weights = dict.fromkeys(one.model.weights for one in results.models)
    clipped = "predictions of x clipped to [-1, 1]" if protocol.clip else "no clipping"
    return (
        f"Features of {extractor.name} (sha256 {extractor.sha256[:12]}); "
        f"{formats.count(protocol.num_fake)} generated images a cell ({protocol.balance}; "
        f"{protocol.quantization}) against {formats.count(protocol.num_real)} real images of the "
        f"split {protocol.real_split}; {', '.join(samplers)}, {clipped}, {', '.join(weights)} "
        f"weights, seed {protocol.seed}. ± is the 95 % interval ({errors_by(protocol)})."
    )


def models_table(results: Results) -> Table:
    """The models that were measured, by their files' digests."""
    rows = [
        [metrics.model.name, formats.count(metrics.model.parameters), metrics.model.sha256]
        for metrics in results.models
    ]
    return Table(title="Models", columns=["model", "parameters", "sha256"], rows=rows)


def training_table(results: Results) -> Table:
    """What each training stage spent, and distillation beside the teacher's training."""
    machines = _machines(results)
    rows = [
        [
            cost.stage,
            formats.count(cost.updates),
            formats.count(cost.images_seen),
            formats.count(cost.network_evaluations),
            f"{cost.seconds:.1f}",
            machines[cost.machine],
        ]
        for cost in results.training
    ]
    return Table(
        title="Training",
        columns=["stage", "updates", "images seen", "network evaluations", "seconds", "machine"],
        rows=[*rows, _total(results.training)],
        note=_distillation_note(results),
        references=1,
    )


def _total(costs: list[TrainingCostRecord]) -> list[str]:
    return [
        "all",
        formats.count(sum(cost.updates for cost in costs)),
        formats.count(sum(cost.images_seen for cost in costs)),
        formats.count(sum(cost.network_evaluations for cost in costs)),
        f"{sum(cost.seconds for cost in costs):.1f}",
        "",
    ]


def _distillation_note(results: Results) -> str:
    _, teacher, *students = results.training
    updates = sum(cost.updates for cost in students)
    seconds = sum(cost.seconds for cost in students)
    share = sum(cost.network_evaluations for cost in students) / teacher.network_evaluations
    return (
        f"The students took {formats.count(updates)} updates and {seconds:.1f} s, the teacher "
        f"{formats.count(teacher.updates)} and {teacher.seconds:.1f} s; in network evaluations, "
        f"{formats.figure(share)} × the teacher's training."
    )


def evaluation_table(results: Results) -> Table:
    """What measuring each model took; the images and evaluations are those of its cells."""
    machines = _machines(results)
    rows: list[list[str]] = []
    totals = [0, 0, 0]
    for model, cost in zip(results.models, results.evaluation, strict=True):
        made = [(cell.seeds * model.protocol.num_fake, cell.nfe) for cell in model.cells]
        counts = [len(made), sum(n for n, _ in made), sum(n * nfe for n, nfe in made)]
        totals = [total + own for total, own in zip(totals, counts, strict=True)]
        shown = map(formats.count, counts)
        rows.append([cost.stage, *shown, f"{cost.seconds:.1f}", machines[cost.machine]])
    seconds = sum(cost.seconds for cost in results.evaluation)
    return Table(
        title="Evaluation",
        columns=["stage", "cells", "images made", "network evaluations", "seconds", "machine"],
        rows=[*rows, ["all", *map(formats.count, totals), f"{seconds:.1f}", ""]],
        references=1,
    )


def other_costs_table(results: Results) -> Table:
    """What the stages took that neither train nor measure a model, and the chain as a whole."""
    machines = _machines(results)
    rows = [
        [
            cost.stage,
            formats.count(cost.images),
            formats.count(cost.network_evaluations),
            f"{cost.seconds:.1f}",
            machines[cost.machine],
        ]
        for cost in results.other
    ]
    seconds = sum(cost.seconds for cost in _costs(results))
    return Table(
        title="Other stages",
        columns=["stage", "images", "network evaluations", "seconds", "machine"],
        rows=rows,
        note=(
            f"With training and evaluation: {seconds:.1f} s. The start of each process is not "
            "within, nor is stage report, which reads these times: its own is in its run in MLflow."
        ),
    )


def machines_sentence(results: Results) -> str:
    """Where the times per image were taken."""
    machines = dict.fromkeys(cost.machine for cost in results.evaluation)
    names = [
        f"{machine.name} ({machine.device}, {counted(machine.threads, 'thread')}, "
        f"torch {machine.torch})"
        for machine in machines
    ]
    return f"Times per image: {'; '.join(names)}."


def machines_table(results: Results) -> Table:
    """The machines behind the times, by the letters that the cost tables use."""
    rows = [
        [
            letter,
            machine.name,
            f"{machine.device}, {counted(machine.threads, 'thread')}",
            f"torch {machine.torch}, pdpipe {machine.pdpipe}",
            machine.platform,
        ]
        for machine, letter in _machines(results).items()
    ]
    return Table(
        title="Machines", columns=["", "machine", "device", "software", "platform"], rows=rows
    )


def _machines(results: Results) -> dict[Machine, str]:
    """Each distinct machine's letter, in the order of the cost tables."""
    distinct = dict.fromkeys(cost.machine for cost in _costs(results))
    return {machine: _letter(index) for index, machine in enumerate(distinct)}


def _costs(results: Results) -> list[TrainingCostRecord | CostRecord | StageCostRecord]:
    """Every cost file, in the order of the tables."""
    return [*results.training, *results.evaluation, *results.other]


def _letter(index: int) -> str:
    """The letter of an index: A to Z, then AA, AB and so on."""
    head, last = divmod(index, 26)
    return (_letter(head - 1) if head else "") + chr(ord("A") + last)
