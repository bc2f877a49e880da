"""What a study of encoders measures: images led to noise and back, and from class to class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from pdpipe.errors import counted
from pdpipe.params.section import Count, Section, Steps, Weight

Label = Annotated[int, Field(ge=0)]


class EncodingParams(Section):
    """A model that leads images to noise, run at some step counts."""

    method: str  # what it is called in the report; those of one method stand in one row
    model: str  # its file
    steps: Annotated[list[Steps], Field(min_length=1)]


class CoderParams(Section):
    """A model that leads from images to noise or back, and its steps."""

    model: str  # its file
    steps: Steps


class ReconstructionParams(Section):
    """Held-out images, encoded and decoded again, under their own classes."""

    images: Count  # the first so many held-out ones
    w: Weight  # guidance of both ways
    encoders: Annotated[dict[str, EncodingParams], Field(min_length=1)]
    decoders: Annotated[dict[str, CoderParams], Field(min_length=1)]


class TransferParams(Section):
    """Style transfer: held-out images encoded at w = 0 as one class, decoded as another."""

    pairs: Annotated[
        list[Annotated[list[Label], Field(min_length=2, max_length=2)]], Field(min_length=1)
    ]
    w: Annotated[list[Weight], Field(min_length=1)]  # guidance of the decoding
    encoder: CoderParams
    decoder: CoderParams
    images: Count  # the first so many held-out ones of a pair's first class
    shown: Count  # of these, in the picture


def models_of(
    reconstruction: ReconstructionParams, transfer: TransferParams | None
) -> dict[str, str]:
    """{key of the params: model file} of all models that take part."""
    found = {f"reconstruction.encoders.{k}": e.model for k, e in reconstruction.encoders.items()}
    found |= {f"reconstruction.decoders.{k}": d.model for k, d in reconstruction.decoders.items()}
    if transfer is not None:
        found["transfer.encoder"] = transfer.encoder.model
        found["transfer.decoder"] = transfer.decoder.model
    return found


def complaints_of_reconstruction(
    reconstruction: ReconstructionParams, transfer: TransferParams | None
) -> Iterator[str]:
    """What is listed twice, by the key that has to be changed."""
    counts: Counter[tuple[str, int]] = Counter()
    for key, encoder in reconstruction.encoders.items():
        counts.update((encoder.method, steps) for steps in encoder.steps)
        (method, steps), times = counts.most_common(1)[0]
        if times > 1:
            yield (
                f"reconstruction.encoders.{key} gives method {method!r} a second encoding of "
                f"{counted(steps, 'step')}: list each one once, or name the method otherwise"
            )
    if transfer is None:
        return
    lists: dict[str, list[Any]] = {"pairs": transfer.pairs, "w": transfer.w}
    for name, values in lists.items():
        if any(values.count(value) > 1 for value in values):
            yield f"transfer.{name} repeats a value: list each one once"
