"""What can be chosen for images of one's own: their size, the network, and how much is done.

The budgets are those of the digits times one factor, which the forecast's measurements fit into the
hours that there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from pdpipe.errors import ProjectError
from pdpipe.evaluation.manifold import NEIGHBOURS
from pdpipe.presets import preset_params
from pdpipe.projects.survey import Survey
from pdpipe.sources.source import num_heldout

LARGEST = 64  # pixels: beyond, a network that runs here learns little in hours
SMALLEST = 8
_SMALL_SHARE = 0.02  # of the images may be smaller than the chosen size: they are left out
_MOST_HELDOUT = 10_000
DIGITS = preset_params("digits")
_LEAST_LADDER = 40
_TRIAL, _TRIAL_SAMPLES = 5, 20  # updates of each network, and samples of a cell, of a trial
_MOST_EPOCHS = 1000  # of the teacher: about where more updates only memorise few images
_MOST = 300.0  # times the digits' budgets


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is free to be fitted: the network, the counts, and how much is measured."""

    image_size: int
    base_channels: int = 16
    factor: float = 1.0  # of the digits' updates
    steps: int = 64  # of the teacher, from which the ladder starts
    weights: tuple[float, ...] = (0.0, 0.3, 1.0, 2.0, 4.0)
    num_samples: int = 0
    extractor_updates: int = DIGITS.extractor.updates
    trial: bool = False  # next to no training

    @property
    def teacher(self) -> int:
        """Updates of the teacher."""
        return self._updates(DIGITS.teacher.updates, 400)

    @property
    def guide(self) -> int:
        """Updates of stage one."""
        return self._updates(DIGITS.guide.updates, 200)

    @property
    def rungs(self) -> dict[int, int]:
        """{steps: updates} of the ladder."""
        ladder = {int(n): rung.updates for n, rung in DIGITS.ladder.items()}
        return {n: self._updates(u, _LEAST_LADDER) for n, u in ladder.items() if n < self.steps}

    def _updates(self, of_digits: int, least: int) -> int:
        """The updates of a stage, in two digits."""
        if self.trial:
            return _TRIAL
        wanted = max(of_digits * self.factor, least)
        unit = int(10 ** max(math.floor(math.log10(wanted)) - 1, 0))
        return max(int(wanted / unit) * unit, least)


def sizes(found: Survey) -> list[int]:
    """The sides of images that the networks take and 98 % of these have, the largest first.

    Raises:
        ProjectError: the images are too small, or too few.
    """
    sides = found.sides
    common = min(max(sides[int(_SMALL_SHARE * len(sides))], SMALLEST), found.least_side)
    first = min(common, LARGEST)
    first -= first % (8 if first >= 32 else 4)
    if first < SMALLEST:
        raise ProjectError(
            f"--images {found.root} has images whose shorter side is {common} pixels, and the "
            f"networks need {SMALLEST}: enlarge them, or leave them out"
        )
    count = min(heldout_count(found, first))
    if count <= NEIGHBOURS:
        raise ProjectError(
            f"--images {found.root} has too few images: {count} of them would be left to train on "
            f"or to compare with, and figures need more than {NEIGHBOURS}: add some to each class"
        )
    found_sizes = [first]
    while (half := found_sizes[-1] // 2) >= SMALLEST * 2:
        found_sizes.append(half - half % 4)
    return found_sizes


def heldout_fraction(count: int) -> float:
    """The share of the images that is held out: the digits', more of few, less of many."""
    if count < 500:
        return 0.2
    return min(0.12, max(round(_MOST_HELDOUT / count, 4), 0.001))


def most_factor(train: int) -> float:
    """The largest factor of the digits' budgets that so many training images are worth."""
    seen = DIGITS.teacher.updates * DIGITS.teacher.batch_size
    return max(min(_MOST_EPOCHS * train / seen, _MOST), 1.0)


@cache
def heldout_count(found: Survey, image_size: int) -> tuple[int, int]:
    """(training, held-out) images, as stage `prepare` splits them."""
    counts = [len(paths) for paths in found.usable(image_size).values()]
    share = heldout_fraction(sum(counts))
    heldout = sum(num_heldout(n, share) for n in counts)
    return sum(counts) - heldout, heldout


def sample_counts(found: Survey, choice: Choice) -> Iterator[int]:
    """Samples a cell that could be measured, the most first: multiples of the classes."""
    classes = len(found.images)
    train, _ = heldout_count(found, choice.image_size)
    most = min(train, 50_000)
    count = max(most // classes, 1) * classes
    least = min(-(-max(200, 10 * classes) // classes) * classes, count)
    while count > least:
        yield count
        count = int(count * 0.8) // classes * classes
    yield least


def fallbacks(choice: Choice) -> Iterator[Choice]:
    """The choice, then those that measure less, for when the time is short."""
    yield choice
    yield replace(choice, steps=32, weights=(0.0, 1.0, 4.0))
    yield replace(choice, steps=16, weights=(0.0, 1.0))


def trial(found: Survey) -> Choice:
    """The whole chain on these images in a minute or two."""
    classes, side = len(found.images), sizes(found)[0]
    train, _ = heldout_count(found, side)
    return Choice(
        image_size=side,
        steps=4,
        weights=(0.0, 1.0),
        num_samples=max(min(_TRIAL_SAMPLES, train) // classes, 1) * classes,
        extractor_updates=30,
        trial=True,
    )
