"""Chains whose results are fabricated by formulas, in the schema that evaluation writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from pdpipe.files import sealed, unsealed
from pdpipe.params import Params, parse_params
from pdpipe.reporting import Headline, write_report

ROOT = Path(__file__).parents[2]

FORMULAS: dict[str, Callable[[bool, int, float], float]] = {
    "fid": lambda student, n, w: 1.1 + 0.003 * n + 0.11 * w if student else 1.0 + 9 / n + 0.13 * w,
    "fid_se": lambda student, n, w: 0.02 if student else 0.01 + 0.05 / n,
    "fid_heldout": lambda student, n, w: 1.5 + 9 / n + 0.1 * w - (0.05 if student else 0.0),
    "fid_heldout_se": lambda student, n, w: 0.03,
    "is": lambda student, n, w: 7.0 + 0.01 * n + 0.2 * w + (0.05 if student else 0.0),
    "is_se": lambda student, n, w: 0.01 + 0.001 * n,
    "kid": lambda student, n, w: 0.002 + 0.01 / n + 0.001 * w + (0.0 if student else 0.003),
    "kid_se": lambda student, n, w: 0.0005,
    "mmd": lambda student, n, w: 0.001 + 0.005 / n + 0.001 * w + (0.0 if student else 0.002),
    "mmd_se": lambda student, n, w: 0.0003,
    "precision": lambda student, n, w: 0.6 + 0.03 * w - 0.1 / n + (0.01 if student else 0.0),
    "precision_se": lambda student, n, w: 0.01,
    "recall": lambda student, n, w: 0.9 - 0.05 * w - 0.2 / n + (0.01 if student else 0.0),
    "recall_se": lambda student, n, w: 0.02,
    "accuracy": lambda student, n, w: 0.95 + 0.02 / n + 0.001 * w + (0.01 if student else 0.0),
    "paired_mse": lambda student, n, w: (0.01 if student else 0.2) / n + 0.001 * w,
    "nearest_median": lambda student, n, w: 1.7 + 0.002 * n + 0.02 * w + (0.1 if student else 0.0),
    "nearest_close": lambda student, n, w: 0.01 + 0.0002 * n + 0.001 * w,
    "seconds_per_image": lambda student, n, w: 0.001 * n * (1 if student or w == 0 else 2),
}
FLOOR = {
    "fid": 1.4321,
    "fid_se": 0.05,
    "fid_heldout": 1.4321,
    "fid_heldout_se": 0.05,
    "is_train": 8.0123,
    "is": 7.5234,
    "is_se": 0.08,
    "kid": -0.01,
    "kid_se": 0.002,
    "mmd": -0.0012,
    "mmd_se": 0.0004,
    "precision": 0.64,
    "precision_se": 0.03,
    "recall": 0.93,
    "recall_se": 0.02,
    "accuracy_heldout": 0.9963,
    "nearest_median": 2.0612,
    "nearest_close": 0.0111,
    "nearest_threshold": 1.02,
}
EXTRACTOR = {"name": "digits-cnn", "sha256": "ab" * 32, "features": 128, "heldout_accuracy": 0.9963}
JACKKNIFE = "jackknife over 10 groups of the images, balanced as the whole is"
LIBRARIES = {"torch": "2.13.0", "torch-fidelity": "0.4.0"}
MACHINE = {
    "device": "cpu",
    "name": "Test CPU",
    "threads": 2,
    "torch": "2.13.0",
    "pdpipe": "0.1.0",
    "platform": "Linux",
}


@dataclass(frozen=True)
class Chain:
    """Params, and the results that were written for them."""

    params: Params
    results_dir: Path
    classes: list[str]

    @property
    def w(self) -> list[float]:
        return sorted(self.params.evaluation.w)

    def value(self, metric: str, kind: str, steps: int, w: float) -> float:
        return round(FORMULAS[metric](kind == "student", steps, w), 6)

    def report(self, reports_dir: Path) -> Headline:
        studies = self.results_dir / "studies.json"  # none was run
        return write_report(self.params, self.results_dir, reports_dir, studies)

    def sheet(self, kind: str, steps: int) -> np.ndarray:
        """The images (num_w, num_classes, per_class, C, H, W) of a sample sheet."""
        data = self.params.data
        shape = (len(self.w), len(self.classes), 8, data.channels, data.image_size, data.image_size)
        rng = np.random.default_rng([steps, kind == "student"])
        return rng.integers(0, 256, shape, dtype=np.uint8)

    def edit(self, path: str, change: Callable[[Any], None]) -> None:
        """Change the JSON of one of the results."""
        file = self.results_dir / path
        content = unsealed(json.loads(file.read_text()))
        change(content)
        file.write_text(json.dumps(sealed(content)))


MakeChain = Callable[..., Chain]


@pytest.fixture(scope="session")
def make_chain(tmp_path_factory: pytest.TempPathFactory) -> MakeChain:
    """Make a chain: `ladder` from `start` steps, evaluated at `w`, on `classes`."""

    def make(
        *,
        start: int = 8,
        ladder: Sequence[int] = (4, 1),
        w: Sequence[float] = (0.0, 0.3),
        teacher_steps: Sequence[int] | None = None,
        classes: Sequence[str] = ("zero", "one", "two"),
        channels: int = 1,
        conditional: bool = True,
        image_size: int = 8,
        published: str = "none",
    ) -> Chain:
        raw = yaml.safe_load((ROOT / "pdpipe/presets/digits.yaml").read_text())
        froms = [start, *ladder]
        raw["ladder"] = {
            str(n): {"from": str(froms[k]), "updates": 10, "learning_rate": 1.0e-3}
            for k, n in enumerate(ladder)
        }
        raw["guide"] |= {"steps": start, "w_max": max(w)}
        raw["evaluation"] |= {
            "w": list(w),
            "teacher_steps": list(teacher_steps or sorted({*ladder, start})),
        }
        if (channels, image_size) != (1, 8):  # those of the digits
            raw["data"] |= {"source": "folder", "path": "data/raw"}
        raw["data"] |= {"channels": channels, "image_size": image_size}
        raw["report"] |= {"published": published}
        raw["network"] |= {"conditional": conditional, "attention_resolutions": []}
        chain = Chain(parse_params(raw), tmp_path_factory.mktemp("chain"), list(classes))
        _write_results(chain)
        return chain

    return make


@pytest.fixture(scope="session")
def full_chain(make_chain: MakeChain) -> Chain:
    """Four halvings and three guidance weights, not in order."""
    return make_chain(
        start=16,
        ladder=(8, 4, 2, 1),
        w=(0.3, 0.0, 2.0),
        classes=[str(k) for k in range(10)],
    )


@pytest.fixture(scope="session")
def full_report(full_chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reports folder of `full_chain`."""
    folder = tmp_path_factory.mktemp("reports")
    full_chain.report(folder)
    return folder


