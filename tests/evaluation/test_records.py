"""The metrics and cost files: their exact text, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pdpipe.errors import EvaluationError
from pdpipe.evaluation.records import (
    Cell,
    CostRecord,
    Extractor,
    Floor,
    FloorRecord,
    MeasuredModel,
    MetricsRecord,
    Protocol,
    StageCostRecord,
    TrainingCostRecord,
    read_record,
    write_record,
)
from pdpipe.files import sealed

SHA = "ab" * 32
MACHINE = {
    "device": "cpu", "name": "a CPU", "threads": 2, "torch": "2.13.0", "pdpipe": "0.1.0",
    "platform": "Linux",
}  # fmt: skip
METRICS: dict[str, Any] = {
    "model": {
        "name": "student-4",
        "kind": "student",
        "sha256": SHA,
        "made_from": {"models/student-8.safetensors": SHA},
        "weights": "ema",
        "parameters": 601234,
    },
    "protocol": {
        "extractor": {
            "name": "digits-cnn", "sha256": SHA, "features": 128, "heldout_accuracy": 0.996,
        },
        "sampler": "ddim",
        "gamma": None,
        "grid": "uniform",
        "clip": True,
        "seed": 1,
        "seeds": 1,
        "num_fake": 1500,
        "num_real": 1527,
        "real_split": "train",
        "balance": "equal counts per class",
        "quantization": "uint8, rounded",
        "standard_errors": "jackknife over 10 groups of the images, balanced as the whole is",
        "is_splits": 1,
        "paired_with": "teacher, 64 steps",
        "paired_samples": 300,
        "nearest_samples": 1500,
        "guidance": "x_hat_w = (1 + w) x_hat_c - w x_hat_u",
        "device": "cpu",
        "precision": "float32",
        "libraries": {"torch": "2.13.0"},
    },
    "cells": [
        {
            "steps": 4, "w": 0.3, "nfe": 4, "seeds": 1, "se_dof": 9, "fid": 0.81,
            "fid_se": 0.04, "fid_heldout": 0.9, "fid_heldout_se": 0.05,
            "is": 7.9, "is_se": 0.01, "kid": -0.001, "kid_se": 0.0005,
            "mmd": -0.002, "mmd_se": 0.0004,
            "precision": 0.8, "precision_se": 0.01, "recall": 0.7, "recall_se": 0.02,
            "accuracy": 0.99, "paired_mse": 0.012, "nearest_median": 1.7, "nearest_close": 0.02,
        }
    ],
}  # fmt: skip
COST: dict[str, Any] = {
    "stage": "evaluate-student-4",
    "seconds": 12.3,
    "machine": MACHINE,
    "cells": [{"steps": 4, "w": 0.3, "nfe": 4, "seconds": 1.2, "seconds_per_image": 0.0008}],
}
TRAINING: dict[str, Any] = {
    "stage": "student-4",
    "updates": 200,
    "batch_size": 128,
    "images_seen": 25600,
    "network_evaluations": 102400,
    "seconds": 15.2,
    "machine": MACHINE,
}
OTHER: dict[str, Any] = {
    "stage": "prepare",
    "images": 1797,
    "network_evaluations": 0,
    "seconds": 0.8,
    "machine": MACHINE,
}
MEASURED = {
    "fid": 0.5, "fid_se": None, "is": 8.0, "is_se": None, "kid": 0.0, "kid_se": None,
    "precision": 1.0, "precision_se": None, "recall": 1.0, "recall_se": None, "accuracy": 1.0,
    "nearest_median": 1.0, "nearest_close": 0.0,
}  # fmt: skip


def with_cell(**changes: Any) -> dict[str, Any]:
    return {**METRICS, "cells": [{**METRICS["cells"][0], **changes}]}


def built() -> MetricsRecord:
    extractor = Extractor(name="digits-cnn", sha256=SHA, features=128, heldout_accuracy=0.996)
    return MetricsRecord(
        model=MeasuredModel(
            name="student-4",
            kind="student",
            sha256=SHA,
            made_from={"models/student-8.safetensors": SHA},
            weights="ema",
            parameters=601234,
        ),
        protocol=Protocol(
            extractor=extractor, sampler="ddim", clip=True, seed=1, num_fake=1500, num_real=1527,
            is_splits=1, paired_with="teacher, 64 steps", paired_samples=300,
            nearest_samples=1500, device="cpu", precision="float32",
            libraries={"torch": "2.13.0"},
        ),
        cells=[
            Cell(
                steps=4, w=0.3, nfe=4, fid=0.81, fid_se=0.04, fid_heldout=0.9,
                fid_heldout_se=0.05, is_=7.9, is_se=0.01,
                kid=-0.001, kid_se=0.0005, mmd=-0.002, mmd_se=0.0004,
                precision=0.8, precision_se=0.01, recall=0.7, recall_se=0.02, accuracy=0.99,
                paired_mse=0.012, nearest_median=1.7, nearest_close=0.02,
            )
        ],
    )  # fmt: skip


def test_a_metrics_file_is_exactly_the_agreed_text(tmp_path: Path) -> None:
    path = tmp_path / "metrics" / "student-4.json"
    write_record(path, built())
    assert path.read_text() == json.dumps(sealed(METRICS), indent=2) + "\n"
    assert read_record(path, MetricsRecord) == built()


def test_costs_are_read_and_written_likewise(tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    write_record(path, CostRecord.model_validate(COST))
    assert path.read_text() == json.dumps(sealed(COST), indent=2) + "\n"
    path.write_text(json.dumps(TRAINING))
    assert read_record(path, TrainingCostRecord).plain() == TRAINING
    path.write_text(json.dumps(OTHER))
    assert read_record(path, StageCostRecord).plain() == OTHER
    more = {**COST, "machine": {**MACHINE, "precision": "float32"}}
    assert CostRecord.model_validate(more).plain() == more  # what else is known of a machine stays


def test_files_from_before_a_metric_are_read_without_it() -> None:
    old = {
        key: value
        for key, value in METRICS["cells"][0].items()
        if not key.startswith(("mmd", "fid_h"))
    }
    cell = MetricsRecord.model_validate({**METRICS, "cells": [old]}).cells[0]
    assert (cell.mmd, cell.mmd_se, cell.fid_heldout, cell.fid) == (None, None, None, 0.81)
    with pytest.raises(EvaluationError, match=r"Cell.kid: field required"):
        Cell.model_validate({key: value for key, value in old.items() if key != "kid"})


def test_an_early_floors_inception_score_has_its_name_of_then() -> None:
    rest = {"is_train": 9.1, "accuracy_heldout": 0.99, "nearest_threshold": 2.0}
    early = {k: v for k, v in {**MEASURED, **rest}.items() if k not in ("is", "is_se", "accuracy")}
    floor = Floor.model_validate({**early, "is_heldout": 7.5, "is_heldout_se": 0.1})
    assert (floor.is_, floor.is_se, floor.is_train, floor.mmd) == (7.5, 0.1, 9.1, None)


def test_measurements_make_a_cell_by_the_files_names() -> None:
    cell = Cell.model_validate({"steps": 1, "w": 0, "nfe": 1, "paired_mse": 0.0, **MEASURED})
    assert (cell.is_, cell.w) == (8.0, 0.0)
    assert json.dumps(cell.plain()["w"]) == "0.0"


def test_floats_keep_six_digits_so_that_rounding_errors_do_not_show(tmp_path: Path) -> None:
    for name, value in (("a", 1234.5678 + 1e-9), ("b", 1234.5678 - 1e-9)):
        write_record(tmp_path / name, MetricsRecord.model_validate(with_cell(fid=value)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    cell = MetricsRecord.model_validate(with_cell(fid=1234.5678, paired_mse=1.23456789e-7)).plain()
    assert cell["cells"][0]["fid"] == 1234.57
    assert cell["cells"][0]["paired_mse"] == 1.23457e-7
    assert cell["model"]["parameters"] == 601234
    assert isinstance(cell["model"]["parameters"], int)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fid": float("nan")}, "Cell.fid: input should be a finite number, got nan: evaluate"),
        ({"is": float("inf")}, "Cell.is: input should be a finite number, got inf"),
        ({"fid": -0.1}, "Cell.fid: input should be greater than or equal to 0, got -0.1"),
        ({"accuracy": 1.1}, "Cell.accuracy: input should be less than or equal to 1"),
        ({"se_dof": 0}, "Cell.se_dof: input should be greater than or equal to 1"),
        ({"nfe": 0}, "Cell.nfe: input should be greater than or equal to 1"),
        ({"fid": "0.8"}, "Cell.fid: input should be a valid number, got '0.8'"),
        ({"seconds": 1.0}, "Cell.seconds: extra inputs are not permitted"),
    ],
)
def test_a_cell_that_is_no_measurement_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        MetricsRecord.model_validate(with_cell(**changes))


def test_other_faults_are_refused_too() -> None:
    with pytest.raises(EvaluationError, match=r"MeasuredModel.sha256: string should match"):
        MetricsRecord.model_validate({**METRICS, "model": {**METRICS["model"], "sha256": "ab"}})
    with pytest.raises(EvaluationError, match=r"two cells at 4 steps, w = 0.3: remove the double"):
        MetricsRecord.model_validate({**METRICS, "cells": METRICS["cells"] * 2})
    with pytest.raises(EvaluationError, match="two cells at 4 steps"):
        CostRecord.model_validate({**COST, "cells": COST["cells"] * 2})
    with pytest.raises(EvaluationError, match=r"MetricsRecord.cells: list should have at least 1"):
        MetricsRecord.model_validate({**METRICS, "cells": []})
    protocol = {k: v for k, v in METRICS["protocol"].items() if k != "seed"}
    with pytest.raises(EvaluationError, match=r"Protocol.seed: field required"):
        MetricsRecord.model_validate({**METRICS, "protocol": protocol})


def test_a_figure_that_changed_on_the_disk_is_no_figure(tmp_path: Path) -> None:
    path = tmp_path / "teacher.json"
    write_record(path, built())
    text = path.read_text()
    path.write_text(text.replace('"fid": 0.81', '"fid": 0.91'))
    assert path.read_text() != text
    with pytest.raises(EvaluationError, match=r"teacher.json is damaged \(its checksum does not"):
        read_record(path, MetricsRecord)
    path.write_text(json.dumps(METRICS))  # as the versions before wrote it
    assert read_record(path, MetricsRecord) == built()


def test_files_that_are_no_record_say_so(tmp_path: Path) -> None:
    path = tmp_path / "teacher.json"
    with pytest.raises(EvaluationError, match=r"teacher.json does not exist: run `dvc repro`"):
        read_record(path, MetricsRecord)
    for text in ('{"model": ', "[]", json.dumps(COST), "\x00"):
        path.write_text(text)
        with pytest.raises(EvaluationError, match=r"teacher.json is damaged \(.*: delete it and"):
            read_record(path, MetricsRecord)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EvaluationError, match="is damaged"):
        read_record(path, FloorRecord)
