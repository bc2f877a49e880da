"""The images that a study shows: blocks in rows and columns, with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pdpipe.tensor_files import save_tensors


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
