"""Budgets that fit into the hours there are, by the forecast's own measurements on this machine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from pdpipe import bench
from pdpipe.data import ImageSet
from pdpipe.methods.extractor import accuracy, extractor_plan
from pdpipe.networks import Classifier
from pdpipe.params import Params
from pdpipe.plan import Plan
from pdpipe.progress import Progress
from pdpipe.projects.choices import (
    Choice,
    fallbacks,
    heldout_count,
    most_factor,
    sample_counts,
    sizes,
)
from pdpipe.projects.settings import Changes, params_of, params_text
from pdpipe.projects.survey import Survey
from pdpipe.runtime import configure
from pdpipe.sources.images import ImageError, read_image
from pdpipe.sources.source import num_heldout

USED = 0.9  # of the hours: machines slow down, and DVC and drawing the report are not forecast
MEASURING = 0.25  # of these, at most, for evaluations
EXTRACTING = 0.07  # and for the extractor
LEAST = 0.25  # of the digits' budgets
_WIDER = 4.0  # times these budgets, a wider network is tried
_WIDEST = 128
_BUDGET = 10.0  # seconds of timing for each network that is tried
_TRIAL = 10_000  # images of a trial of the extractor
_TRIAL_SECONDS = 45.0
_LEAST_EXTRACTOR = 150
_Z = 3.0  # standard errors below its accuracy


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Settings that were fitted, and how long the chain will take with them."""

    choice: Choice
    seconds: float
    allowed: float

    @property
    def fits(self) -> bool:
        """Whether the hours suffice."""
        return self.seconds <= self.allowed


@dataclass(frozen=True)
class _Measured:
    """What a forecast needs of one image size and network."""

    found: Survey
    size: bench.DataSize
    models: bench.Untrained
    rates: bench.Rates
    start: bench.StartUp

    def params(self, choice: Choice) -> Params:
        """The settings of a choice."""
        return params_of(params_text(self.found, choice))

    def extractor_updates(self, choice: Choice, seconds: float) -> int:
        """How many of the choice's updates of the extractor the time allows."""
        params = self.params(choice)
        one = self.rates.updates["extractor"].per_image.middle * params.extractor.batch_size
        return min(max(int(seconds / one), _LEAST_EXTRACTOR), params.extractor.updates)

    def seconds(self, choice: Choice) -> tuple[float, float]:
        """(whole chain, evaluations and rungs within) of a choice."""
        params = self.params(choice)
        stages = bench.forecast(params, self.models, self.size, self.rates, self.start)
        measuring = [s for s in stages if s.name.startswith(("evaluate", "rungs"))]
        return bench.total(stages).middle, bench.total(measuring).middle


def fit(found: Survey, hours: float, start: Callable[[str], bench.StartUp]) -> tuple[Fit, Changes]:
    """Settings for these images that fit into so many hours, and the extractor's bound.

    The largest images are taken whose least budgets fit, and the widest network with which the
    budgets are at least the digits'. Where no budgets fit, the least of what takes shortest.

    Args:
        found: the images.
        hours: that the chain may take on this machine.
        start: times a stage without work, of a params text.
    """
    allowed = hours * 3600
    fits: list[Fit] = []
    for image_size in sizes(found):
        choice = Choice(image_size=image_size)
        choice = replace(choice, num_samples=next(sample_counts(found, choice)))
        started = start(params_text(found, choice))
        fits.append(_fitted(_measured(found, choice, started), choice, allowed))
        if fits[-1].fits:
            best = _wider(found, started, fits[-1])
            break
    else:
        best = min(fits, key=lambda fit: fit.seconds)
    return best, tried(found, best.choice)


def _measured(found: Survey, choice: Choice, start: bench.StartUp) -> _Measured:
    params = params_of(params_text(found, choice))
    train, heldout = heldout_count(found, choice.image_size)
    size = bench.DataSize(classes=len(found.images), train=train, heldout=heldout, known=True)
    device = configure(params.runtime)
    print(
        f"timing a network of {choice.base_channels} channels for {choice.image_size}x"
        f"{choice.image_size} images",
        flush=True,
    )
    models = bench.untrained_models(params, size, device)
    rates = bench.measure_rates(params, models, size, device, _BUDGET)
    return _Measured(found, size, models, rates, start)


