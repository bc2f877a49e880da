"""Every parameterization and every schedule of params.yaml, through all stages of training."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from pdpipe.data import ImageSet
from pdpipe.diffusion import SCHEDULES
from pdpipe.models import load_model, save_model
from pdpipe.params import Params
from pdpipe.training.job import Job

HELPERS = runpy.run_path(str(Path(__file__).with_name("stages_of_training.py")))
train_guide = HELPERS["train_guide"]
train_halving = HELPERS["train_halving"]
train_teacher = HELPERS["train_teacher"]


@pytest.mark.parametrize(
    ("parameterization", "schedule"),
    [(kind, "cosine") for kind in ("v", "x", "x_eps", "eps")]
    + [("v", "linear_beta"), ("x_eps", "linear_log_snr")],
)
def test_a_chain_of_each(
    parameterization: str,
    schedule: str,
    tiny_params: Params,
    digits: ImageSet,
    make_job: Callable[..., Job],
    tmp_path: Path,
) -> None:
    few = {"updates": 6}
    words = few | {"parameterization": parameterization}
    teacher = tiny_params.teacher.model_copy(update=words)
    section = tiny_params.schedule.model_copy(update={"name": schedule})
    network, info, _ = train_teacher(
        make_job("teacher"), digits, teacher, tiny_params.network, section, {}
    )
    assert network.config.heads == (2 if parameterization == "x_eps" else 1)
    save_model(tmp_path / "teacher.safetensors", network, info)
    model = load_model(tmp_path / "teacher.safetensors", device="cpu")
    assert isinstance(model.schedule, SCHEDULES[schedule])
    guide = tiny_params.guide.model_copy(update=few)
    network, info, _ = train_guide(make_job("student-4"), digits, model, guide, {})
    save_model(tmp_path / "student-4.safetensors", network, info)
    above = load_model(tmp_path / "student-4.safetensors", device="cpu")
    rung = tiny_params.ladder["2"].model_copy(update=few)
    network, info, _ = train_halving(
        make_job("student-2"), digits, above, 2, rung, tiny_params.halve, {}
    )
    save_model(tmp_path / "student-2.safetensors", network, info)
    student = load_model(tmp_path / "student-2.safetensors", device="cpu")
    assert student.info.parameterization == parameterization
    for used, w in ((model, 0.0), (model, 1.5), (above, 4.0), (student, 1.0)):
        x = used.sample(range(10), steps=2, w=w)
        assert x.shape == (10, 1, 8, 8)
        assert x.isfinite().all()
