"""What making and measuring images takes here, by the evaluation's own functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from pdpipe.bench.counting import sampling_kind
from pdpipe.bench.setting import random_images, seconds
from pdpipe.bench.timing import LEAST_TIMINGS, Rate, Seconds, time_batches
from pdpipe.bench.untrained import DataSize, Untrained
from pdpipe.evaluation.cells import make_images
from pdpipe.evaluation.evaluate import cell_evaluations
from pdpipe.evaluation.measure import measure
from pdpipe.evaluation.neighbours import nearest_distances
from pdpipe.evaluation.observe import Instruments, observe
from pdpipe.evaluation.reference import Reference, build_reference
from pdpipe.models import DiffusionModel, Sampling
from pdpipe.params import Params

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
