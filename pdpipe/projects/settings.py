"""Settings for images of one's own: each with the reason why it was chosen.

What does not depend on the images is as in the preset of the digits.
"""

from __future__ import annotations

from functools import cache

from pdpipe.params import Params, parse_params
from pdpipe.params.dialect import load_yaml
from pdpipe.presets import preset_files
from pdpipe.presets.text import edited, remark
from pdpipe.projects.choices import DIGITS, Choice, heldout_count, heldout_fraction, sizes
from pdpipe.projects.survey import Survey, left_out

Changes = dict[str, tuple[object, str]]  # {dotted key: (value, why)}


def params_text(found: Survey, choice: Choice, bound: Changes | None = None, note: str = "") -> str:
    """The text of params.yaml.

    Args:
        found: the images.
        choice: what was fitted.
        bound: of the extractor's accuracy, if that was tried.
        note: what the first lines say of the time.
    """
    (text,) = (t for path, t in preset_files("digits").items() if path.name == path.as_posix())
    changes = {
        **_data(found, choice.image_size),
        **_extractor(found, choice),
        **(bound or {}),
        **_network(choice),
        **_budgets(choice),
        **_evaluation(found, choice),
        "runtime.precision": ("auto", "on CUDA bfloat16 where it is safe, else float32"),
    }
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


def _extractor(found: Survey, choice: Choice) -> Changes:
    """Features that so many images can fill, and no bound."""
    train, _ = heldout_count(found, choice.image_size)
    features = 128 if train >= 1000 else 64 if train >= 250 else 32 if train >= 100 else 16
    fewer = (
        "the digits'"
        if choice.extractor_updates == DIGITS.extractor.updates
        else "fewer, for the time"
    )
    return {
        "extractor.source": ("train", "on these images: none comes with pdpipe for them"),
        "extractor.features": (
            features,
            f"the FID needs more images than features: {train:,} to train on",
        ),
        "extractor.updates": (choice.extractor_updates, fewer),
        "extractor.min_accuracy": (0.0, "not tried"),
    }


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
        "teacher.updates": (choice.teacher, times),
        "teacher.learning_rate": (2e-3 * rate, slow),
        "teacher.ema_decay": (
            round(min(max(1 - 8 / choice.teacher, 0.98), 0.9999), 5),
            "averages about an eighth of the updates",
        ),
        "guide.steps": (choice.steps, "" if choice.steps == 64 else "fewer than 64, for the time"),
        "guide.updates": (choice.guide, times),
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
