"""The base of the records in metrics and cost files: validation in one sentence, fixed rounding."""

from __future__ import annotations

from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from pdpipe.errors import EvaluationError

SIGNIFICANT_DIGITS = 6


class Record(BaseModel):
    """A part of a metrics or cost file: immutable, no coercion, no unknown fields, no NaN."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, populate_by_name=True
    )

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_sentence(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            where = ".".join([cls.__name__, *map(str, problem["loc"])])
            raise EvaluationError(
                f"{where}: {problem['msg'][:1].lower()}{problem['msg'][1:]}, got "
                f"{_shortened(problem.get('input'))}: evaluate again; if it stays, train again"
            ) from None

    def plain(self) -> dict[str, Any]:
        """Its JSON value: the file's names, in the file's order, floats rounded."""
        rounded = round_floats(self.model_dump(by_alias=True))
        assert isinstance(rounded, dict)
        return rounded


def round_floats(value: Any) -> Any:
    """`value` (plain JSON data) with every float at 6 significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    if isinstance(value, dict):
        return {key: round_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [round_floats(item) for item in value]
    return value


def _shortened(value: Any, length: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= length else text[: length - 1] + "…"
