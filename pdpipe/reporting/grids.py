"""Sample grids: blocks of fixed-seed images, arranged to be compared by eye."""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pdpipe.reporting import formats
from pdpipe.reporting.sheets import Images, Sheet, Sheets

TILE = 32  # smaller images are enlarged to at least this side, in whole pixels
GAP = 2  # transparent pixels between the images of a block
BLOCK = 5  # images across a block, at most; fewer where the images are large
BLOCK_WIDTH = 200  # pixels that a block of large images keeps to
CLASS_SAMPLES = 4  # images of a class in its block


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Labelled blocks: `blocks[row][column]` is RGBA (height, width, 4), all of one shape.

    `shows` says in words what a block holds; `breaks` are the rows that start a group.
    """

    title: str
    shows: str
    rows: list[str]
    columns: list[str]
    blocks: list[list[Images]]
    breaks: list[int]


def steps_by_w(sheets: Sheets) -> Grid:
    """Samples at each w (columns): the full-count teacher, then at each N student and teacher.

    A block holds the same noise and classes everywhere, as many of each class.
    """
    first = sheets.full
    across = _across(first)
    picked = _balanced(len(first.classes), first.images.shape[2], 2 * across)
    classes, columns = (list(index) for index in zip(*picked, strict=True))
    rows = [(f"teacher, {formats.steps(sheets.full_steps)}", first)]
    for n, student in sheets.students.items():
        rows.append((f"student, {formats.steps(n)}", student))
        rows.append((f"teacher, {formats.steps(n)}", sheets.teacher[n]))
    return Grid(
        title="Steps and guidance",
        shows=f"{len(picked)} samples from the same noise",
        rows=[label for label, _ in rows],
        columns=[formats.weight(w) for w in first.w],
        blocks=[
            [block(sheet.at(w)[classes, columns], across) for w in first.w] for _, sheet in rows
        ],
        breaks=list(range(1, len(rows), 2)),
    )


def classes_by_steps(sheets: Sheets, w: float) -> Grid:
    """The samples of each class (columns) by the teacher, then by every student (rows), at w."""
    rows = [(f"teacher, {formats.steps(sheets.full_steps)}", sheets.full)]
    rows += [(f"student, {formats.steps(n)}", sheet) for n, sheet in sheets.students.items()]
    per_class = rows[0][1].images.shape[2]
    shown = per_class if len(sheets.classes) == 1 else min(per_class, CLASS_SAMPLES)
    across = math.ceil(shown / math.isqrt(shown))
    return Grid(
        title=f"Classes at {formats.weight(w)}",
        shows=f"{shown} samples of a class, from the same noise",
        rows=[label for label, _ in rows],
        columns=sheets.classes,
        blocks=[[block(images[:shown], across) for images in sheet.at(w)] for _, sheet in rows],
        breaks=[1],
    )


def block(images: Images, across: int) -> Images:
    """Images (n, C, H, W), enlarged and set in rows of `across`, as RGBA (height, width, 4).

    Enlarged by repeating pixels, `scale(H)` times; gaps and what is left over are transparent.
    """
    n, _, height, width = images.shape
    factor = scale(min(height, width))
    tall, wide = height * factor, width * factor
    down = math.ceil(n / across)
    canvas = np.zeros((down * (tall + GAP) - GAP, across * (wide + GAP) - GAP, 4), dtype=np.uint8)
    for k, image in enumerate(images):
        top, left = k // across * (tall + GAP), k % across * (wide + GAP)
        canvas[top : top + tall, left : left + wide] = _rgba(image, factor)
    return canvas


def scale(side: int) -> int:
    """How many times an image of this side is enlarged: 4 for 8 pixels, 1 from 32 on."""
    return max(1, math.ceil(TILE / side))


def png(image: Images) -> bytes:
    """An image, grey, RGB or RGBA, as a PNG file."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _across(sheet: Sheet) -> int:
    """How many images stand side by side in a block."""
    side = int(sheet.images.shape[-1])
    return max(1, min(BLOCK, BLOCK_WIDTH // (side * scale(side))))


def _balanced(num_classes: int, per_class: int, most: int) -> list[tuple[int, int]]:
    """(class, column) of at most `most` samples, as many of each class as of any other.

    With more classes than fit, the first ones, a sample each.
    """
    each = min(per_class, most // num_classes)
    if each == 0:
        return [(k, 0) for k in range(most)]
    return [(k, column) for column in range(each) for k in range(num_classes)]


def _rgba(image: Images, factor: int) -> NDArray[np.uint8]:
    """A (C, H, W) image, grey or RGB, as opaque RGBA (H x factor, W x factor, 4)."""
    colour = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)
    opaque = np.full((*colour.shape[:2], 1), 255, dtype=np.uint8)
    pixels = np.concatenate([colour, opaque], axis=2)
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)