def _fitted(measured: _Measured, wanted: Choice, allowed: float) -> Fit:
    """The choice that measures most with at least the digits' budgets, else that with the largest.

    Where not even the least budgets fit, these.
    """
    updates = measured.extractor_updates(wanted, EXTRACTING * USED * allowed)
    wanted = replace(wanted, factor=LEAST, extractor_updates=updates)
    fits: list[Fit] = []
    for choice in fallbacks(wanted):
        chosen = choice
        for count in sample_counts(measured.found, choice):
            chosen = replace(choice, num_samples=count)
            if measured.seconds(chosen)[1] <= MEASURING * USED * allowed:
                break
        seconds, _ = measured.seconds(chosen)
        if seconds <= USED * allowed:
            fits.append(_largest(measured, chosen, allowed))
            if fits[-1].choice.factor >= 1.0:
                return fits[-1]
    if fits:
        return max(fits, key=lambda fit: fit.choice.factor)
    return Fit(choice=chosen, seconds=seconds, allowed=allowed)


def _largest(measured: _Measured, choice: Choice, allowed: float) -> Fit:
    """The choice with the largest factor that the time allows, by bisection of its logarithm."""
    low = LEAST
    tried = high = most_factor(measured.size.train)
    for _ in range(13):
        if measured.seconds(replace(choice, factor=tried))[0] <= USED * allowed:
            low = tried
        else:
            high = tried
        tried = math.sqrt(low * high)
    fitted = replace(choice, factor=low)
    return Fit(choice=fitted, seconds=measured.seconds(fitted)[0], allowed=allowed)


def _wider(found: Survey, start: bench.StartUp, fit: Fit) -> Fit:
    """The same with wider networks, as long as the budgets stay at least the digits'."""
    while fit.choice.factor >= _WIDER and fit.choice.base_channels < _WIDEST:
        choice = replace(fit.choice, base_channels=2 * fit.choice.base_channels)
        wider = _fitted(_measured(found, choice, start), choice, fit.allowed)
        if not wider.fits or wider.choice.factor < 1.0 or wider.choice.steps < fit.choice.steps:
            break
        fit = wider
    return fit


def tried(found: Survey, choice: Choice) -> Changes:
    """The bound of the extractor's accuracy, from a trial of its training on these images.

    A trial that is shorter than the training reaches less, which the bound then allows for.
    """
    params = params_of(params_text(found, choice))
    train, heldout = _sample(found, choice.image_size, params)
    settings, device = params.extractor, configure(params.runtime)
    begun = extractor_plan(params.data.channels, len(found.images), settings, params.seed)
    _, seconds = bench.trained(_shorter(begun, 10), params, device, train)
    updates = min(int(10 * _TRIAL_SECONDS / seconds), settings.updates)
    network, _ = bench.trained(_shorter(begun, updates), params, device, train)
    assert isinstance(network, Classifier)
    right = accuracy(network, heldout)
    chance = max(np.bincount(heldout.labels.numpy())) / len(heldout)
    error = math.sqrt(max(right * (1 - right), 1 / len(heldout)) / len(heldout))
    bound = max(math.floor(100 * (right - _Z * error - 0.02)) / 100, 0.0)
    why = (
        f"a trial of {max(updates, 1)} updates reached {right:.1%} of {len(heldout):,} held-out "
        "images; the largest class has"
    )
    return {"extractor.min_accuracy": (bound, f"{why} {chance:.1%}; the stage fails below it")}


def _shorter(plan: Plan, updates: int) -> Plan:
    return replace(plan, optimization=replace(plan.optimization, updates=max(updates, 1)))


def _sample(found: Survey, image_size: int, params: Params) -> tuple[ImageSet, ImageSet]:
    """(training, held-out) images of a trial, of each class in its share."""
    usable = found.usable(image_size)
    share = min(1.0, _TRIAL / sum(map(len, usable.values())))
    generator = np.random.default_rng(0)
    parts: dict[bool, list[tuple[Any, int]]] = {False: [], True: []}
    chosen = []
    for label, paths in enumerate(usable.values()):
        order = generator.permutation(len(paths))[: max(round(share * len(paths)), 2)]
        count = num_heldout(len(order), params.data.heldout_fraction)
        chosen += [(paths[i], label, place < count) for place, i in enumerate(order.tolist())]
    data = params.data
    with Progress("reading images for a trial", len(chosen), "images") as progress:
        for path, label, held in chosen:
            try:
                pixels = read_image(path, image_size, data.channels, data.sixteen_bit)
            except ImageError:  # one that was not looked at
                continue
            parts[held].append((pixels, label))
            progress.advance()
    return _image_set(parts[False], [*usable]), _image_set(parts[True], [*usable])


def _image_set(images: list[tuple[Any, int]], classes: list[str]) -> ImageSet:
    pixels = np.stack([image for image, _ in images])  # (n, H, W, C)
    return ImageSet(
        images=torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
        labels=torch.tensor([label for _, label in images]),
        classes=tuple(classes),
        digest="",
    )
