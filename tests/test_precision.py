"""What bfloat16 drowns: the measurement behind `precision: auto`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch

from pdpipe import pipeline
from pdpipe.bench import RungNoise, rung_noise
from pdpipe.cli.run import StageRun
from pdpipe.data import ImageSet
from pdpipe.models import DiffusionModel
from pdpipe.params import parse_params

MakeModel = Callable[..., DiffusionModel]
STEPS = (64, 512, 4096)


@pytest.fixture
def measured(make_model: MakeModel, heldout_digits: ImageSet) -> Callable[[str], list[RungNoise]]:
    def of(predicts: str) -> list[RungNoise]:
        model = make_model(parameterization=predicts)
        return list(rung_noise(model, heldout_digits, STEPS))

    return of


def test_a_stage_has_the_precision_of_its_work(
    raw: dict[str, Any],
) -> None:
    """On CUDA: bfloat16 unless its work must be exact, and the model's file says so."""
    raw["runtime"]["precision"] = "auto"
    params, cuda = parse_params(raw), torch.device("cuda")
    run = StageRun(pipeline.TEACHER, params, cuda, "", "", {}, {}, None)  # type: ignore[arg-type]
    for exact, expected in ((False, "bfloat16"), (True, "float32")):
        assert run.job(0, exact).precision == run.provenance()["precision"] == expected


def test_what_is_to_be_learned_falls_like_1_over_n_and_the_noise_stays(
    measured: Callable[[str], list[RungNoise]],
) -> None:
    found = measured("v")
    assert found[1].signal / found[2].signal == pytest.approx(8, rel=0.3)
    for row, finer in pairwise(found):
        assert finer.signal < row.signal
        assert finer.bfloat16 == pytest.approx(row.bfloat16, rel=0.2)
    assert found[0].bfloat16 < 0.25 * found[0].signal
    assert found[2].bfloat16 > 0.5 * found[2].signal
    assert all(row.float32 == 0 and row.bfloat16 > 1e-3 for row in found)


def test_predictions_of_x_err_the_more_in_v_the_closer_to_the_data(
    measured: Callable[[str], list[RungNoise]],
) -> None:
    v, x = measured("v")[-1], measured("x")[-1]
    assert v.worst < 0.1 < 1 < x.worst
