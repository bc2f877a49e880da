"""Algorithm 3 of GD: students for the stochastic sampler, two intervals on and one back."""

from __future__ import annotations

from typing import Any

from pdpipe.diffusion import stochastic_times
from pdpipe.methods.halve import Halve
from pdpipe.methods.method import Task, wanted


class Stochastic(Halve):
    """The student's interval is the teacher's; its goal lies two of them ahead."""

    times = staticmethod(stochastic_times)

    def wrong_ratio(self, teacher_steps: int, steps: int) -> str | None:
        """The teacher has the student's own grid."""
        return None if teacher_steps == steps else wanted("stochastic", steps, steps)

    def forwards(self, ratio: int, *, conditional: bool) -> int:
        """The student, and two steps of its teacher."""
        return 3

    def becomes(self, task: Task) -> dict[str, Any]:
        """It is sampled stochastically."""
        return {"sampler": "stochastic"}


METHOD = Stochastic()
