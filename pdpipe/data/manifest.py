"""manifest.json: what is in a folder of shards, checked before a byte of them is believed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pdpipe.errors import DataError, did_you_mean
from pdpipe.files import digest, parse_json, unsealed

SplitName = Literal["train", "heldout"]

FORMAT: Literal[1] = 1
MANIFEST_NAME = "manifest.json"
SPLITS: tuple[SplitName, ...] = ("train", "heldout")

Count = Annotated[int, Field(ge=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Shard(_Record):
    """One tar file of a split."""

    name: str  # a plain file name, in the manifest's folder
    count: Count  # images
    sha256: Sha256  # of the file
    bytes: Count

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.tar", name):
            raise ValueError(f"the shard name {name!r} is not a plain file name ending in .tar")
        return name


class Split(_Record):
    """One split: its shards in reading order."""

    count: Count  # images
    class_counts: list[Count]  # by label
    contents: Sha256  # of every label (8 bytes, little-endian) and image (H, W, C), in order
    shards: Annotated[list[Shard], Field(min_length=1)]

    @model_validator(mode="after")
    def _sums(self) -> Split:
        if not self.count == sum(self.class_counts) == sum(s.count for s in self.shards):
            raise ValueError("the counts of the classes or of the shards do not add up")
        return self


class Manifest(_Record):
    """What `prepare` wrote."""

    format: Literal[1]  # FORMAT
    source: str
    classes: Annotated[list[str], Field(min_length=1)]  # names, by label
    image_shape: tuple[Literal[1, 3], Count, Count]  # (C, H, W)
    seed: Annotated[int, Field(ge=0)]
    heldout_fraction: Annotated[float, Field(gt=0.0, lt=1.0)]
    splits: dict[SplitName, Split]

    @model_validator(mode="after")
    def _complete(self) -> Manifest:
        for name in SPLITS:
            if name not in self.splits:
                raise ValueError(f"the split {name} is missing")
        for name, split in self.splits.items():
            if len(split.class_counts) != len(self.classes):
                raise ValueError(f"{name} does not count {len(self.classes)} classes")
        return self

    @property
    def digest(self) -> str:
        """sha256 (hex) of the labelled images themselves, in order.

        The shards' own digests do not enter: the bytes of a PNG depend on the compressor that a
        machine has, its pixels do not.
        """
        contents = {name: split.contents for name, split in self.splits.items()}
        return digest({"classes": self.classes, "shape": self.image_shape, "contents": contents})

    def split(self, name: str) -> Split:
        """The split called `name` (train or heldout); raises `DataError` for any other."""
        for known, split in self.splits.items():
            if known == name:
                return split
        raise DataError(f"there is no split '{name}': {did_you_mean(name, SPLITS)}")


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a folder of shards.

    Raises:
        DataError: there is none, it is damaged, or another version of pdpipe wrote it.
    """
    path = directory / MANIFEST_NAME
    try:
        raw = unsealed(parse_json(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: run `dvc repro prepare`") from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, not JSON, not as it was
        raise _damaged(path, str(error)) from None
    found = raw.get("format")
    if isinstance(found, int) and found != FORMAT:
        raise DataError(
            f"{path} has format {found}, but this version of pdpipe reads format {FORMAT}: run "
            "`dvc repro -f prepare`"
        )
    try:
        return Manifest.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        raise _damaged(path, _first_problem(error)) from None


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is damaged ({reason}): restore it with `dvc checkout -f`, or write it again with "
        "`dvc repro -f prepare`"
    )


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    what = str(problem["ctx"]["error"]) if problem["type"] == "value_error" else problem["msg"]
    return f"{where}: {what}" if where else what
