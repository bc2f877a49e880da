"""Every measurement of a chain as one tidy table, and the selections that a report is made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from pdpipe.evaluation.metrics import METRICS
from pdpipe.evaluation.records import (
    JACKKNIFE_DOF,
    CellCost,
    FloorProtocol,
    MetricsRecord,
    Protocol,
)
from pdpipe.reporting import formats
from pdpipe.reporting.results import Results

# The columns of every table of measurements. Rows of kind `real` are real images measured as if
# generated: their `num_fake` counts those, `num_real` the training images they are compared with.
COLUMNS: dict[str, str] = {
    "model": "string",
    "kind": "string",  # teacher, student or real
    "parameters": "Int64",  # of the network
    "steps": "Int64",
    "w": "float64",  # guidance weight; 0 is unguided
    "nfe": "Int64",  # network evaluations a sample
    "seeds": "Int64",  # generation seeds: of several, the figures are means over them
    "se_dof": "Int64",  # degrees of freedom of the standard errors
    **{name: "float64" for key in METRICS for name in (key, f"{key}_se")},  # and standard error
    "accuracy": "float64",  # label accuracy by the extractor's classifier
    "paired_mse": "float64",  # to the teacher's full-count image from the same noise
    "nearest_median": "float64",  # distance to the nearest training image, median
    "nearest_close": "float64",  # share of samples nearer than the held-out 1st percentile
    "seconds_per_image": "float64",
    "extractor": "string",
    "num_fake": "Int64",
    "num_real": "Int64",
    "sampler": "string",
    "gamma": "float64",  # of ancestral sampling
    "grid": "string",  # uniform times, or ddpm: the 1000 steps of DDPM, respaced
    "seed": "Int64",
    "clip": "boolean",
    "weights": "string",
    "device": "string",
    "precision_of_networks": "string",  # float32 or bfloat16
}
# What reports/table.csv has besides: the rest of what a figure depends on, but for the model.
PROTOCOL_COLUMNS: dict[str, str] = {
    "extractor_sha256": "string",
    "real_split": "string",
    "balance": "string",  # of the labels
    "quantization": "string",
    "is_splits": "Int64",
    "standard_errors": "string",  # of cells at one seed
    "libraries": "string",
}
TABLE_COLUMNS = COLUMNS | PROTOCOL_COLUMNS
COST_COLUMN = "seconds_per_image"  # which changes from run to run


@dataclass(frozen=True)
class Measurements:
    """The tidy table, one row a measurement, columns `TABLE_COLUMNS`: the source of all else."""

    frame: pd.DataFrame

    @property
    def reproducible(self) -> pd.DataFrame:
        """The table without times: equal results give it equal."""
        return self.frame.drop(columns=COST_COLUMN)

    @property
    def times(self) -> pd.DataFrame:
        """The times of the cells that were timed."""
        timed = self.frame[self.frame[COST_COLUMN].notna()]
        return timed[["model", "steps", "w", "nfe", COST_COLUMN]]

    @property
    def student_steps(self) -> list[int]:
        """The students' step counts, most first."""
        return self._steps("student")

    @property
    def full_steps(self) -> int:
        """The teacher's full step count: what the students stand for."""
        return max(self._steps("teacher"))

    @property
    def teacher_by(self) -> str:
        """`teacher by DDIM`, with the sampler that it was measured with."""
        return f"teacher by {formats.sampler(self._a_teachers['sampler'])}"

    @property
    def guidance(self) -> list[float]:
        """The guidance weights, smallest first."""
        return sorted({w for kind, _, w in self._cells if kind == "teacher"})

    @cached_property
    def heldout(self) -> pd.Series[Any]:
        """The held-out images' row: its `fid` is the floor."""
        return self.frame[self.frame["model"] == "heldout"].iloc[0]

    def select(
        self, kind: str, *, steps: int | None = None, w: float | None = None
    ) -> pd.DataFrame:
        """The rows of a kind (of one step count, at one guidance weight), in the table's order."""
        chosen = self.frame["kind"] == kind
        for column, value in (("steps", steps), ("w", w)):
            if value is not None:
                chosen &= self.frame[column] == value
        return self.frame[chosen]  # once, since each column is copied by itself

    def cell(self, kind: str, steps: int, w: float) -> pd.Series[Any]:
        """The row of one model at one step count and guidance weight."""
        return self._cells[kind, steps, w]

    def full(self, w: float) -> pd.Series[Any]:
        """The teacher's row at its full step count."""
        return self.cell("teacher", self.full_steps, w)

    def named(self, metric: str, row: pd.Series[Any] | None = None) -> str:
        """`metric` by its extractor and count, `FID-1500[digits-cnn]`; of generated images if bare.

        A figure without these is not comparable with anything, so nothing is called plain FID.
        """
        measured = self._a_teachers if row is None else row
        return f"{metric}-{int(measured['num_fake'])}[{measured['extractor']}]"

    @cached_property
    def _cells(self) -> dict[tuple[str, int, float], pd.Series[Any]]:
        """{(kind, steps, w): its row}, of generated images: looked up by the thousand."""
        generated = self.frame[self.frame["kind"] != "real"]
        rows = (row for _, row in generated.iterrows())
        return {(row["kind"], int(row["steps"]), float(row["w"])): row for row in rows}

    @cached_property
    def _a_teachers(self) -> pd.Series[Any]:
        """Any row of the teacher: what the rows of generated images share is in it."""
        return self.select("teacher").iloc[0]

    def _steps(self, kind: str) -> list[int]:
        return sorted({n for of, n, _ in self._cells if of == kind}, reverse=True)


