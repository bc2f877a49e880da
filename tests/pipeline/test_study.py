"""A study beside the main chain: it runs on demand, and makes nothing but the report stale."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import yaml

import pdpipe

ROOT = Path(__file__).parents[2]
STUDY = "stages/baselines/dvc.yaml"
PARAMS = "stages/baselines/params.yaml"

TINY = {
    "title": "Samplers without distillation",
    "question": "How far do better samplers get?",
    "baseline": "",
    "arms": {
        "heun": {
            "model": "models/teacher.safetensors", "sampler": "heun", "nfe": [2, 4],
            "w": [0.0, 1.0],
        },
        "student-2": {
            "model": "models/student-2.safetensors", "sampler": "ancestral",
            "gammas": [0.0, 0.5, 1.0], "nfe": [2], "w": [0.0, 1.0],
        },
    },
}  # fmt: skip


def with_study(project, pipeline, params):
    """The project, with a study's own dvc.yaml and params of the test's."""
    (project.root / pipeline).parent.mkdir()
    shutil.copy(ROOT / pipeline, project.root / pipeline)
    (project.root / pipeline).with_name("params.yaml").write_text(yaml.safe_dump(params))
    return project


def test_a_study_runs_on_demand_and_only_the_report_takes_it_up(chain, copy_of, tmp_path):
    project = with_study(copy_of(chain.project, tmp_path / "project"), STUDY, TINY)
    assert project.repro() == []
    project.run("dvc", "commit", "--force", "dvc.yaml")  # as the README says, of the chain alone
    assert "DVC failed" not in project.run("dvc", "metrics", "show")

    ran = project.repro(STUDY)
    measured = {f"{STUDY}:measure@heun", f"{STUDY}:measure@student-2"}
    assert set(ran[:2]) == measured
    assert ran[2:] == [f"{STUDY}:conclude"]

    assert project.repro("dvc.yaml", STUDY) == ["report"]  # nothing of the study runs again
    page = (project.root / "reports/index.html").read_text(encoding="utf-8")
    assert 'id="study-baselines"' in page
    assert (project.root / "reports/figures/study_baselines.png").is_file()

    records = json.loads((project.root / "stages/baselines/results/student-2.json").read_text())
    assert [r["protocol"]["gamma"] for r in records["records"]] == [0.0, 0.5, 1.0]
    assert {cell["nfe"] for r in records["records"] for cell in r["cells"]} == {2}

    study = yaml.safe_load((project.root / PARAMS).read_text())
    study["arms"]["heun"]["nfe"] = [4]
    (project.root / PARAMS).write_text(yaml.safe_dump(study))
    stale = project.repro("--dry", "dvc.yaml", STUDY)
    assert f"{STUDY}:measure@heun" in stale
    assert all(name.startswith(STUDY) for name in stale)  # the chain does not care


STOCHASTIC = "stages/stochastic/dvc.yaml"
MODEL = "stages/stochastic/models/stochastic-2.safetensors"
TRAINED = {
    "title": "Stochastic students",
    "question": "Are they better?",
    "baseline": "",
    "students": {
        "stochastic-2": {
            "algorithm": "stochastic", "from": "models/student-2.safetensors", "steps": 2,
            "updates": 3, "learning_rate": 1e-3,
        },
    },
    "arms": {
        "stochastic-2": {
            "method": "stochastic student", "model": MODEL, "sampler": "stochastic",
            "steps": [2, 1], "w": [0.0, 1.0],
        },
    },
}  # fmt: skip


def test_a_study_trains_its_own_students(chain, copy_of, tmp_path):
    project = with_study(copy_of(chain.project, tmp_path / "project"), STOCHASTIC, TRAINED)
    params = project.root / "stages/stochastic/params.yaml"
    stages = [f"{STOCHASTIC}:{name}@stochastic-2" for name in ("distil", "measure")]
    assert project.repro(STOCHASTIC) == [*stages, f"{STOCHASTIC}:conclude"]
    assert project.repro("dvc.yaml", STOCHASTIC) == ["report"]
    page = (project.root / "reports/index.html").read_text(encoding="utf-8")
    assert "Stochastic students" in page

    entry = json.loads((project.root / "stages/studies.json").read_text())["stochastic"]
    assert sorted(entry["made_from"]) == [
        "data/shards",
        "extractor",
        "models/student-2.safetensors",
    ]
    info = pdpipe.load(project.root / MODEL).info
    assert (info.name, info.steps, info.sampler) == ("stochastic-2", 2, "stochastic")

    changed = yaml.safe_load(params.read_text())
    changed["students"]["stochastic-2"]["updates"] = 4
    params.write_text(yaml.safe_dump(changed))
    assert all(
        name.startswith(STOCHASTIC) for name in project.repro("--dry", "dvc.yaml", STOCHASTIC)
    )


ENCODER = "stages/encoder/dvc.yaml"
ENCODERS = {
    "title": "Distilled encoders",
    "question": "How much returns?",
    "baseline": "distilled encoder",
    "students": {
        "encoder-2": {
            "algorithm": "encoder", "from": "models/student-4.safetensors", "steps": 2,
            "updates": 3, "learning_rate": 1e-3,
        },
    },
    "reconstruction": {
        "images": 10,
        "w": 0.0,
        "encoders": {
            "distilled-2": {
                "method": "distilled encoder", "steps": [2],
                "model": "stages/encoder/models/encoder-2.safetensors",
            },
            "guided": {"method": "reversed", "model": "models/student-4.safetensors", "steps": [2]},
        },
        "decoders": {
            "student": {"model": "models/student-2.safetensors", "steps": 2},
            "teacher": {"model": "models/teacher.safetensors", "steps": 4},
        },
    },
    "transfer": {
        "pairs": [[1, 7], [3, 8]],
        "w": [0.0, 2.0],  # the chain is not measured at the second
        "encoder": {"model": "stages/encoder/models/encoder-2.safetensors", "steps": 2},
        "decoder": {"model": "models/student-2.safetensors", "steps": 2},
        "images": 4,
        "shown": 2,
    },
}  # fmt: skip


def test_a_study_of_encoders_shows_errors_and_images(chain, copy_of, tmp_path):
    project = with_study(copy_of(chain.project, tmp_path / "project"), ENCODER, ENCODERS)
    ran = project.repro(ENCODER)
    stages = ("distil@encoder-2", "reconstruct", "conclude")
    assert ran == [f"{ENCODER}:{stage}" for stage in stages]
    assert project.repro("dvc.yaml", ENCODER) == ["report"]

    entry = project.json("stages/studies.json")["encoder"]
    assert {"data/shards", "models/student-4.safetensors", "extractor"} <= {*entry["made_from"]}
    page = (project.root / "reports/index.html").read_text(encoding="utf-8")
    assert "the error of the distilled encoder is, by evaluations of encoding" in page
    assert "Style transfer, 3 → 8, w = 2: the same images, encoded by encoder-2, 2 steps" in page
    for name in ("study_encoder", "study_encoder_images"):
        assert (project.root / f"reports/figures/{name}.png").is_file()
    kept = project.run("git", "status", "--porcelain", "--untracked-files=all")
    assert "stages/encoder/images.safetensors" in kept
    assert "reconstruction.json" not in kept
    assert "encoder-2.safetensors" not in kept
