"""The combinations of settings that cannot be run, each refused in one sentence with its mend."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pdpipe import layout
from pdpipe.errors import ParamsError, counted, did_you_mean
from pdpipe.params.dialect import spelled

if TYPE_CHECKING:
    from pdpipe.params.models import DataParams, Params

# The sources of images by their names, and how many classes they have, where that is known.
SOURCES = {
    "digits": 10,
    "folder": None,
    "cifar10": 10,
    "cifar100": 100,
    "idx": None,
    "npy": None,
    "imagenet32": 1000,
    "imagenet64": 1000,
    "lsun-church": 1,
    "lsun-bedroom": 1,
}


# What stages write, or DVC and git keep, in the project's folder.
OWN = (
    layout.SHARDS,
    layout.TEACHER.parent,
    layout.RESULTS,
    layout.REPORTS,
    layout.STUDIES.parent,
    layout.WORK,
    *map(Path, (".dvc", ".git", "pdpipe")),
)


def check_source(data: DataParams) -> None:
    """There is such a source, and DVC has a folder to look at."""
    if data.source not in SOURCES:
        raise ParamsError(
            f"data.source is {spelled(data.source)}: {did_you_mean(data.source, SOURCES)}"
        )
    if not data.path:
        raise ParamsError(
            "data.path is empty: name the folder that holds class/name.png, or data/README.md "
            "where the source needs none"
        )
    if data.path.startswith("~"):
        raise ParamsError(
            f"data.path is {data.path}, but DVC takes ~ for the name of a folder: write the whole "
            "path"
        )


def check_digits(data: DataParams) -> None:
    """The digits have one shape."""
    if data.source == "digits" and (data.image_size, data.channels) != (8, 1):
        raise ParamsError(
            f"data.image_size is {data.image_size} and data.channels {data.channels}, but the "
            "images of data.source digits are 8x8 and grey: set them to 8 and 1"
        )


def check_classes(extractor: str, num_classes: int) -> None:
    """The classifier has classes to tell apart: without, its features are those of no training."""
    if extractor == "classifier" and num_classes < 2:
        raise ParamsError(
            "evaluation.extractor is classifier, which learns its features by telling classes "
            "apart, but the data have one class: set it to inception-v3-compat, or sort the images "
            "into classes"
        )


def check_path(data: DataParams) -> None:
    """The data's folder neither holds nor lies in what the pipeline writes itself."""
    if any(character < " " or character == "\x7f" for character in data.path):
        raise ParamsError(
            f"data.path is {data.path!r}, with characters that cannot be printed: name the folder "
            "without them"
        )
    given = Path(os.path.realpath(data.path))  # unlike `resolve`, it takes links in a circle
    for own in OWN:
        place = Path(os.path.realpath(own))
        if place.is_relative_to(given) or given.is_relative_to(place):
            raise ParamsError(
                f"data.path is {data.path}, which overlaps {own}, a folder of the pipeline's own: "
                "name a folder beside it, such as data/raw"
            )