def measurements(results: Results) -> Measurements:
    """The tidy table of `results`: real images, then teacher and students, most steps first."""
    rows = _real_rows(results)
    for model, cost in zip(results.models, results.evaluation, strict=True):
        rows += model_rows(model, cost.cells)
    return Measurements(pd.DataFrame(rows, columns=list(TABLE_COLUMNS)).astype(TABLE_COLUMNS))


def _real_rows(results: Results) -> list[dict[str, Any]]:
    protocol, floor = results.floor.protocol, results.floor.floor
    shared = {"kind": "real", "balance": protocol.balance, **_measured_by(protocol)}
    heldout = {
        "model": "heldout",
        "se_dof": JACKKNIFE_DOF,
        **floor.model_dump(by_alias=True),
        "accuracy": floor.accuracy_heldout,
        "num_fake": protocol.num_heldout,
        "num_real": protocol.num_train,
        "real_split": "train",
        "standard_errors": protocol.standard_errors,
    }
    train = {"model": "train", "is": floor.is_train, "num_fake": protocol.num_train}
    return [shared | heldout, shared | train]


def _measured_by(protocol: Protocol | FloorProtocol) -> dict[str, str]:
    """The extractor, and what else the figures of real and of generated images depend on."""
    versions = (f"{name} {version}" for name, version in protocol.libraries.items())
    return {
        "extractor": protocol.extractor.name,
        "extractor_sha256": protocol.extractor.sha256,
        "libraries": ", ".join(versions),
    }


def model_rows(metrics: MetricsRecord, costs: list[CellCost]) -> list[dict[str, Any]]:
    """A row for each cell of a model, most steps first, with the time that it took."""
    seconds = {(cell.steps, cell.w): cell.seconds_per_image for cell in costs}
    protocol = metrics.protocol
    shared = {
        **protocol.model_dump(include={*TABLE_COLUMNS} - {"precision"}),  # which is a metric
        **metrics.model.model_dump(include={"kind", "parameters", "weights"}),
        **_measured_by(protocol),
        "model": metrics.model.name,
        "precision_of_networks": protocol.precision,
    }
    cells = sorted(metrics.cells, key=lambda cell: (-cell.steps, cell.w))
    return [
        shared
        | cell.model_dump(by_alias=True)
        | {"seconds_per_image": seconds.get((cell.steps, cell.w))}
        for cell in cells
    ]
