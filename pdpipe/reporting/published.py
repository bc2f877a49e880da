"""The figures that the papers print, shipped with the package, each with the table it is from."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pdpipe.errors import EvaluationError

FIGURES = Path(__file__).with_name("published_results.csv")
PAPERS = {
    "GD": "Meng et al. 2022, arXiv:2210.03142",
    "PD": "Salimans & Ho 2022, arXiv:2202.00512",
}
Method = Literal[
    "guided_distillation_deterministic",
    "guided_distillation_stochastic",
    "single_w",
    "naive_two_student",
    "progressive_distillation_unconditional",
    "teacher_ddim",
]
METHODS: tuple[Method, ...] = get_args(Method)


class PublishedFigure(BaseModel):
    """A row of `published_results.csv`: FID, and IS where it is given, of 50,000 images."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dataset: Annotated[str, Field(pattern="^[a-z0-9]+$")]
    method: Method
    w: Annotated[float, Field(ge=0.0)] | None  # None: the model takes no labels
    steps: Annotated[int, Field(ge=1)]
    nfe: Annotated[int, Field(ge=1)]
    fid: Annotated[float, Field(gt=0.0)]
    is_: Annotated[Annotated[float, Field(gt=0.0)] | None, Field(alias="is")]
    source: Annotated[str, Field(pattern=r"^(GD|PD) Table \d+$")]

    @property
    def kind(self) -> str:
        """`teacher` or `student`: beside what it stands."""
        return "teacher" if self.method == "teacher_ddim" else "student"


def read_published(path: Path = FIGURES) -> list[PublishedFigure]:
    """Every published figure, in the file's order.

    Raises:
        EvaluationError: the file is missing or damaged: a wrong column or value, a row without its
            source, or two rows for one figure.
    """
    figures: dict[tuple[object, ...], PublishedFigure] = {}
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines), start=2):
                figure = _figure(row, f"line {number}")
                key = (figure.dataset, figure.method, figure.w, figure.steps)
                if key in figures:
                    raise ValueError(f"line {number} repeats {', '.join(map(str, key))}")
                figures[key] = figure
    except FileNotFoundError:
        raise EvaluationError(f"{path} does not exist: install pdpipe again") from None
    except ValueError as error:
        raise EvaluationError(f"{path} is damaged ({error}): install pdpipe again") from None
    return list(figures.values())


def _figure(row: dict[str, str], where: str) -> PublishedFigure:
    """A row's figure; raises ValueError in one sentence."""
    try:
        return PublishedFigure.model_validate({key: text or None for key, text in row.items()})
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(map(str, problem["loc"][:1]))
        raise ValueError(f"{where}, {field}: {problem['msg']}") from None
