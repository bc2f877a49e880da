"""The params of a study, `stages/<study>/params.yaml`: what it measures besides the main chain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pdpipe.errors import ParamsError
from pdpipe.params.models import Count, Params, Section
from pdpipe.params.reading import read_section

Gamma = Annotated[float, Field(ge=0.0, le=1.0)]


class ArmParams(Section):
    """One arm of a study: a model of the chain, measured with one sampler at equal evaluations."""

    model: str  # teacher, or student-4
    sampler: Literal["ddim", "ancestral", "stochastic", "dpm_solver", "euler", "heun", "rk4"]
    gammas: Annotated[list[Gamma], Field(min_length=1)] | None = None  # of ancestral
    grid: Literal["uniform", "ddpm"] = "uniform"
    nfe: Annotated[list[Count], Field(min_length=1)]  # most network evaluations an image
    w: Annotated[list[Annotated[float, Field(ge=0.0)]], Field(min_length=1)]

    @model_validator(mode="after")
    def _fitting(self) -> ArmParams:
        if (self.gammas is None) == (self.sampler == "ancestral"):
            raise ParamsError(
                f"sampler {self.sampler} {'needs' if self.gammas is None else 'has no'} gammas: "
                + ("list some" if self.gammas is None else "leave them out")
            )
        for key, values in (("gammas", self.gammas or []), ("nfe", self.nfe), ("w", self.w)):
            if len(set(values)) != len(values):
                raise ParamsError(f"{key} repeats a value: list each one once")
        return self


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
    models = {"teacher", *(f"student-{n}" for n in params.rungs())}
    for key, arm in study.arms.items():
        if arm.model not in models:
            raise ParamsError(
                f"{path}: arms.{key}.model is {arm.model}, which the chain does not have: use one "
                f"of {', '.join(sorted(models))}"
            )
        absent = [w for w in arm.w if w not in params.evaluation.w]
        if absent:
            raise ParamsError(
                f"{path}: arms.{key}.w has {absent[0]}, which the chain was not evaluated at: use "
                f"weights of evaluation.w in params.yaml, {params.evaluation.w}"
            )
    return study
