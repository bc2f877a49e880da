"""An arm of a study: as many steps as its evaluations allow, each setting in a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pdpipe.diffusion import SAMPLERS, CosineSchedule
from pdpipe.errors import ParamsError
from pdpipe.models import evaluations_of, make_sampler, most_steps
from pdpipe.models.sampling import Sampling
from pdpipe.params import ArmParams, read_params, read_study
from pdpipe.studies.arms import samplings

ROOT = Path(__file__).parents[2]
SCHEDULE = CosineSchedule()
ARM = {"model": "models/teacher.safetensors", "sampler": "heun", "nfe": [4], "w": [0.0]}


@settings(deadline=None, max_examples=25)
@given(
    name=st.sampled_from(sorted(SAMPLERS)),
    clip=st.booleans(),
    evaluations=st.integers(1, 16),
)
def test_most_steps_is_the_last_that_fits(name: str, clip: bool, evaluations: int) -> None:
    sampler = make_sampler(name, SCHEDULE, clip=clip)
    steps = most_steps(sampler, evaluations)
    assert steps == 1 or evaluations_of(sampler, steps) <= evaluations
    assert evaluations_of(sampler, steps + 1) > evaluations


def test_a_sampling_makes_its_sampler_and_its_grid() -> None:
    sampling = Sampling("ancestral", gamma=0.3, grid="ddpm")
    assert sampling.sampler(SCHEDULE, clip=True) == make_sampler(
        "ancestral", SCHEDULE, clip=True, gamma=0.3
    )
    times = sampling.times(SCHEDULE, 50)
    assert len(times) == 51
    assert 0.99 < times[0] < 1.0  # DDPM's noisiest step, not the schedule's
    assert torch.equal(Sampling().times(SCHEDULE, 2), torch.tensor([1.0, 0.5, 0.0]).double())


def test_each_gamma_is_a_setting_of_its_own() -> None:
    arm = ArmParams.model_validate(ARM | {"sampler": "ancestral", "gammas": [0.0, 1.0]})
    assert samplings(arm) == [Sampling("ancestral", 0.0), Sampling("ancestral", 1.0)]
    assert samplings(ArmParams.model_validate(ARM)) == [Sampling("heun")]


def test_the_studys_own_params_are_valid() -> None:
    params = read_params(ROOT / "pdpipe/presets/digits.yaml")
    study = read_study(ROOT / "stages/baselines/params.yaml", params)
    tuned = [arm for arm in study.arms.values() if arm.gammas and len(arm.gammas) == 11]
    assert {arm.model for arm in tuned} >= {
        "models/teacher.safetensors",
        "models/student-4.safetensors",
    }


@pytest.mark.parametrize(
    ("arm", "complaint"),
    [
        (
            {"model": "models/student-3.safetensors"},
            "arms.a.model is models/student-3.safetensors, which is no model to measure: did you",
        ),
        ({"sampler": "huen"}, "arms.a.sampler is 'huen': did you mean 'heun'?"),
        ({"gammas": [0.5]}, "arms.a.sampler is heun, which has no gammas and no grid"),
        ({"sampler": "ancestral"}, "arms.a.gammas are missing, which sampler ancestral"),
        ({"grid": "ddpm"}, "arms.a.sampler is heun, which has no gammas and no grid"),
        ({"sampler": "ancestral", "gammas": [1.5]}, "arms.a.gammas.0"),
        ({"w": [3.0]}, "arms.a.w has 3.0, which the chain was not evaluated at"),
        ({"nfe": [4, 4]}, "arms.a.nfe repeats a value: list each one once"),
        ({"nfe": [0]}, "arms.a.nfe.0"),
        ({"nef": [4]}, "unknown key arms.a.nef: did you mean 'nfe'?"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    tmp_path: Path, arm: dict[str, Any], complaint: str
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"title": "A", "question": "?", "arms": {"a": ARM | arm}}))
    with pytest.raises(ParamsError) as error:
        read_study(path, read_params(ROOT / "pdpipe/presets/digits.yaml"))
    assert str(error.value).startswith(f"{path}: ")
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_a_study_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="name a study, a folder of stages/"):
        read_study(tmp_path / "params.yaml", read_params(ROOT / "pdpipe/presets/digits.yaml"))
