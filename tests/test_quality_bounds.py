"""The quality test itself: it passes good figures, and notices each one that is bad."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

quality = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / ".ci/quality.py")))
Metrics = dict[str, dict[str, Any]]


def cell(steps: int, w: float, fid: float, paired: float) -> dict[str, Any]:
    return {
        "steps": steps, "w": w, "nfe": steps, "fid": fid, "is": 8.0, "accuracy": 0.98,
        "paired_mse": paired, "nearest_median": 2.0, "nearest_close": 0.01,
    }  # fmt: skip


@pytest.fixture
def metrics() -> Metrics:
    """Figures that meet every bound: the floor is 1, the teacher's full count reaches 0.5."""
    extractor = {"name": "digits-cnn", "sha256": "0" * 64, "heldout_accuracy": 0.993}
    protocol = {"extractor": extractor, "num_fake": 1500, "balance": "equal counts per class"}
    by_ddim = {1: 9.0, 2: 4.0, 4: 2.0, 8: 1.2, 16: 0.8, 32: 0.6, 64: 0.5}
    floor = {"fid": 1.0, "nearest_median": 2.1, "nearest_close": 0.01}
    made: Metrics = {
        "floor": {"protocol": {"extractor": extractor}, "floor": floor},
        "teacher": {
            "protocol": protocol,
            "cells": [cell(n, w, f, 0.1 / n) for n, f in by_ddim.items() for w in quality.WEIGHTS],
        },
    }
    for n in quality.RUNGS:
        cells = [cell(n, w, 0.6 + 0.1 / n, 0.01 + 0.01 / n) for w in quality.WEIGHTS]
        made[f"student-{n}"] = {"protocol": protocol, "cells": cells}
    return json.loads(json.dumps(made))  # no part is shared


def test_good_figures_pass(metrics: Metrics, tmp_path: Path) -> None:
    for name, content in metrics.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    read = quality.read_metrics(tmp_path)
    assert read == metrics
    assert quality.violations(read) == []
    margins = quality.margins(read)
    assert margins["teacher / floor at w = 0.3"] == 0.5
    assert margins["4 steps / teacher's DDIM-4 at w = 1.0"] == pytest.approx(0.3125)
    assert margins["4 steps / teacher's DDIM at 4 single evaluations, w = 0"] == 0.3125
    (tmp_path / "student-8.json").unlink()
    with pytest.raises(FileNotFoundError):
        quality.read_metrics(tmp_path)


def changed(name: str, steps: int, w: float, **values: object) -> Callable[[Metrics], None]:
    """A change of one cell."""

    def change(metrics: Metrics) -> None:
        (found,) = (c for c in metrics[name]["cells"] if (c["steps"], c["w"]) == (steps, w))
        found |= values

    return change


def without(name: str, key: str) -> Callable[[Metrics], None]:
    """A file whose first cell lacks a key, or which lacks its first cell."""

    def change(metrics: Metrics) -> None:
        if key == "cell":
            del metrics[name]["cells"][0]
        else:
            del metrics[name]["cells"][0][key]

    return change


def protocol(name: str, **values: object) -> Callable[[Metrics], None]:
    return lambda metrics: metrics[name]["protocol"].update(values)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            changed("teacher", 64, 0.3, fid=0.76),
            r"the teacher at w = 0.3: FID 0.760 is above 0.750",
        ),
        (changed("student-1", 1, 0.0, fid=1.36), r"1 step at w = 0.0: FID 1.360 is above 1.350"),
        (
            changed("student-1", 1, 4.0, fid=1.36),
            r"1 step at w = 4.0: .* 0.15 x the teacher's DDIM",
        ),
        (changed("teacher", 1, 2.0, fid=4.6), r"1 step at w = 2.0: FID 0.700 is above 0.690"),
        (changed("teacher", 4, 1.0, fid=0.95), r"4 steps at w = 1.0: .* 0.65 x the teacher's DDIM"),
        (changed("teacher", 4, 0.0, fid=0.95), r"4 steps at w = 0.0: .* 0.65 x the teacher's DDIM"),
        (changed("teacher", 2, 0.3, fid=1.7), r"4 steps at w = 0.3: .* 0.35 x DDIM at equal NFE"),
        (changed("student-4", 4, 4.0, fid=0.76), r"4 steps at w = 4.0: .* 0.25 x the floor above"),
        (changed("student-4", 4, 0.0, fid=float("nan")), r"4 steps at w = 0.0: FID nan"),
        (changed("student-16", 16, 2.0, accuracy=0.969), r"student-16 at w = 2.0: label accuracy"),
        (changed("teacher", 64, 0.0, accuracy=0.96), r"teacher at w = 0.0: label accuracy 0.96"),
        (changed("student-8", 8, 1.0, paired_mse=0.02), r"w = 1.0 does not fall from 4 steps to 8"),
        (changed("student-1", 1, 0.3, paired_mse=0.01), r"w = 0.3 does not fall from 1 steps to 2"),
        (changed("student-32", 32, 4.0, paired_mse=0.02), r"does not fall from 4 steps to 32"),
        (without("student-2", "nearest_close"), r"a distance to the nearest .* is missing"),
        (without("teacher", "nearest_median"), r"a distance to the nearest .* is missing"),
        (without("student-32", "cell"), r"student-32 has no cell at 32 steps, w = 0.0"),
        (without("teacher", "cell"), r"teacher has no cell at 1 steps, w = 0.0"),
        (protocol("student-2", num_fake=1000), r"student-2 was measured on 1000 samples"),
        (protocol("student-2", seed=7), r"student-2 was measured by another protocol"),
        (protocol("student-2", extractor={}), r"student-2 was measured with another extractor"),
        (
            lambda metrics: metrics["floor"]["protocol"]["extractor"].update(heldout_accuracy=0.98),
            r"the extractor's held-out accuracy is 0.98",
        ),
    ],
)
def test_a_figure_beyond_its_bound_is_noticed(
    metrics: Metrics, change: Callable[[Metrics], None], sentence: str
) -> None:
    change(metrics)
    assert any(re.search(sentence, found) for found in quality.violations(metrics))


@pytest.mark.parametrize(
    "change",
    [
        changed("teacher", 4, 2.0, fid=0.7),  # the 4-step bounds on DDIM hold for w <= 1 only
        changed("teacher", 2, 4.0, fid=0.7),
        changed("student-32", 32, 2.0, paired_mse=0.0119),  # above 8 steps', below 4 steps'
        changed("student-4", 4, 0.0, fid=0.1),  # better than the teacher
        changed("teacher", 1, 4.0, accuracy=0.5),  # it is about students and the full count
    ],
)
def test_what_the_bounds_allow(metrics: Metrics, change: Callable[[Metrics], None]) -> None:
    change(metrics)
    assert quality.violations(metrics) == []
