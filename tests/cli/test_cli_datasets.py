"""A published data set by its preset: every stage for a few updates, on data of its true shape."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from conftest import Typed

STAGES = (
    *(["check"], ["prepare"], ["extractor"], ["reference"], ["teacher"], ["guide"]),
    *(["halve", "--steps", "2"], ["rungs"], ["evaluate-teacher"], ["evaluate", "--steps", "2"]),
    ["report"],
)


def cifar10(folder: Path) -> None:
    random = np.random.default_rng(0)
    files = {"batches.meta": {b"label_names": [b"class %d" % k for k in range(10)]}}
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        images = random.integers(0, 256, (20, 3072), dtype=np.uint8)
        files[name] = {b"data": images, b"labels": [*range(10), *range(10)]}
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as tar:
        for name, value in files.items():
            content = pickle.dumps(value, protocol=2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_the_preset_of_cifar10_runs_through_every_stage(typed: Typed) -> None:
    for folder in ("data/shards", "models", "results", "reports"):
        shutil.rmtree(typed.root / folder)
    assert typed.run("preset", "cifar10", "--force").code == 0
    (typed.root / "data/raw").mkdir()
    cifar10(typed.root / "data/raw")
    params = typed.params()
    params["extractor"] |= {"updates": 2, "features": 8, "min_accuracy": 0.0, "batch_size": 8}
    params["network"] |= {"base_channels": 8, "head_channels": 8, "embedding_channels": 8}
    params["network"] |= {"norm_groups": 4, "blocks_per_level": 1}
    for section in ("teacher", "guide", "halve"):
        params[section] |= {"batch_size": 2}
    params["teacher"] |= {"updates": 2}
    params["guide"] |= {"updates": 2, "steps": 4}
    params["ladder"] = {"2": {"from": "4", "updates": 2, "learning_rate": 5e-4}}
    params["evaluation"] |= {"num_samples": 20, "paired_samples": 10, "w": [0.0]}
    params["evaluation"] |= {"extractor": "classifier", "teacher_steps": [2], "batch_size": 20}
    params["runtime"] |= {"device": "cpu", "threads": 1, "compile": False}
    typed.write(params)
    for command in STAGES:
        printed = typed.run(*command)
        assert printed.code == 0, printed
    manifest = json.loads((typed.root / "data/shards/manifest.json").read_text())
    assert manifest["source"] == "cifar10"
    assert manifest["splits"]["train"]["count"] == 100
    assert (typed.root / "reports/index.html").is_file()
