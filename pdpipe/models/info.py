"""What is stored beside the weights: everything needed to rebuild a model and to use it rightly."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class ClassifierInfo(BaseModel):
    """The metadata of the extractor's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    kind: Literal["extractor"] = "extractor"
    name: str  # called so in every figure made with it, e.g. digits-cnn
    network: dict[str, Any]
    classes: list[str]
    heldout_accuracy: float
    provenance: dict[str, Any]


class ModelInfo(BaseModel):
    """The metadata of a teacher's or a student's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    kind: Literal["teacher", "student", "encoder"]
    name: str  # teacher, student-4
    guidance: Literal["mixture", "input"]  # two evaluations mixed, or w an input of the network
    sampler: Literal["ddim", "stochastic"]  # that a student was trained for; a teacher takes any
    network: dict[str, Any]  # the fields of UNetConfig
    schedule: dict[str, Any]  # the arguments of diffusion.build_schedule
    parameterization: Literal["v", "x", "eps", "x_eps"]
    steps: int | None  # a student's DDIM steps; None: any number
    w_min: float  # the guidance weights it may be used with
    w_max: float | None  # None: no upper end
    w_convention: str = "x_hat_w = (1 + w) x_hat_conditional - w x_hat_unconditional"
    classes: list[str]
    weights: str = "ema"  # or raw: the last update's, where the decay of the average is 0
    provenance: dict[str, Any]  # seed, params of its stage, digests of what it was made from

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        side = self.network["image_size"]
        return (self.network["channels"], side, side)
