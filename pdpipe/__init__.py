"""pdpipe: progressive and guided distillation of diffusion models as one traceable pipeline.

What is public, and documented, is in `__all__`: here, and in `pdpipe.metrics`, `pdpipe.diffusion`
and `pdpipe.errors`. All else is free to change. The pipeline is reached through the `pdpipe`
command and `dvc.yaml`.

Examples:
    >>> student = pdpipe.load("models/student-4.safetensors")
    >>> x = student.sample(n=20, w=1.0)
    >>> picture = pdpipe.grid(x, rows=2)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "DiffusionModel",
    "Trajectory",
    "__version__",
    "diffusion",
    "errors",
    "grid",
    "load",
    "metrics",
    "to_pil",
]

if TYPE_CHECKING:
    from pathlib import Path

    import pdpipe.metrics as metrics
    from pdpipe import diffusion, errors
    from pdpipe.models import DiffusionModel, Trajectory
    from pdpipe.pictures import grid, to_pil

_HOMES = {
    "DiffusionModel": "pdpipe.models",
    "Trajectory": "pdpipe.models",
    "grid": "pdpipe.pictures",
    "to_pil": "pdpipe.pictures",
}


def load(path: str | Path, device: str = "auto") -> DiffusionModel:
    """The model stored at `path`: a teacher or a student, ready to `sample`.

    A model file is a safetensors file; loading it runs no code.

    Args:
        path: a `.safetensors` file written by a `pdpipe` training stage.
        device: `auto` (cuda, then mps, then cpu) or a torch device name.

    Raises:
        ModelError: the file is missing, damaged or not a pdpipe model.
        ParamsError: this machine has no such device.

    Examples:
        >>> student = pdpipe.load("models/student-4.safetensors")
        >>> x = student.sample(labels=range(10), w=1.0, seed=0)
        >>> x.shape, x.dtype  # data in [-1, 1]
        (torch.Size([10, 1, 8, 8]), torch.float32)
    """
    model: DiffusionModel = _torch_part("pdpipe.models").load_model(path, device=device)
    return model


def _torch_part(module: str) -> Any:
    """A module that imports torch, which is imported only when it is used."""
    from pdpipe.waiting import share_cores

    share_cores()
    return import_module(module)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(_torch_part(_HOMES[name]), name)
    if name in __all__:
        return _torch_part(f"pdpipe.{name}")
    raise AttributeError(f"module 'pdpipe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
