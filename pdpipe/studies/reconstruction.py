"""Images led to noise and back: how much returns, and what becomes of them under another class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from pdpipe.data import ImageSet, to_uint8, to_unit
from pdpipe.errors import EvaluationError
from pdpipe.evaluation.records import Count, NotNegative, Record, Sha256, Share
from pdpipe.params import CoderParams, ReconstructionParams, TransferParams
from pdpipe.studies.coding import Coding, Rig, image_errors, mean_and_error
from pdpipe.tensor_files import save_tensors

TRANSFERRED = "style transfer"
EXCHANGED = "style transfer of another source"
Part = Literal["reconstruction", "transfer"]


class Row(Record):
    """What was measured of some images that were encoded and decoded."""

    part: Part
    method: str  # of encoding
    encoder: str  # "" for fresh noise
    steps: Annotated[int, Field(ge=0)]  # of encoding
    nfe: Annotated[int, Field(ge=0)]  # network evaluations an image, of encoding
    decoder: str
    source: str | None  # the images' class; None: every class
    target: str | None  # the class that they are decoded as; None: their own
    w: NotNegative  # of decoding
    images: Count
    mse: NotNegative  # between images and what they became, pixels in [-1, 1], both clamped
    mse_se: NotNegative | None  # standard error over the images; None: there is one
    difference: float | None  # mse less the baseline's, at equal nfe; None: there is no baseline
    difference_se: NotNegative | None  # of the mean of the images' differences, which are paired
    accuracy: Share  # judged to be of the class that they were decoded as
    z_rms: NotNegative  # root mean square of z_1, 1 for noise


class ReconstructionRecord(Record):
    """stages/<study>/results/reconstruction.json."""

    baseline: str  # the method that differences are taken from; in part transfer `TRANSFERRED`
    judge: str  # the classifier behind accuracy
    judge_sha256: Sha256
    clip: bool
    seed: Annotated[int, Field(ge=0)]  # of fresh noise
    rows: Annotated[list[Row], Field(min_length=1)]


def measure_reconstruction(
    rig: Rig, images: ImageSet, asked: ReconstructionParams, baseline: str
) -> list[Row]:
    """The rows of every encoder, and of fresh noise, through every decoder.

    Args:
        rig: the models and the judge.
        images: the held-out split; its first `asked.images` are taken.
        asked: section `reconstruction` of the study's params.
        baseline: the method whose errors the others' are compared with at equal evaluations.

    Raises:
        ModelError: a model that cannot encode, or decode, such images.
    """
    x, labels = to_unit(images.images[: asked.images]), images.labels[: asked.images]
    codings = [rig.fresh_noise(x)]
    for encoder in asked.encoders.values():
        for steps in encoder.steps:
            coder = CoderParams(model=encoder.model, steps=steps)
            codings.append(rig.encode(encoder.method, coder, x, labels, asked.w))
    rows = []
    for decoder in asked.decoders.values():
        ends = [rig.decode(decoder, coding.z_1, labels, asked.w) for coding in codings]
        errors = [image_errors(x, end) for end in ends]
        rivals = {c.nfe: e for c, e in zip(codings, errors, strict=True) if c.method == baseline}
        for coding, end, error in zip(codings, ends, errors, strict=True):
            rival = rivals.get(coding.nfe) if coding.method != baseline else None
            accuracy = rig.judge.accuracy(end, labels)
            name = rig.name(decoder)
            rows.append(_row("reconstruction", coding, name, asked.w, error, rival, accuracy))
    return rows


def check_transfer(rig: Rig, asked: TransferParams) -> None:
    """Raise ModelError for a class or w that a model of the style transfer does not know."""
    encoder, decoder = rig.models[asked.encoder.model], rig.models[asked.decoder.model]
    for pair in asked.pairs:
        encoder.check_labels(pair)
    for w in asked.w:
        decoder.check_w(w)


def measure_transfer(
    rig: Rig, images: ImageSet, asked: TransferParams
) -> tuple[list[Row], list[list[Tensor]]]:
    """The rows of every pair of classes and w, and the images to show.

    Each image is compared with its source, and so are two that cannot have its style: what another
    source became, and a fresh sample of the target class, at the same w.

    Args:
        rig: the models and the judge.
        images: the held-out split.
        asked: section `transfer` of the study's params.

    Returns:
        The rows, and for each pair the first images, uint8 (shown, C, H, W): the sources, then what
        they became at each w.

    Raises:
        EvaluationError: there are no images of a class.
        ModelError: a class, w or model that cannot be used, which `check_transfer` finds at once.
    """
    check_transfer(rig, asked)
    rows, shown = [], []
    for source, target in asked.pairs:
        x = to_unit(images.images[images.labels == source][: asked.images])
        if not len(x):
            raise EvaluationError(
                f"there are no held-out images of class {images.classes[source]}: take another "
                "class as a source of `transfer.pairs`, or hold back more images"
            )
        own, other = (torch.full((len(x),), label) for label in (source, target))
        kept = rig.encode(TRANSFERRED, asked.encoder, x, own, 0.0)
        fresh = rig.fresh_noise(x)
        names = (images.classes[source], images.classes[target])
        pictures = [x]
        for w in asked.w:
            became, sample = (rig.decode(asked.decoder, c.z_1, other, w) for c in (kept, fresh))
            distance, exchanged = image_errors(x, became), image_errors(x, became.roll(1, 0))
            for coding, end, errors, rival in (
                (kept, became, distance, None),
                (replace(kept, method=EXCHANGED), became, exchanged, distance),
                (fresh, sample, image_errors(x, sample), distance),
            ):
                accuracy = rig.judge.accuracy(end, other)
                name = rig.name(asked.decoder)
                rows.append(_row("transfer", coding, name, w, errors, rival, accuracy, names))
            pictures.append(became)
        shown.append([to_uint8(picture[: asked.shown]) for picture in pictures])
    return rows, shown


def save_pictures(
    path: Path,
    blocks: Sequence[Sequence[Tensor]],
    *,
    title: str,
    shows: str,
    rows: Sequence[str],
    columns: Sequence[str],
) -> None:
    """Write blocks of images as one tensor, atomically; equal ones give equal bytes.

    Args:
        path: the file.
        blocks: `blocks[row][column]` is uint8 (n, C, H, W), of which all blocks show as many.
        title: of the picture.
        shows: what a block holds, in words.
        rows, columns: their labels.
    """
    shown = min(len(block) for row in blocks for block in row)
    images = torch.stack([torch.stack([block[:shown] for block in row]) for row in blocks])
    about = {"title": title, "shows": shows, "rows": list(rows), "columns": list(columns)}
    save_tensors(path, {"images": images}, "picture", about)


def _row(
    part: Part,
    coding: Coding,
    decoder: str,
    w: float,
    errors: Tensor,
    rival: Tensor | None,
    accuracy: float,
    classes: tuple[str, str] | tuple[None, None] = (None, None),
) -> Row:
    mse, mse_se = mean_and_error(errors)
    difference = (None, None) if rival is None else mean_and_error(errors - rival)
    return Row(
        part=part,
        method=coding.method,
        encoder=coding.encoder,
        steps=coding.steps,
        nfe=coding.nfe,
        decoder=decoder,
        source=classes[0],
        target=classes[1],
        w=w,
        images=len(errors),
        mse=mse,
        mse_se=mse_se,
        difference=difference[0],
        difference_se=difference[1],
        accuracy=accuracy,
        z_rms=float(coding.z_1.double().square().mean().sqrt()),
    )