def check_shares(num_samples: int, num_classes: int) -> None:
    """Every class gets equally many of the generated images."""
    if num_samples % num_classes:
        nearest = max(num_samples // num_classes, 1) * num_classes
        raise ParamsError(
            f"evaluation.num_samples is {num_samples}, which {num_classes} classes cannot share "
            f"equally: make it a multiple of {num_classes}, such as {nearest}"
        )


def check_network(p: Params) -> None:
    """The network can be built, and what is asked of it can be learned."""
    p.network.check(p.data.image_size)
    if not p.network.conditional and (p.guide.w_max > 0 or any(p.evaluation.w)):
        raise ParamsError(
            "network.conditional is false, so there is nothing to guide: set guide.w_min and "
            "guide.w_max to 0.0 and evaluation.w to [0.0], or make the network conditional"
        )
    if p.guide.w_max > 0 and p.teacher.label_dropout == 0:
        raise ParamsError(
            "teacher.label_dropout is 0, so the teacher never learns the unconditional model that "
            "guidance needs: set it to about 0.1, or guide.w_max to 0.0"
        )
    if p.teacher.parameterization == "eps" and p.ladder and not p.teacher.allow_unstable:
        raise ParamsError(
            "teacher.parameterization is eps, which cannot be distilled to few steps (at t = 1 its "
            "error is magnified by 1/alpha, 2e4 at log-SNR -20): use v, x or x_eps, empty the "
            "ladder (`ladder: {}`), or set teacher.allow_unstable to true to see it break"
        )


def check_ladder(p: Params) -> None:
    """Every `from` exists, is a larger multiple, and leads to guide.steps without a circle."""
    counts = {str(p.guide.steps), *p.ladder}
    for key, rung in p.ladder.items():
        where = f'ladder."{key}"'
        if not key.isdecimal() or int(key) < 1 or str(int(key)) != key:
            raise ParamsError(f"{where} must be a whole number of steps, 1 or more, in quotes")
        if int(key) == p.guide.steps:
            raise ParamsError(
                f"{where} is guide.steps, the stage-one student's own count: remove this rung"
            )
        if rung.from_ not in counts:
            larger = sorted(int(n) for n in counts if n.isdecimal() and int(n) > int(key))
            mend = f"choose from {', '.join(map(str, larger))}" if larger else "remove this rung"
            raise ParamsError(
                f'{where}.from is "{rung.from_}", which is neither guide.steps '
                f"({p.guide.steps}) nor a rung: {mend}"
            )
    for key in p.ladder:
        _check_leads_to_top(p, key)
    for key, rung in p.ladder.items():
        if int(rung.from_) <= int(key) or int(rung.from_) % int(key):
            raise ParamsError(
                f'ladder."{key}".from is "{rung.from_}": the teacher must take a multiple of '
                f"{counted(int(key), 'step')} (2 x {key} = {2 * int(key)} halves them)"
            )


def _check_leads_to_top(p: Params, key: str) -> None:
    path = [key]
    while path[-1] != str(p.guide.steps):
        path.append(p.ladder[path[-1]].from_)
        if path[-1] in path[:-1]:
            raise ParamsError(
                f"the ladder is circular ({' <- '.join(path)}): let every `from` lead up to "
                f'"{p.guide.steps}" (guide.steps)'
            )


def check_evaluation(p: Params) -> None:
    """Each value once, w in the students' range, every rung beside the teacher at its steps."""
    e = p.evaluation
    classes = SOURCES[p.data.source]
    if classes is not None:
        check_classes(e.extractor, classes)
    if classes is not None and p.network.conditional:
        check_shares(e.num_samples, classes)
    for key, values in (("w", e.w), ("teacher_steps", e.teacher_steps)):
        if len(set(values)) != len(values):
            raise ParamsError(f"evaluation.{key} repeats a value: list each one once")
    shown: dict[str, float] = {}
    for w in e.w:
        if (twin := shown.setdefault(f"{w:g}", w)) != w:
            raise ParamsError(
                f"evaluation.w has {twin!r} and {w!r}, which results cannot tell apart (they keep "
                "6 digits): remove one"
            )
    outside = [w for w in e.w if not p.guide.w_min <= w <= p.guide.w_max]
    if outside:
        raise ParamsError(
            f"evaluation.w has {outside[0]}, outside the range the students are trained on "
            f"(guide.w_min {p.guide.w_min} to guide.w_max {p.guide.w_max}): remove it or widen that"
        )
    absent = [n for n in p.rungs() if n not in e.teacher_steps]
    if absent:
        raise ParamsError(
            f"evaluation.teacher_steps lacks {absent[0]}, a rung of the ladder, so that student "
            "would have nothing to stand beside: add it"
        )
    if e.paired_samples > e.num_samples:
        raise ParamsError(
            f"evaluation.paired_samples ({e.paired_samples}) is above evaluation.num_samples "
            f"({e.num_samples}): lower it"
        )


PUBLISHED_SIDES = {"cifar10": 32, "imagenet64": 64}  # of the images with published figures


def check_report(p: Params) -> None:
    """Published figures are those of the chain's own data."""
    side = PUBLISHED_SIDES.get(p.report.published)
    if side is not None and (p.data.image_size, p.data.channels) != (side, 3):
        raise ParamsError(
            f"report.published is {p.report.published}, images of {side} x {side} pixels in 3 "
            f"channels, but data.image_size is {p.data.image_size} and data.channels "
            f"{p.data.channels}: set report.published to none, or those to {side} and 3"
        )
