"""The distance of a student to its teacher: nothing where they are one, else what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pdpipe.data import ImageSet
from pdpipe.evaluation.measure import paired_mse
from pdpipe.models import DiffusionModel
from pdpipe.params import Params, parse_params
from pdpipe.rungs import SAMPLES, Rung, measure_rungs, rungs_of
from pdpipe.seeds import derive_seed

STUDENT = {"w_frequencies": 4, "w_max": 4.0}


@pytest.fixture
def params(raw: dict[str, Any]) -> Params:
    raw["guide"] |= {"steps": 8}
    raw["ladder"] = {
        "4": {"from": "8", "updates": 1, "learning_rate": 1e-3},
        "1": {"from": "4", "updates": 1, "learning_rate": 1e-3},
    }
    raw["evaluation"] |= {"teacher_steps": [1, 4, 8], "w": [2.0, 0.0, 0.3, 1.0]}
    return parse_params(raw)


def test_each_student_stands_beside_what_it_was_distilled_from(params: Params) -> None:
    assert rungs_of(params) == [
        Rung("student-8", "teacher", 8, 8),
        Rung("student-4", "student-8", 4, 8),
        Rung("student-1", "student-4", 1, 4),
    ]


def test_a_student_that_is_its_teacher_is_at_no_distance(
    make_model: Callable[..., DiffusionModel], heldout_digits: ImageSet, params: Params
) -> None:
    model = make_model(STUDENT)
    same = Rung("student-4", "student-8", 4, 4)  # a ratio of 1: it takes its teacher's own steps
    (found,) = measure_rungs([same], lambda _: model, heldout_digits, params).rungs
    assert found.loss < 1e-12
    assert [drift.w for drift in found.drifts] == [0.0, 1.0, 2.0]  # least, middle, largest
    assert [drift.mse for drift in found.drifts] == [0.0, 0.0, 0.0]


def test_stage_one_is_compared_with_guidance(
    make_model: Callable[..., DiffusionModel], heldout_digits: ImageSet, params: Params
) -> None:
    """A student whose embedding of w is zero is the conditional teacher: right at w = 0 alone."""
    teacher, student = make_model(), make_model(STUDENT)
    weights = student.network.state_dict()
    weights |= teacher.network.state_dict()
    weights |= {k: torch.zeros_like(v) for k, v in weights.items() if k.startswith("embed_w")}
    student.network.load_state_dict(weights)
    models = {"teacher": teacher, "student-8": student}
    (found,) = measure_rungs(rungs_of(params)[:1], models.__getitem__, heldout_digits, params).rungs
    assert found.loss > 1e-3
    assert found.drifts[0].mse < 1e-9
    assert all(drift.mse > 1e-4 for drift in found.drifts[1:])


def test_the_drift_is_the_paired_error_of_their_images(
    make_model: Callable[..., DiffusionModel], heldout_digits: ImageSet, params: Params
) -> None:
    models = {"student-8": make_model(STUDENT, seed=1), "student-4": make_model(STUDENT, seed=2)}
    rung = rungs_of(params)[1]
    record = measure_rungs([rung], models.__getitem__, heldout_digits, params)
    assert record.protocol.heldout_images == len(heldout_digits)
    labels, seed = torch.arange(SAMPLES) % 10, derive_seed(params.evaluation.seed, "rungs")
    for drift in record.rungs[0].drifts:
        a = models["student-4"].sample(labels, w=drift.w, steps=4, seed=seed)
        b = models["student-8"].sample(labels, w=drift.w, steps=8, seed=seed)
        assert drift.mse == pytest.approx(paired_mse(a, b), rel=1e-3)
    again = measure_rungs([rung], models.__getitem__, heldout_digits, params)
    assert again == record
