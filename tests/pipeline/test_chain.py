"""The chain as a whole: its rungs, its outputs, and that nothing runs twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from dvc.repo import Repo

if TYPE_CHECKING:
    from conftest import Chain, Project

ROOT = Path(__file__).parents[2]
PRESETS = sorted(path.stem for path in (ROOT / "pdpipe/presets").glob("*.yaml"))
STAGES = [
    "check", "prepare", "extractor", "reference", "teacher", "guide", "halve@2", "halve@1",
    "rungs", "evaluate-teacher", "evaluate@2", "evaluate@1", "report",
]  # fmt: skip


@pytest.fixture(scope="module")
def every_stage(unbuilt: Project) -> list[str]:
    """`<folder>/dvc.yaml:<stage>`, listed at once: a folder for each preset, one with a mistake."""
    for folder in [*PRESETS, "unquoted"]:
        (unbuilt.root / folder).mkdir()
        shutil.copy(unbuilt.root / "dvc.yaml", unbuilt.root / folder)
    for preset in PRESETS:
        shutil.copy(ROOT / f"pdpipe/presets/{preset}.yaml", unbuilt.root / preset / "params.yaml")
    params = unbuilt.params()
    params["ladder"] = {int(key): rung for key, rung in params["ladder"].items()}
    (unbuilt.root / "unquoted/params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return unbuilt.run("dvc", "stage", "list", "--all", "--name-only").split()


@pytest.mark.parametrize("preset", PRESETS)
def test_dvc_sees_every_rung_of_a_preset(every_stage: list[str], preset: str) -> None:
    params = yaml.safe_load((ROOT / f"pdpipe/presets/{preset}.yaml").read_text(encoding="utf-8"))
    assert params["ladder"]
    for stage in ("halve", "evaluate"):
        place = f"{preset}/dvc.yaml:{stage}@"
        assert sorted(name for name in every_stage if name.startswith(place)) == sorted(
            f"{place}{rung}" for rung in params["ladder"]
        )


def test_unquoted_rungs_vanish_from_dvc_and_are_an_error(
    unbuilt: Project, every_stage: list[str]
) -> None:
    assert "unquoted/dvc.yaml:guide" in every_stage
    assert not [name for name in every_stage if name.startswith("unquoted/dvc.yaml:halve")]
    shutil.copy(unbuilt.root / "unquoted/params.yaml", unbuilt.root / "params.yaml")
    output = unbuilt.run("dvc", "repro", fails=True)
    assert 'error: params.yaml: ladder key 2 must be quoted, "2"' in output
    assert not (unbuilt.root / "data/shards").exists()


@pytest.mark.slow
def test_one_command_runs_every_stage_and_makes_every_output(chain: Chain) -> None:
    root = chain.project.root
    ran = [line for line in chain.output.splitlines() if line.startswith("Running stage")]
    assert sorted(ran) == sorted(f"Running stage '{stage}':" for stage in STAGES)
    outs = [
        out["path"] for stage in chain.project.locked().values() for out in stage.get("outs", [])
    ]
    assert len(outs) > 20
    for out in outs:
        path = root / out
        assert any(path.iterdir()) if path.is_dir() else path.stat().st_size > 0, out
    for name in ("index.html", "table.md", "table.csv", "metrics.json", "figures/fid_by_steps.png"):
        assert (root / "reports" / name).stat().st_size > 0
    assert not chain.project.status()


@pytest.mark.slow
def test_a_second_repro_runs_nothing(chain: Chain) -> None:
    print(f"the second dvc repro took {chain.second_seconds:.1f} s")
    assert chain.second == []
    assert chain.second_seconds < 30


@pytest.mark.slow
def test_what_git_sees_is_the_results_and_nothing_else(chain: Chain) -> None:
    """The chain is committed: what is neither an output nor ignored would show as untracked."""
    untracked = chain.project.run("git", "status", "--porcelain", "--untracked-files=all")
    assert untracked == ""
    tracked = chain.project.run("git", "ls-files").splitlines()
    assert not [path for path in tracked if path.startswith((".pdpipe", "mlruns", "mlflow"))]
    outputs = [path for path in tracked if not path.startswith("pdpipe/")]
    assert not [path for path in outputs if path.endswith((".safetensors", ".tar"))]


@pytest.mark.slow
def test_it_was_the_copied_package_that_ran(chain: Chain) -> None:
    """Otherwise the tests that change code would prove nothing."""
    for cost in (chain.project.root / "results/cost").glob("*.json"):
        assert json.loads(cost.read_text())["machine"]["pdpipe"] == "0.0.0+copy"


@pytest.mark.slow
def test_cost_files_say_what_was_spent(chain: Chain) -> None:
    folder = chain.project.root / "results/cost"
    teacher = json.loads((folder / "teacher.json").read_text())
    assert (teacher["updates"], teacher["images_seen"]) == (120, 960)
    assert teacher["network_evaluations"] == 960
    assert teacher["machine"]["device"] == "cpu"
    guide = json.loads((folder / "student-4.json").read_text())
    assert guide["network_evaluations"] == 3 * guide["images_seen"] == 240
    evaluation = json.loads((folder / "evaluate-teacher.json").read_text())
    cells = {(c["steps"], c["w"]): c["nfe"] for c in evaluation["cells"]}
    assert cells == {(n, w): n * (1 + (w > 0)) for n in (1, 2, 4) for w in (0.0, 1.0)}
    images = {"prepare": 1797, "reference": 1797, "rungs": 50 * 2 * 4}  # w; 4 guided, 4, 2, 1 steps
    # of the rungs: the losses, each of 8 draws, by 3 evaluations in all rungs; and the images
    sampled = 50 * (4 + 8 + 2 * (4 + 2 + 1))
    evaluations = {"prepare": 0, "reference": 1797, "rungs": 3 * 3 * 8 * 216 + sampled}
    for stage in images:
        cost = json.loads((folder / f"{stage}.json").read_text())
        found = (cost["images"], cost["network_evaluations"])
        assert found == (images[stage], evaluations[stage]), stage
        assert cost["seconds"] > 0


@pytest.mark.slow
def test_metrics_hold_no_time_and_no_machine(chain: Chain) -> None:
    for path in (chain.project.root / "results/metrics").glob("*.json"):
        text = path.read_text()
        assert "seconds" not in text
        assert "machine" not in text
        assert str(chain.project.root) not in text


def test_artifacts_of_the_default_chain_are_its_outputs() -> None:
    """What `artifacts:` offers is what the default ladder makes."""
    declared = Repo(str(ROOT)).artifacts.read()["dvc.yaml"]
    params = yaml.safe_load((ROOT / "pdpipe/presets/digits.yaml").read_text(encoding="utf-8"))
    made = {
        f"models/student-{n}.safetensors" for n in (params["guide"]["steps"], *params["ladder"])
    }
    made |= {"models/teacher.safetensors", "models/extractor.safetensors"}
    offered = {artifact.path for artifact in declared.values()}
    assert offered <= made
    assert {
        f"models/{name}.safetensors" for name in ("teacher", "student-64", "student-1")
    } <= offered
