"""How long every stage of a chain will take here: its counted work times what the units take."""

from __future__ import annotations

from dataclasses import dataclass

from pdpipe.bench.counting import CellWork, evaluations_of_chain, rungs_work, trainings_of
from pdpipe.bench.rates import Rates
from pdpipe.bench.timing import ZERO, Seconds
from pdpipe.bench.untrained import DataSize, Untrained
from pdpipe.params import Params


@dataclass(frozen=True, kw_only=True)
class StartUp:
    """What a stage takes before and after its work."""

    process: Seconds  # its process, imports and tracking
    metrics: Seconds  # where images are measured: the library of the metrics, besides


@dataclass(frozen=True, kw_only=True)
class StageForecast:
    """One stage: what it has to do, and how long that takes; None: it counts no such thing."""

    name: str  # as DVC calls it
    seconds: Seconds
    updates: int | None = None
    images: int | None = None  # seen in training, generated in an evaluation, else real
    network_evaluations: int | None = None


def forecast(
    params: Params, models: Untrained, size: DataSize, rates: Rates, start: StartUp
) -> list[StageForecast]:
    """Every stage in the chain's order.

    Args:
        params: the settings.
        models: untrained ones, which know what a step costs.
        size: of the data.
        rates: what the units take.
        start: what stages take around their work.
    """

    def sampled(
        name: str, cells: list[CellWork], seconds: Seconds, each: Seconds = ZERO
    ) -> StageForecast:
        """A stage that makes images, and measures each."""
        for cell in cells:
            making = rates.sampling[cell.kind].per_image(cell.nfe)
            seconds += (making + each) * cell.images
        return StageForecast(
            name=name,
            seconds=seconds,
            images=sum(cell.images for cell in cells),
            network_evaluations=sum(cell.images * cell.nfe for cell in cells),
        )

    process, evaluating = start.process, start.process + start.metrics
    loading = rates.reading * size.train
    both = size.train + size.heldout
    measuring = rates.measuring
    reference = measuring.real * both + measuring.pair * (size.train * size.heldout)
    writing = rates.writing * both
    found = [StageForecast(name="prepare", seconds=process + writing, images=both)]
    for name, (kind, work) in trainings_of(params).items():
        updating = rates.updates[kind].per_image * work.images_seen
        found.append(
            StageForecast(
                name=name,
                seconds=process + loading + updating,
                updates=work.updates,
                images=work.images_seen,
                network_evaluations=work.network_evaluations,
            )
        )
    seconds = evaluating + rates.reading * both + reference
    found.insert(2, StageForecast(name="reference", seconds=seconds, images=both))
    found.append(sampled("rungs", rungs_work(params, models), process))
    each = measuring.generated + measuring.pair * size.train
    for name, cells in evaluations_of_chain(params, models).items():
        found.append(sampled(name, cells, evaluating, each))
    return [*found, StageForecast(name="report", seconds=process)]


def total(stages: list[StageForecast]) -> Seconds:
    """All stages, one after the other."""
    return sum((stage.seconds for stage in stages), ZERO)
