"""What the units of a chain's work take here: all that a forecast multiplies."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pdpipe.bench.counting import halving_kind, sampling_kind
from pdpipe.bench.setting import random_images, seconds, training
from pdpipe.bench.timing import LEAST_TIMINGS, Rate, Seconds, time_batches
from pdpipe.bench.untrained import DataSize, Untrained
from pdpipe.data import ImageSet, load_split
from pdpipe.evaluation.cells import make_images
from pdpipe.evaluation.evaluate import cell_evaluations
from pdpipe.evaluation.measure import measure
from pdpipe.evaluation.neighbours import nearest_distances
from pdpipe.evaluation.observe import Instruments, observe
from pdpipe.evaluation.reference import Reference, build_reference
from pdpipe.methods import method_of
from pdpipe.methods.tasks import guide_task, rung_task
from pdpipe.models import DiffusionModel, Sampling
from pdpipe.params import Params
from pdpipe.plan import Plan
from pdpipe.runtime import autocast, needs_float32, precision
from pdpipe.sources import Source, write_shards

SHARDED_IMAGES = 256
STEPS = (1, 5)  # to sample with: an evaluation takes what lies between them
MOST_IMAGES = 2000  # that are measured at once, and compared with: more are extrapolated


@dataclass(frozen=True)
class SamplingRate:
    """Seconds to make an image: its noise and the like once, and each network evaluation."""

    once: Seconds
    evaluation: Seconds
    rate: Rate  # of an image at the larger of `STEPS`

    def per_image(self, nfe: int) -> Seconds:
        """An image of `nfe` network evaluations."""
        return self.once + self.evaluation * nfe


@dataclass(frozen=True)
class MeasuringRate:
    """Seconds to measure: each generated or real image, and each pair of one with a real one."""

    generated: Seconds  # features, and the image's share of FID, IS and their standard errors
    real: Seconds
    pair: Seconds


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Seconds of this machine."""

    updates: dict[str, Rate]  # by the kind of the training
    sampling: dict[str, SamplingRate]  # by the kind of the cell
    measuring: MeasuringRate
    writing: Seconds  # an image into a shard
    reading: Seconds  # an image from a shard

    @property
    def batched(self) -> dict[str, Rate]:
        """Everything that was timed batch by batch."""
        return self.updates | {kind: found.rate for kind, found in self.sampling.items()}


def trainings(params: Params, models: Untrained) -> Iterator[tuple[str, Plan, bool]]:
    """The training stages, one of each kind: (kind, plan, whether `auto` is float32)."""
    predicted = models.teacher.info.parameterization
    exact = needs_float32(predicted)
    yield "extractor", models.extractor, False
    yield "teacher", models.teacher_plan, exact
    yield "guide", method_of("guide").plan(models.teacher, guide_task(params), 0, {}), exact
    for kind, n in {halving_kind(params, n): n for n in params.rungs()}.items():
        halve = method_of("halve").plan(models.student, rung_task(params, n), 0, {})
        yield kind, halve, needs_float32(predicted, n)


def measure_rates(
    params: Params, models: Untrained, size: DataSize, device: torch.device, budget: float
) -> Rates:
    """Time every unit, for about `budget` seconds in all."""
    units = list(trainings(params, models))
    cells = {
        sampling_kind(model, w): (model, w, sampling)
        for model, sampling in (
            (models.teacher, Sampling.called(params.evaluation.teacher_sampler)),
            (models.student, Sampling()),
        )
        for w in params.evaluation.w
    }
    share = 0.8 * budget / (len(units) + len(cells))

    def update_rate(kind: str, plan: Plan, exact: bool) -> Rate:
        """Of an update: batch, optimiser and average included."""
        batch_size = plan.optimization.batch_size
        images = random_images(params, size.classes, max(batch_size, 1024))
        context = partial(autocast, device, precision(device, params.runtime, exact))
        with training(plan, params, device, images, autocast=context) as (_, _, one_update):
            return time_batches(one_update, batch_size, device, share, kind)

    writing, reading = _shard_rates(params)
    return Rates(
        updates={kind: update_rate(kind, plan, exact) for kind, plan, exact in units},
        sampling={
            kind: sampling_rate(params, model, w, sampling, share)
            for kind, (model, w, sampling) in cells.items()
        },
        measuring=measuring_rate(params, models, size, device),
        writing=writing,
        reading=reading,
    )


