"""What the toy's figure shows: a cloud for each model, step count and w, with its distance."""

from __future__ import annotations

from pdpipe.reporting import formats
from pdpipe.reporting.clouds import Panel
from pdpipe.toy.run import Toy


def panels(toy: Toy) -> dict[str, list[Panel]]:
    """{"teacher, w = 0": the truth, then each step count}, then the student's, for each w."""
    rows = {}
    for w, truth in toy.truth.items():
        true = Panel("truth", f"truth\ntwo draws: W₁ {toy.floor[w]:.3f}", truth)
        for model in ("teacher", "student"):
            made = [
                Panel(model, f"{formats.steps(c.steps)}\nW₁ {c.distance:.3f}", c.points)
                for c in toy.of(model, w)
            ]
            rows[f"{model}, {formats.weight(w)}"] = [true, *made]
    return rows
