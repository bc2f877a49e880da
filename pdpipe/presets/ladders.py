"""Ladders of students and the arms that measure them."""

from __future__ import annotations

from collections.abc import Iterable

from pdpipe import layout
from pdpipe.params import Params
from pdpipe.presets.text import Entries

TEACHER = layout.TEACHER.as_posix()  # the chain's


def halvings(start: int, last: int = 1) -> list[int]:
    """The step counts below `start`, each half of the one before, down to the last."""
    return [start // 2**k for k in range(1, start.bit_length()) if start // 2**k >= last]


def own_model(study: str, key: str) -> str:
    """The file of a model that the study trains."""
    return layout.study_model(study, key).as_posix()


def chain_model(steps: int) -> str:
    """The file of the chain's student of so many steps."""
    return layout.student(steps).as_posix()


def ladder(
    params: Params,
    study: str,
    name: str,
    first: str,
    steps: Iterable[int],
    *,
    algorithm: str = "halve",
    teacher_steps: int | None = None,
    updates: int | None = None,
    shorter: int = 1,
    rate: float | None = None,
    **more: object,
) -> Entries:
    """{`name-N`: a student of N steps}, each distilled from the one before.

    Args:
        params: the chain's, whose rungs say the updates and learning rates.
        study, name: that the ladder belongs to, and that it has.
        first: the model that its first student is distilled from.
        steps: of the students, most first.
        algorithm: of them all.
        teacher_steps: of the first model; by default its own.
        updates, rate: of every rung, in place of the chain's.
        shorter: updates are divided by it.
        more: settings of every student.
    """
    found: Entries = {}
    for n in steps:
        rung = params.ladder[str(min(n, params.rungs()[0]))]
        key = f"{name}-{n}"
        entry: dict[str, object] = {"algorithm": algorithm, "from": first, "steps": n}
        if teacher_steps and not found:
            entry["teacher_steps"] = teacher_steps
        entry["updates"] = (updates or rung.updates) // shorter
        entry["learning_rate"] = rate or rung.learning_rate
        found[key] = entry | more
        first = own_model(study, key)
    return found


def arm(
    method: str,
    model: str,
    steps: Iterable[int],
    w: Iterable[float],
    sampler: str = "ddim",
    **more: object,
) -> dict[str, object]:
    """A model, measured with one sampler at exactly these steps; `more` are the sampler's own."""
    return {
        "method": method, "model": model, "sampler": sampler, **more,
        "steps": list(steps), "w": list(w),
    }  # fmt: skip


def arms_of(
    study: str, students: Entries, method: str, steps: Iterable[int], w: Iterable[float]
) -> Entries:
    """An arm by DDIM, at its own step count, for each of the students that has one of these."""
    weights, wanted = list(w), set(steps)
    return {
        key: arm(method, own_model(study, key), [n], weights)
        for key, student in students.items()
        if isinstance(n := student["steps"], int) and n in wanted
    }
