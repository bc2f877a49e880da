"""Settings for images of one's own: each with the reason why it was chosen.

What does not depend on the images is as in the preset of the digits. The budgets are those of the
digits times one factor, which the forecast's measurements fit into the hours that there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from pdpipe.errors import ProjectError
from pdpipe.evaluation.manifold import NEIGHBOURS
from pdpipe.params import Params, parse_params
from pdpipe.params.dialect import load_yaml
from pdpipe.presets import preset_files
from pdpipe.presets.text import edited, remark
from pdpipe.projects.survey import Survey, left_out

Changes = dict[str, tuple[object, str]]  # {dotted key: (value, why)}
LARGEST = 64  # pixels: beyond, a network that runs here learns little in hours
SMALLEST = 8
_SMALL_SHARE = 0.02  # of the images may be smaller than the chosen size: they are left out
_MOST_HELDOUT = 10_000
_TEACHER, _GUIDE = 2600, 1200  # updates of the digits
_LADDER = {32: 40, 16: 40, 8: 80, 4: 180, 2: 200, 1: 400}
_LEAST_LADDER = 40
_EXTRACTOR = 700
_TRIAL, _TRIAL_SAMPLES = 5, 20  # updates of each network, and samples of a cell, of a trial
_BATCH = 96
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
    extractor_updates: int = _EXTRACTOR
    trial: bool = False  # next to no training

    def updates(self, of_digits: int, least: int) -> int:
        """The updates of a stage, in two digits."""
        if self.trial:
            return _TRIAL
        wanted = max(of_digits * self.factor, least)
        unit = int(10 ** max(math.floor(math.log10(wanted)) - 1, 0))
        return max(int(wanted / unit) * unit, least)

    @property
    def rungs(self) -> dict[int, int]:
        """{steps: updates} of the ladder."""
        return {n: self.updates(u, _LEAST_LADDER) for n, u in _LADDER.items() if n < self.steps}


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
    return max(min(_MOST_EPOCHS * train / (_TEACHER * _BATCH), _MOST), 1.0)


@cache
def heldout_count(found: Survey, image_size: int) -> tuple[int, int]:
    """(training, held-out) images, as stage `prepare` splits them."""
    counts = [len(paths) for paths in found.usable(image_size).values()]
    share = heldout_fraction(sum(counts))
    heldout = sum(min(max(round(share * n), 1), n - 1) for n in counts)
    return sum(counts) - heldout, heldout


def params_text(found: Survey, choice: Choice, extractor: Changes, note: str = "") -> str:
    """The text of params.yaml.

    Args:
        found: the images.
        choice: what was fitted.
        extractor: the settings of section `extractor`.
        note: what the first lines say of the time.
    """
    (text,) = (t for path, t in preset_files("digits").items() if path.name == path.as_posix())
    changes = {
        **_data(found, choice.image_size),
        **extractor,
        **_network(choice),
        **_budgets(choice),
    }
    changes |= _evaluation(found, choice)
    fewer = "the digits'" if choice.extractor_updates == _EXTRACTOR else "fewer, for the time"
    changes["extractor.updates"] = choice.extractor_updates, fewer
    changes["runtime.precision"] = "auto", "on CUDA bfloat16 where it is safe, else float32"
    head, _, body = edited(text, changes).partition("\n")
    about = remark(f"Chosen by `pdpipe new --images {found.root}`{note}")
    return f"{head}\n{about}\n{body}"


def params_of(text: str) -> Params:
    """The validated settings of a text."""
    return parse_params(load_yaml(text, "params.yaml"))


@cache
def _data(found: Survey, side: int) -> Changes:
    sides = found.sides
    looks = found.looks.values()
    train, heldout = heldout_count(found, side)
    count = train + heldout
    range_ = f"{sides[0]} to {sides[-1]}" if sides[0] != sides[-1] else f"{sides[0]}"
    resized = sum(look.side > side for look in looks)
    square = sum(look.width != look.height for look in looks)
    share = heldout_fraction(count)
    done = [
        f"{number:,} of {len(looks):,} are {what}"
        for number, what in ((square, "cropped to a square"), (resized, "averaged down to it"))
        if number
    ]
    if side < sizes(found)[0]:
        done.append("smaller, for the time")
    omitted = left_out(found, side)
    colour = sum(look.colour for look in looks)
    sixteen = sum(look.sixteen_bit for look in looks)
    changes: Changes = {
        "data.source": ("folder", "a folder of images for each class"),
        "data.path": (
            "data/raw",
            f"{count:,} images in {len(found.images)} classes"
            + (f"; left out: {omitted}" if omitted else ""),
        ),
        "data.image_size": (
            side,
            "; ".join([f"the shorter sides are {range_} pixels", *done]),
        ),
        "data.channels": (
            3 if colour else 1,
            f"{colour:,} of {len(looks):,} images have colours" if colour else "all are grey",
        ),
        "data.heldout_fraction": (
            share,
            f"{heldout:,} images for the floor and the extractor's accuracy, {train:,} to train on",
        ),
    }
    if sixteen:
        changes["data.sixteen_bit"] = "scale", f"{sixteen:,} images have 16 bits: 65535 becomes 255"
    return changes


def multipliers(image_size: int) -> list[int]:
    """A level each; the last has a side of 5 to 8 pixels, of the smallest images 4."""
    levels, side = 1, image_size
    while side > 8 and side % 2 == 0:
        side, levels = side // 2, levels + 1
    return {1: [1, 4], 2: [1, 4], 3: [1, 2, 4], 4: [1, 2, 4, 4]}[levels]


def _network(choice: Choice) -> Changes:
    levels, base = multipliers(choice.image_size), choice.base_channels
    side = choice.image_size // 2 ** (len(levels) - 1)
    return {
        "network.base_channels": (base, "the widest that the time allows" if base > 16 else ""),
        "network.channel_multipliers": (
            levels,
            f"a level each, {choice.image_size} to {side} pixels",
        ),
        "network.embedding_channels": (8 * base, "8 x base_channels"),
        "network.head_channels": (base, ""),
    }


def _budgets(choice: Choice) -> Changes:
    times = "a trial" if choice.trial else f"{choice.factor:.2g} x the digits' budget"
    # Wider networks want smaller steps.
    rate = 16 / choice.base_channels
    teacher = choice.updates(_TEACHER, 400)
    slow = "the digits' divided by the network's width over 16" if rate < 1 else ""
    above = {n: 2 * n for n in choice.rungs}
    ladder = {
        str(n): {
            "from": str(above[n]),
            "updates": updates,
            "learning_rate": (2e-3 if n == 1 else 1e-3) * rate,
        }
        for n, updates in choice.rungs.items()
    }
    return {
        "teacher.updates": (teacher, times),
        "teacher.learning_rate": (2e-3 * rate, slow),
        "teacher.ema_decay": (
            round(min(max(1 - 8 / teacher, 0.98), 0.9999), 5),
            "averages about an eighth of the updates",
        ),
        "guide.steps": (choice.steps, "" if choice.steps == 64 else "fewer than 64, for the time"),
        "guide.updates": (choice.updates(_GUIDE, 200), times),
        "guide.learning_rate": (2e-3 * rate, slow),
        "ladder": (
            ladder,
            f"stage two, one DVC stage a rung: {times}; keys are step counts and must be quoted",
        ),
    }


def _evaluation(found: Survey, choice: Choice) -> Changes:
    classes = len(found.images)
    train, _ = heldout_count(found, choice.image_size)
    each = choice.num_samples // classes
    why = f"{each:,} of each of {classes} classes, no more than the {train:,} training images"
    steps = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= choice.steps]
    less = "" if len(choice.weights) == 5 else "few, for the time"
    return {
        "evaluation.num_samples": (choice.num_samples, f"of each cell: {why}"),
        "evaluation.paired_samples": (
            min(300, choice.num_samples),
            "" if choice.num_samples > 300 else "all",
        ),
        "evaluation.w": ([*choice.weights], less),
        "evaluation.teacher_steps": (steps, ""),
    }


def extractor_settings(train: int) -> Changes:
    """The extractor before it was tried: features that so many images can fill."""
    features = 128 if train >= 1000 else 64 if train >= 250 else 32 if train >= 100 else 16
    return {
        "extractor.source": ("train", "on these images: none comes with pdpipe for them"),
        "extractor.features": (
            features,
            f"the FID needs more images than features: {train:,} to train on",
        ),
        "extractor.min_accuracy": (0.0, "not tried"),
    }


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


def trial(found: Survey) -> tuple[Choice, Changes]:
    """The whole chain on these images in a minute or two, and the extractor of that."""
    classes, side = len(found.images), sizes(found)[0]
    train, _ = heldout_count(found, side)
    choice = Choice(
        image_size=side,
        steps=4,
        weights=(0.0, 1.0),
        num_samples=max(min(_TRIAL_SAMPLES, train) // classes, 1) * classes,
        extractor_updates=30,
        trial=True,
    )
    return choice, extractor_settings(train)


def fallbacks(choice: Choice) -> Iterator[Choice]:
    """The choice, then those that measure less, for when the time is short."""
    yield choice
    yield replace(choice, steps=32, weights=(0.0, 1.0, 4.0))
    yield replace(choice, steps=16, weights=(0.0, 1.0))