def _write_results(chain: Chain) -> None:
    e, rungs = chain.params.evaluation, chain.params.rungs()
    protocol = {"extractor": EXTRACTOR, "num_heldout": 270, "num_train": 1527}
    protocol |= {"balance": "stratified split", "standard_errors": JACKKNIFE}
    protocol["libraries"] = LIBRARIES
    _write(chain, "metrics/floor.json", {"protocol": protocol, "floor": FLOOR})
    _write_model(chain, "teacher", "teacher", e.teacher_steps)
    for n in rungs:
        _write_model(chain, f"student-{n}", "student", [n])
    tops = [chain.params.guide.steps, *rungs]
    distances = [
        {
            "student": f"student-{n}",
            "teacher": f"student-{above}" if k else "teacher",
            "steps": n,
            "teacher_steps": above,
            "loss": 0.001 * (k + 1),
            "drifts": [{"w": w, "mse": 0.01 * (k + 1) + 0.001 * w} for w in chain.w],
        }
        for k, (above, n) in enumerate(zip([tops[0], *tops], tops, strict=False))
    ]
    how = {"seed": 1, "heldout_images": 270, "draws": 8, "samples": 100, "clip": True}
    record = {"protocol": how | {"device": "cpu"}, "rungs": distances}
    _write(chain, "metrics/rungs.json", record)
    trained = ["extractor", "teacher", *(f"student-{n}" for n in chain.params.student_steps())]
    for k, stage in enumerate(trained):
        cost = {"stage": stage, "updates": 100 + k, "batch_size": 10, "images_seen": 1000 + k}
        cost |= {"network_evaluations": 4000 + k, "seconds": 1.5 + k, "machine": MACHINE}
        _write(chain, f"cost/{stage}.json", cost)
    for k, stage in enumerate(("prepare", "reference", "rungs")):
        cost = {"stage": stage, "images": 10 + k, "network_evaluations": 20 * k}
        _write(chain, f"cost/{stage}.json", cost | {"seconds": 2.5 + k, "machine": MACHINE})


def _write_model(chain: Chain, name: str, kind: str, steps: Sequence[int]) -> None:
    keys = [key for key in FORMULAS if key != "seconds_per_image"]
    places = [
        {"steps": n, "w": w, "nfe": n if kind == "student" or w == 0 else 2 * n}
        for n in steps
        for w in chain.w
    ]
    cells = [p | {key: chain.value(key, kind, p["steps"], p["w"]) for key in keys} for p in places]
    protocol = {
        "extractor": EXTRACTOR,
        "sampler": "ddim",
        "gamma": None,
        "grid": "uniform",
        "clip": True,
        "seed": 1,
        "num_fake": 1500,
        "num_real": 1527,
        "real_split": "train",
        "balance": "equal counts per class",
        "quantization": "uint8, rounded",
        "standard_errors": JACKKNIFE,
        "is_splits": 1,
        "paired_with": f"teacher, {max(chain.params.evaluation.teacher_steps)} steps",
        "paired_samples": 300,
        "nearest_samples": 1500,
        "guidance": "x_hat_w = (1 + w) x_hat_c - w x_hat_u",
        "device": "cpu",
        "precision": "float32",
        "libraries": LIBRARIES,
    }
    model = {
        "name": name,
        "kind": kind,
        "sha256": "cd" * 32,
        "made_from": {"data/shards": "ef" * 32},
        "weights": "ema",
        "parameters": 601234,
    }
    _write(chain, f"metrics/{name}.json", {"model": model, "protocol": protocol, "cells": cells})
    timed = [
        p
        | {
            "seconds": 1.0,
            "seconds_per_image": chain.value("seconds_per_image", kind, p["steps"], p["w"]),
        }
        for p in places
    ]
    cost = {"stage": f"evaluate-{name}", "seconds": 12.5, "machine": MACHINE, "cells": timed}
    _write(chain, f"cost/evaluate-{name}.json", cost)
    info = {"w": chain.w, "classes": chain.classes, "per_class": 8}
    path = chain.results_dir / f"samples/{name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    sheets = {f"sheet/{n}": chain.sheet(kind, n) for n in steps}
    save_file(sheets, path, metadata={"sheet": json.dumps(info)})
    full = chain.sheet("teacher", max(chain.params.evaluation.teacher_steps))
    real = {"real": np.ascontiguousarray(full[0, :, :3])}
    about = {"sheet": json.dumps({"classes": chain.classes})}
    save_file(real, path.with_name("real.safetensors"), metadata=about)


def _write(chain: Chain, path: str, value: object) -> None:
    file = chain.results_dir / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(value))
