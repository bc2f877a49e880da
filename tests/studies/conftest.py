"""A chain's measurements and a study's table, from formulas."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from pdpipe.reporting.measurements import COLUMNS, Measurements
from pdpipe.reporting.studies import STUDY_COLUMNS
from pdpipe.reporting.studies.section import Study

SHA = {"teacher": "a" * 64, "student-2": "b" * 64, "student-4": "c" * 64}
SHARED = {
    "extractor": "digits-cnn", "num_fake": 1500, "num_real": 1581, "seed": 1, "clip": True,
    "weights": "ema", "grid": "uniform", "fid_se": 0.01, "se_dof": 9,
    "is": 8.0, "is_se": 0.01,
}  # fmt: skip


def row(model: str, steps: int, w: float, fid: float, **more: object) -> dict[str, object]:
    kind = model.partition("-")[0]
    nfe = steps * (2 if kind == "teacher" and w > 0 else 1)
    place = {"model": model, "kind": kind, "steps": steps, "w": w, "nfe": nfe, "fid": fid}
    return {**SHARED, **place, **more}


@pytest.fixture
def measured() -> Measurements:
    """A chain's own table: DDIM of the teacher and two students, at w = 0 and 1."""
    rows = [{"model": "heldout", "kind": "real", "fid": 0.8, "num_fake": 216, "num_real": 1581}]
    rows[0]["extractor"] = "digits-cnn"
    for w in (0.0, 1.0):
        rows += [row("teacher", n, w, 4.0 / n + w, sampler="ddim") for n in (1, 2, 4)]
        rows += [row(f"student-{n}", n, w, 0.5 + 0.1 / n, sampler="ddim") for n in (2, 4)]
    return Measurements(pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS))


@pytest.fixture
def study() -> Callable[..., pd.DataFrame]:
    """A study's table: Heun, and ancestral sampling at some gammas, of which 0.5 is the best."""

    def make(**changes: object) -> pd.DataFrame:
        rows = []
        for w in (0.0, 1.0):
            for budget in (2, 4):
                n = budget // (2 if w > 0 else 1)
                shared = {"arm": "heun", "budget": budget, "model_sha256": SHA["teacher"]}
                heun = row(
                    "teacher", max(n // 2, 1), w, 3.0 / n + w, sampler="heun", nfe=budget - 1
                )
                rows.append(heun | shared)
                for gamma in (0.0, 0.5, 1.0):
                    fid = 2.0 / n + w + (gamma - 0.5) ** 2
                    settings = {"sampler": "ancestral", "gamma": gamma}
                    rows.append(row("teacher", n, w, fid, **settings) | shared | {"arm": "tuned"})
                    name = f"student-{budget}"
                    mine = shared | {"arm": name, "model_sha256": SHA[name]}
                    rows.append(row(name, budget, w, 0.7 + gamma, **settings) | mine)
        frame = pd.DataFrame(rows, columns=list(STUDY_COLUMNS)).assign(**changes)
        return frame.astype(STUDY_COLUMNS)

    return make


@pytest.fixture
def cell() -> Callable[..., dict[str, object]]:
    """A row of a study of students: one method's figures at one step count and w."""

    def make(
        method: str,
        steps: int,
        w: float,
        fid: float,
        se: float = 0.01,
        nfe: int | None = None,
        **more: object,
    ) -> dict[str, object]:
        evaluations = {"nfe": nfe or steps, "budget": nfe or steps}
        figures = {"fid": fid, "fid_se": se, "method": method, "arm": method, "sampler": "ddim"}
        place = {"model": method, "kind": "student", "steps": steps, "w": w}
        return {**SHARED, **place, **evaluations, **figures, **more}

    return make


@pytest.fixture
def study_of() -> Callable[..., Study]:
    """A study of such rows."""

    def make(rows: list[dict[str, object]], baseline: str = "") -> Study:
        frame = pd.DataFrame(rows, columns=list(STUDY_COLUMNS)).astype(STUDY_COLUMNS)
        return Study(baseline=baseline, frame=frame)

    return make
