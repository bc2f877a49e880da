"""Makes `import torchvision` work beside a torch of another build; a matching pair is left alone.

torch-fidelity imports torchvision. PyPI's torchvision for Linux is compiled for the CUDA build of
torch: beside a CPU build its compiled part does not load, and the import stops with "operator
torchvision::nms does not exist" (then the same for `qnms`), since its Python part describes
operators that only the compiled part declares. Nothing here calls them; their declarations alone
let the import through.

They cannot be declared beforehand: a compiled part that does load declares them itself, and a
second declaration is an error. So the import is tried first, and only when it stops in just this
way are its half-imported modules dropped, the operators declared, and the import tried again.
"""

from __future__ import annotations

import importlib
import re
import sys

import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_SYMPTOM = re.compile(r"operator torchvision::\w+ does not exist")
_declared: list[torch.library.Library] = []  # declarations live as long as this object


def import_torchvision() -> bool:
    """Whether operators had to be declared for torchvision to import.

    Raises:
        ImportError, RuntimeError: torchvision is missing, or fails for another reason.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if _declared or not _SYMPTOM.search(str(error)):
            raise
    else:
        return False
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    _declare_operators()
    importlib.import_module("torchvision")
    return True


def _declare_operators() -> None:
    """Declare the operators that do not exist yet; they have no implementation."""
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)
