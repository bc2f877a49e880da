"""A study beside the main chain: it runs on demand, and makes nothing but the report stale."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

import pdpipe

STUDY = "baselines"
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


def with_study(project, name, params):
    """The project, with a study's params in it."""
    folder = project.root / "stages" / name
    folder.mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return project


@pytest.fixture(scope="module")
def measured(chain, copy_of, stages_run, tmp_path_factory):
    """A project whose study `baselines` was run, and the stages that ran for it; all committed."""
    root = tmp_path_factory.mktemp("measured") / "project"
    project = with_study(copy_of(chain.project, root), STUDY, TINY)
    (project.root / ".dvc/config.local").write_text(
        "['remote \"store\"']\n    url = ../../store\n[core]\n    remote = store\n"
    )
    ran = stages_run(project.run("pdpipe", "study", STUDY))
    project.commit()
    return project, ran


def test_the_root_knows_nothing_of_a_study_that_was_run_but_its_entry(measured):
    """Neither its stages nor its files, and only the report takes it up."""
    project, ran = measured
    assert (ran[0], ran[-1], len(ran)) == ("code", "conclude", 4)
    assert set(ran[1:3]) == {"measure@heun", "measure@student-2"}
    shown = project.run("dvc", "exp", "show", "--csv") + project.run(
        "dvc", "stage", "list", "--all"
    )
    assert "stages/studies.json" in shown
    assert STUDY not in shown
    assert set(project.status()) == {"report"}
    assert project.status()["report"] == [{"changed deps": {"stages/studies.json": "modified"}}]


def test_only_the_report_takes_a_study_up(measured, copy_of, stages_run, tmp_path):
    project = copy_of(measured[0], tmp_path / "project")
    assert project.repro() == ["report"]
    again = project.run("pdpipe", "study", STUDY)
    assert stages_run(again) == ["code"]  # whose outputs are the same
    page = (project.root / "reports/index.html").read_text(encoding="utf-8")
    assert 'id="study-baselines"' in page
    assert (project.root / "reports/figures/study_baselines.png").is_file()

    records = json.loads((project.root / "stages/baselines/results/student-2.json").read_text())
    assert [r["protocol"]["gamma"] for r in records["records"]] == [0.0, 0.5, 1.0]
    assert {cell["nfe"] for r in records["records"] for cell in r["cells"]} == {2}

    study = yaml.safe_load((project.root / PARAMS).read_text())
    study["arms"]["heun"]["nfe"] = [4]
    (project.root / PARAMS).write_text(yaml.safe_dump(study))
    assert not project.status()  # the chain does not care
    project.set("ladder.2.updates", 11)  # and makes anew what the study needs, no more
    ran = stages_run(project.run("pdpipe", "study", STUDY))
    assert ran[:3] == ["check", "halve@2", "code"]
    assert set(ran[3:5]) == {"measure@heun", "measure@student-2"}
    assert ran[5:] == ["conclude"]


def test_code_makes_a_study_stale_and_byte_code_does_not(measured, copy_of, tmp_path):
    project = copy_of(measured[0], tmp_path / "project")
    folder = project.root / "pdpipe/evaluation/__pycache__"
    folder.mkdir(exist_ok=True)
    (folder / "another.cpython-311.pyc").write_bytes(b"byte code")

    def stale() -> set[str]:
        in_study = ("--cd", f"stages/{STUDY}")
        project.run("dvc", *in_study, "repro", "code")
        return set(json.loads(project.run("dvc", *in_study, "status", "--json").splitlines()[-1]))

    assert stale() == {"code"}
    project.append("pdpipe/reporting/studies/__init__.py", "\n# another comment\n")
    assert stale() == {"code", "conclude"}
    project.append("pdpipe/seeds.py", "\n# another comment\n")
    assert stale() == {"code", "conclude", "measure@heun", "measure@student-2"}


