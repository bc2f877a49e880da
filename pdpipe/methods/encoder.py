"""Algorithm 4 of GD: a student that leads from images to the noise that decodes to them."""

from __future__ import annotations

from typing import Any

from pdpipe.diffusion import encoding_times
from pdpipe.methods.halve import Halve
from pdpipe.methods.method import Task
from pdpipe.models import DiffusionModel


class Encoder(Halve):
    """The decoding's times backwards, from a student or from another encoder."""

    times = staticmethod(encoding_times)

    def complaint(self, teacher: DiffusionModel) -> str | None:
        """An encoder is welcome."""
        return None if teacher.info.kind == "encoder" else super().complaint(teacher)

    def becomes(self, task: Task) -> dict[str, Any]:
        """It makes no images."""
        return {"kind": "encoder"}


METHOD = Encoder()
