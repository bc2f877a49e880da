"""What is stored beside the weights: everything needed to rebuild a model and to use it rightly.

A file may come from a stranger: every field that something is built from has bounds, and text is
cleaned of what a terminal would obey.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

MOST_STEPS = 1_000_000
LONGEST = 200  # characters of a name


def cleaned(text: str) -> str:
    """Text of one line that can be printed, and not too long."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:LONGEST]


Name = Annotated[str, AfterValidator(cleaned)]
Classes = Annotated[list[Name], Field(min_length=1, max_length=2**20)]
GuidanceWeight = Annotated[float, Field(ge=0.0, le=1e6)]


class ClassifierInfo(BaseModel):
    """The metadata of the extractor's file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    format: Literal[1] = 1
    kind: Literal["extractor"] = "extractor"
    name: Name  # called so in every figure made with it, e.g. digits-cnn
    network: dict[str, Any]  # the fields of ClassifierConfig
    classes: Classes
    heldout_accuracy: Annotated[float, Field(ge=0.0, le=1.0)]
    provenance: dict[str, Any]


class ModelInfo(BaseModel):
    """The metadata of a teacher's, a student's or an encoder's file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    format: Literal[1] = 1
    kind: Literal["teacher", "student", "encoder"]
    name: Name  # teacher, student-4
    guidance: Literal["mixture", "input"]  # two evaluations mixed, or w an input of the network
    sampler: Literal["ddim", "stochastic"]  # that a student was trained for; a teacher takes any
    network: dict[str, Any]  # its name, and the fields of its config
    schedule: dict[str, Any]  # the arguments of diffusion.build_schedule
    parameterization: Literal["v", "x", "eps", "x_eps"]
    steps: Annotated[int, Field(ge=1, le=MOST_STEPS)] | None  # a student's; None: any number
    w_min: GuidanceWeight  # the guidance weights it may be used with
    w_max: GuidanceWeight | None  # None: no upper end
    w_convention: Literal["x_hat_w = (1 + w) x_hat_conditional - w x_hat_unconditional"] = (
        "x_hat_w = (1 + w) x_hat_conditional - w x_hat_unconditional"
    )
    classes: Classes
    weights: Literal["ema", "raw"] = "ema"  # raw: the last update's; the average has no decay
    provenance: dict[str, Any]  # seed, params of its stage, digests of what it was made from

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.w_max is not None and self.w_max < self.w_min:
            raise ValueError(f"w_min {self.w_min:g} is above w_max {self.w_max:g}")
        if self.kind == "student" and self.steps is None:
            raise ValueError("a student has a number of steps")
        return self

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        side = self.network["image_size"]
        return (self.network["channels"], side, side)
