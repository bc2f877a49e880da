"""pdpipe: progressive and guided distillation of diffusion models as one traceable pipeline.

`pdpipe.load(path)` gives a trained teacher or few-step student; its `sample` makes images.
Everything else is reached through the `pdpipe` command and the pipeline in `dvc.yaml`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from pathlib import Path

    from pdpipe.models import DiffusionModel


def load(path: str | Path, device: str = "auto") -> DiffusionModel:
    """The model stored at `path`: a teacher or a student, ready to `sample`.

    Args:
        path: a `.safetensors` file written by a `pdpipe` training stage.
        device: `auto` (cuda, then mps, then cpu) or a torch device name.

    Raises:
        ModelError: the file is missing, damaged or not a pdpipe model.
    """
    from pdpipe.waiting import share_cores

    share_cores()
    from pdpipe.models import load_model  # torch is imported only when a model is

    return load_model(path, device=device)
