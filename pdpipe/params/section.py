"""What every section of a params file is, and the kinds of number that stand in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from pdpipe.registry import METHODS, SAMPLERS

# Every number has an end that no use reaches; beyond it lie overflows and memory errors.
Count = Annotated[int, Field(ge=1, le=10**9)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Batch = Annotated[int, Field(ge=1, le=2**16)]
Steps = Annotated[int, Field(ge=1, le=2**16)]
Channels = Annotated[int, Field(ge=1, le=2**14)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, le=1e9)]
LearningRate = Annotated[float, Field(gt=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=1000.0), AfterValidator(abs)]  # w; -0.0 is 0.0


class Section(BaseModel):
    """A section of params.yaml: unknown keys forbidden, immutable, no coercion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _one_of(names: Iterable[str], what: str) -> AfterValidator:
    """The check that a text is one of the names of a registry."""
    known = {"expected": ", ".join(names)}

    def check(name: str) -> str:
        if name not in names:
            raise PydanticCustomError("literal_error", f"there is no such {what}", known)
        return name

    return AfterValidator(check)


MethodName = Annotated[str, _one_of(METHODS, "method")]
SamplerName = Annotated[str, _one_of(SAMPLERS, "sampler")]