def sampling_rate(
    params: Params, model: DiffusionModel, w: float, sampling: Sampling, budget: float
) -> SamplingRate:
    """Time images of `model` at guidance weight w, in batches like the evaluation's.

    On the CPU that makes as many batches at a time as torch has threads; so does this.
    """
    settings, device = params.evaluation, model.device
    at_a_time = torch.get_num_threads() if device.type == "cpu" else 1
    per_step = model.evaluations_per_step(w)
    wanted = min(max(settings.batch_size // per_step, 1) * at_a_time, settings.num_samples)
    classes = max(model.network.config.num_classes, 1)

    def make(size: int, steps: int) -> None:
        batch = -(-size // at_a_time) * per_step
        labels = torch.arange(size) % classes
        make_images(
            model, sampling, labels, steps, w,
            settings.model_copy(update={"batch_size": batch}), lambda _: None,
        )  # fmt: skip

    few, many = STEPS
    name = f"images of the {sampling_kind(model, w)}"
    rate = time_batches(lambda size: make(size, many), wanted, device, 0.8 * budget, name)
    short = Seconds.of(
        seconds(lambda: make(rate.batch, few), device) / rate.batch
        for _ in range(min(LEAST_TIMINGS, rate.timings))
    )
    sampler = sampling.sampler(model.schedule, clip=settings.clip)
    nfe = [cell_evaluations(model, sampler, n, w) for n in STEPS]
    middle = rate.per_image.middle
    evaluation = max(middle - short.middle, 0.0) / (nfe[1] - nfe[0])
    spread = Seconds(rate.per_image.low / middle, 1.0, rate.per_image.high / middle)
    once = max(middle - evaluation * nfe[1], 0.0)
    return SamplingRate(spread * once, spread * evaluation, rate)


def measuring_rate(
    params: Params, models: Untrained, size: DataSize, device: torch.device
) -> MeasuringRate:
    """Time the reference and the measuring of a cell, with at most `MOST_IMAGES` on each side."""
    classes = min(size.classes, 10)  # so few that each has images enough for standard errors
    counts = [
        min(n, MOST_IMAGES) for n in (size.train, size.heldout, params.evaluation.num_samples)
    ]
    train, heldout, generated = (random_images(params, classes, n) for n in counts)
    labels = generated.labels

    def build() -> Reference:
        return build_reference(
            train, heldout, models.classifier, models.classifier,
            extractor_name="untrained", extractor_sha256="0" * 64, device=device,
        )  # fmt: skip

    reference = build()  # warms up, too
    instruments = Instruments(models.classifier, models.classifier, reference, device)
    works: list[Callable[[], object]] = [
        lambda: nearest_distances(generated.images, train.images, device=device),
        build,
        lambda: measure(observe(generated.images, labels, instruments), reference),
    ]
    near, built, measured = (
        Seconds.of(seconds(work, device) for _ in range(LEAST_TIMINGS)) for work in works
    )
    pair = near * (1 / (len(generated) * len(train)))
    in_building = pair.middle * len(heldout) * len(train)
    return MeasuringRate(
        generated=_rest(measured, near.middle) * (1 / len(generated)),
        real=_rest(built, in_building) * (1 / (len(train) + len(heldout))),
        pair=pair,
    )


def _rest(whole: Seconds, part: float) -> Seconds:
    """`whole` without a part of its middle, its ends in proportion."""
    return whole * max(1 - part / whole.middle, 0.0)


class _RandomSource(Source):
    """Noise as a data source."""

    def __init__(self, images: ImageSet) -> None:
        self.name = "random"
        self.classes = list(images.classes)
        self.labels = images.labels.numpy()
        self._images = images.images.permute(0, 2, 3, 1).contiguous().numpy()

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Image `index` as uint8 (H, W, C)."""
        return self._images[index]  # type: ignore[no-any-return]


def _shard_rates(params: Params) -> tuple[Seconds, Seconds]:
    """Seconds an image to write shards, and to read them back."""
    source = _RandomSource(random_images(params, 2, SHARDED_IMAGES))
    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def write() -> None:
            write_shards(source, params.data, params.seed, folder)

        def read() -> int:
            return len(load_split(folder, "train"))

        write()
        count = read()
        timings = range(LEAST_TIMINGS)
        writing = Seconds.of(seconds(write, cpu) / len(source) for _ in timings)
        reading = Seconds.of(seconds(read, cpu) / count for _ in timings)
    return writing, reading