def test_cache_and_remotes_are_the_roots(measured, clone_of, stages_run, tmp_path):
    """So what a study measured reaches a second clone, and is not measured there again."""
    project = measured[0]
    assert not (project.root / f"stages/{STUDY}/.dvc/cache").exists()
    in_study = ("--cd", f"stages/{STUDY}")
    project.run("dvc", "push")
    project.run("dvc", *in_study, "push")

    clone = clone_of(project, tmp_path / "clone")
    config = (project.root / ".dvc/config.local").read_text()
    url = (project.root.parent / "store").as_posix()
    (clone.root / ".dvc/config.local").write_text(config.replace("../../store", url))
    ran = stages_run(clone.run("pdpipe", "study", STUDY, "--pull"))
    assert ran == ["code"]
    made = (f"stages/{STUDY}/results", f"stages/{STUDY}/cost")
    assert clone.files(*made) == project.files(*made)
    used = {f"models/{name}.safetensors" for name in ("extractor", "teacher", "student-2")}
    assert used <= {*clone.files("models")} < {*project.files("models")}
    assert "config.local" not in clone.run("git", "status", "--porcelain", "--untracked-files=all")


def test_what_cannot_work_in_a_study_is_a_sentence(measured, copy_of, tmp_path):
    project = copy_of(measured[0], tmp_path / "project")
    said = project.run("pdpipe", "study", "baseline", fails=True)
    assert said == "error: there is no study 'baseline': did you mean 'baselines'?\n"

    said = project.run("bash", "-c", f"cd stages/{STUDY} && pdpipe study {STUDY}", fails=True)
    assert said == ("error: there are no studies in stages/ here: change to the project's folder\n")

    experiment = ("exp", "run", "--temp", "-S", "title=Another")
    said = project.run("dvc", "--cd", f"stages/{STUDY}", *experiment, fails=True)
    assert "error: an experiment of a study needs the chain's files, which git does not" in said

    other = {**TINY["arms"]["heun"], "model": "stages/stochastic/models/stochastic-2.safetensors"}
    with_study(project, "mine", {**TINY, "arms": {"other": other}})
    said = project.run("pdpipe", "study", "mine", fails=True)
    assert said == (
        f"error: study mine uses {other['model']}, which is not there: run `pdpipe study "
        "stochastic` first\n"
    )

    (project.root / "stages/mine/dvc.yaml").write_text("stages: {}\n")
    shutil.copy(project.root / PARAMS, project.root / "stages/mine")
    said = project.run("pdpipe", "study", "mine", fails=True)
    assert said.startswith("error: stages/mine/dvc.yaml is of an older version")


STOCHASTIC = "stochastic"
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


def test_a_study_trains_its_own_students(chain, copy_of, stages_run, tmp_path):
    project = with_study(copy_of(chain.project, tmp_path / "project"), STOCHASTIC, TRAINED)
    params = project.root / "stages/stochastic/params.yaml"
    ran = stages_run(project.run("pdpipe", "study", STOCHASTIC, PDPIPE_TRACKING="on"))
    assert ran == ["code", "distil@stochastic-2", "measure@stochastic-2", "conclude"]
    # Its runs are in the project's MLflow store, so nothing of that is here.
    own = {path.name for path in (project.root / "stages/stochastic").iterdir()}
    assert own == {
        ".dvc", "code", "cost", "dvc.lock", "dvc.yaml", "models", "params.yaml",
        "results", "table.csv", "training",
    }  # fmt: skip
    assert project.repro() == ["report"]
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
    assert not project.status()  # the chain does not care


ENCODER = "encoder"
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


def test_a_study_of_encoders_shows_errors_and_images(chain, copy_of, stages_run, tmp_path):
    project = with_study(copy_of(chain.project, tmp_path / "project"), ENCODER, ENCODERS)
    ran = stages_run(project.run("pdpipe", "study", ENCODER))
    assert ran == ["code", "distil@encoder-2", "reconstruct", "conclude"]
    assert project.repro() == ["report"]

    entry = project.json("stages/studies.json")["encoder"]
    assert {"data/shards", "models/student-4.safetensors", "extractor"} <= {*entry["made_from"]}
    page = (project.root / "reports/index.html").read_text(encoding="utf-8")
    assert "the error of reconstruction is" in page
    assert "Style transfer, 3 → 8, w = 2: the same images, encoded by encoder-2, 2 steps" in page
    for name in ("study_encoder", "study_encoder_images"):
        assert (project.root / f"reports/figures/{name}.png").is_file()
    kept = project.run("git", "status", "--porcelain", "--untracked-files=all")
    assert "stages/encoder/images.safetensors" in kept
    assert "reconstruction.json" not in kept
    assert "encoder-2.safetensors" not in kept
