"""How the numbers were made and what they cost, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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

_Cost = TrainingCostRecord | CostRecord | StageCostRecord


def protocol_table(results: Results, m: Measurements) -> Table:
    """Everything that a figure depends on beside the model."""
    protocol, floor = results.teacher.protocol, results.floor.protocol
    samplers = dict.fromkeys(metrics.protocol.sampler for metrics in results.models)
    weights = dict.fromkeys(
        f"{metrics.model.kind}: {metrics.model.weights}" for metrics in results.models
    )
    extractor = protocol.extractor
    accuracy, judge = extractor.heldout_accuracy, "extractor's held-out accuracy"
    rows = {
        "metrics are named": f"{m.named('FID')}, {m.named('IS')}: metric-count[extractor]",
        "extractor": f"{extractor.name}, {extractor.features} features",
        **({} if accuracy is None else {judge: formats.percent(accuracy)}),
        "extractor's sha256": extractor.sha256,
        "generated images a cell": f"{formats.count(protocol.num_fake)}, {protocol.balance}",
        "real images": f"{formats.count(protocol.num_real)} of the split {protocol.real_split}",
        "floor": f"{formats.count(floor.num_heldout)} held-out against "
        f"{formats.count(floor.num_train)} training images, {floor.balance}",
        "sampler": ", ".join(samplers),
        "x_hat clipped to [-1, 1]": "yes" if protocol.clip else "no",
        "seed": f"{protocol.seed}; sample k starts from the same noise in every cell",
        "standard errors": errors_by(protocol),
        "images": protocol.quantization,
        "splits of the inception score": str(protocol.is_splits),
        "networks": f"{protocol.device}, {protocol.precision}",
        "libraries": ", ".join(f"{name} {v}" for name, v in protocol.libraries.items()),
        "weights": ", ".join(weights),
        "guidance": f"{protocol.guidance}; w = 0 is unguided",
        "NFE, network evaluations a sample": "counted as the sampler asks for them; at w > 0 the "
        "teacher takes two each time",
        "paired error": f"mean squared error (pixels in [-1, 1]) to {protocol.paired_with}, same "
        f"noise, {formats.count(protocol.paired_samples)} samples",
    }
    return Table(title="Protocol", columns=["", "value"], rows=[[*row] for row in rows.items()])


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
    return _cost_table(
        results,
        "Training",
        ["updates", "images seen", "network evaluations"],
        [(c, (c.updates, c.images_seen, c.network_evaluations)) for c in results.training],
        note=_distillation_note(results),
    )


def cost_tables(results: Results) -> list[Table]:
    """What the chain took, and where."""
    makers = (training_table, evaluation_table, other_costs_table, machines_table)
    return [make(results) for make in makers]


def _cost_table(
    results: Results,
    title: str,
    names: list[str],
    costs: Sequence[tuple[_Cost, tuple[int, ...]]],
    *,
    note: str = "",
    summed: bool = True,
) -> Table:
    """A row for each stage: its counts, of which `names` are the headings, time and machine."""
    machines = _machines(results)
    rows = [
        [cost.stage, *map(formats.count, counts), f"{cost.seconds:.1f}", machines[cost.machine]]
        for cost, counts in costs
    ]
    if summed:
        totals = (sum(column) for column in zip(*(counts for _, counts in costs), strict=True))
        seconds = f"{_seconds(cost for cost, _ in costs):.1f}"
        rows.append(["all", *map(formats.count, totals), seconds, ""])
    return Table(
        title=title,
        columns=["stage", *names, "seconds", "machine"],
        rows=rows,
        note=note,
        references=int(summed),
    )


def _seconds(costs: Iterable[_Cost]) -> float:
    return sum(cost.seconds for cost in costs)


def _distillation_note(results: Results) -> str:
    _, teacher, *students = results.training
    updates = sum(cost.updates for cost in students)
    share = sum(cost.network_evaluations for cost in students) / teacher.network_evaluations
    return (
        f"The students took {formats.count(updates)} updates and {_seconds(students):.1f} s, the "
        f"teacher {formats.count(teacher.updates)} and {teacher.seconds:.1f} s; in network "
        f"evaluations, {formats.figure(share)} × the teacher's training."
    )


def evaluation_table(results: Results) -> Table:
    """What measuring each model took; the images and evaluations are those of its cells."""
    costs = []
    for model, cost in zip(results.models, results.evaluation, strict=True):
        made = [(cell.seeds * model.protocol.num_fake, cell.nfe) for cell in model.cells]
        counts = (len(made), sum(n for n, _ in made), sum(n * nfe for n, nfe in made))
        costs.append((cost, counts))
    names = ["cells", "images made", "network evaluations"]
    return _cost_table(results, "Evaluation", names, costs)


def other_costs_table(results: Results) -> Table:
    """What the stages took that neither train nor measure a model, and the chain as a whole."""
    return _cost_table(
        results,
        "Other stages",
        ["images", "network evaluations"],
        [(cost, (cost.images, cost.network_evaluations)) for cost in results.other],
        note=f"With training and evaluation: {_seconds(_costs(results)):.1f} s. The start of each "
        "process is not within, nor is stage report, which reads these times: its own is in its "
        "run in MLflow.",
        summed=False,
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


def made_sentence(results: Results) -> str:
    """When and where the chain was made, as far as its cost files know it."""
    costs = _costs(results)
    dates = sorted(cost.made for cost in costs if cost.made)
    commits = [*dict.fromkeys(cost.commit for cost in costs if cost.commit)]
    machines = dict.fromkeys(f"{c.machine.name} ({c.machine.device})" for c in costs)
    when = f" from {dates[0]} to {dates[-1]}" if dates else ""
    where = f", commit {', '.join(commits[:3])}{' …' * (len(commits) > 3)}" if commits else ""
    return f"Made{when} on {', '.join(machines)}{where}."


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


def _costs(results: Results) -> list[_Cost]:
    """Every cost file, in the order of the tables."""
    return [*results.training, *results.evaluation, *results.other]


def _letter(index: int) -> str:
    """The letter of an index: A to Z, then AA, AB and so on."""
    head, last = divmod(index, 26)
    return (_letter(head - 1) if head else "") + chr(ord("A") + last)
