"""The params of a study, `stages/<study>/params.yaml`: what it measures besides the main chain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pdpipe.errors import ParamsError
from pdpipe.params.models import Count, Params, Section
from pdpipe.params.reading import read_section

DDPM_STEPS = 1000  # of grid ddpm
Gamma = Annotated[float, Field(ge=0.0, le=1.0)]


class ArmParams(Section):
    """One arm of a study: a model of the chain, measured with one sampler at equal evaluations."""

    model: str  # teacher, or student-4
    sampler: Literal["ddim", "ancestral", "stochastic", "dpm_solver", "euler", "heun", "rk4"]
    gammas: Annotated[list[Gamma], Field(min_length=1)] | None = None  # of ancestral
    grid: Literal["uniform", "ddpm"] = "uniform"
    nfe: Annotated[list[Count], Field(min_length=1)]  # most network evaluations an image
    w: Annotated[list[Annotated[float, Field(ge=0.0)]], Field(min_length=1)]


class StudyParams(Section):
    """A study's params file."""

    question: str
    arms: Annotated[dict[str, ArmParams], Field(min_length=1)]


def read_study(path: Path, params: Params) -> StudyParams:
    """The validated params of a study that measures the chain in `params`.

    Raises:
        ParamsError: the file is missing, is not YAML, or says what cannot be measured.
    """
    study = read_section(path, StudyParams, "name a study, a folder of stages/")
    for key, arm in study.arms.items():
        for complaint in _complaints(arm, params):
            raise ParamsError(f"{path}: arms.{key}.{complaint}")
    return study


def _complaints(arm: ArmParams, params: Params) -> Iterator[str]:
    """What cannot be measured in an arm, by the key that has to be changed."""
    models = ["teacher", *(f"student-{n}" for n in params.rungs())]
    if arm.model not in models:
        yield f"model is {arm.model}, which the chain does not evaluate: use {', '.join(models)}"
    for key, values in (("gammas", arm.gammas or []), ("nfe", arm.nfe), ("w", arm.w)):
        if len(set(values)) != len(values):
            yield f"{key} repeats a value: list each one once"
    if arm.sampler == "ancestral":
        if arm.gammas is None:
            yield "gammas are missing, which sampler ancestral needs: list some from 0.0 to 1.0"
    elif arm.gammas is not None or arm.grid != "uniform":
        yield f"sampler is {arm.sampler}, which has no gammas and no grid: leave them out"
    if arm.grid == "ddpm" and max(arm.nfe) > DDPM_STEPS:
        yield f"nfe has {max(arm.nfe)}, more than the {DDPM_STEPS} steps of grid ddpm: lower it"
    absent = [w for w in arm.w if w not in params.evaluation.w]
    if absent:
        yield (
            f"w has {absent[0]}, which the chain was not evaluated at: use weights of "
            f"evaluation.w in params.yaml, {params.evaluation.w}"
        )
