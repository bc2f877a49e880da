"""The images that a study shows, as it stored them, set in blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from pdpipe.errors import DamagedError, EvaluationError, brief
from pdpipe.files import digest_file
from pdpipe.reporting.grids import BLOCK, Grid, block
from pdpipe.tensor_files import load_tensors


class _About(BaseModel):
    """The metadata beside the tensor."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    title: str
    shows: str
    rows: list[str]
    columns: list[str]


def read_picture(path: Path, sha256: str, mend: str) -> Grid:
    """The images in a file that `evaluation.pictures.save_pictures` wrote, as labelled blocks.

    Args:
        path: the file.
        sha256: of its bytes, as the study noted it.
        mend: what makes it again.

    Raises:
        EvaluationError: the file is missing, another, or damaged.
    """
    if not path.is_file():
        raise EvaluationError(f"{path} does not exist: {mend}")
    if digest_file(path) != sha256:
        raise EvaluationError(f"{path} is not the picture that its study wrote: {mend}")
    try:
        tensors, found = load_tensors(path, "picture")
        about, images = _About.model_validate(found), tensors["images"].numpy()
    except (DamagedError, KeyError, ValidationError) as error:
        raise EvaluationError(f"{path} is damaged ({brief(error)}): {mend}") from None
    if images.dtype != np.uint8 or images.shape[:2] != (len(about.rows), len(about.columns)):
        raise EvaluationError(f"{path} holds other images than its labels say: {mend}")
    across = min(BLOCK, images.shape[2])
    return Grid(
        **about.model_dump(),
        blocks=[[block(cell, across) for cell in row] for row in images],
        breaks=[],
    )
