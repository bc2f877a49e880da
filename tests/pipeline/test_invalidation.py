"""What runs again after a change: exactly what the change can alter, shown by running it."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from conftest import Chain, Project

TRAINING = {"extractor", "teacher", "guide", "halve@2", "halve@1"}
EVALUATING = {"rungs", "evaluate-teacher", "evaluate@2", "evaluate@1"}
AFTER_TEACHER = {"teacher", "guide", "halve@2", "halve@1", *EVALUATING, "report"}
RESULTS = ("models", "results", "reports", "data/shards")
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Rerun:
    """A copy of the chain with one setting changed, and the stages that ran for it."""

    project: Project
    ran: list[str]


@pytest.fixture(scope="module")
def reruns(
    chain: Chain,
    copy_of: Callable[[Project, Path], Project],
    stages_run: Callable[[str], list[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Rerun]:
    """A copy of the chain for each change, run side by side; the last rung as an experiment."""
    folder = tmp_path_factory.mktemp("reruns")

    def run(name: str, change: tuple[str, object] | None, *command: str) -> Rerun:
        project = copy_of(chain.project, folder / name)
        if change:
            project.set(*change)
        return Rerun(project, stages_run(project.run("dvc", *command)))

    experiment = ("exp", "run", "--name", "longer", "-S", "ladder.1.updates=12")
    with ThreadPoolExecutor(max_workers=2) as pool:
        started = {
            "teacher": pool.submit(run, "teacher", ("teacher.learning_rate", 1.5e-3), "repro"),
            "evaluation": pool.submit(run, "evaluation", ("evaluation.num_samples", 30), "repro"),
            "rung": pool.submit(run, "rung", None, *experiment),
        }
    return {name: future.result() for name, future in started.items()}


def test_the_last_rungs_updates_rerun_it_its_evaluation_and_the_report(
    reruns: dict[str, Rerun],
) -> None:
    assert set(reruns["rung"].ran) == {"check", "halve@1", "rungs", "evaluate@1", "report"}


def test_the_teachers_settings_rerun_everything_after_it(reruns: dict[str, Rerun]) -> None:
    ran = reruns["teacher"].ran
    assert ran[0] == "check"
    assert sorted(ran[1:]) == sorted(AFTER_TEACHER)


def test_the_evaluations_settings_never_train(chain: Chain, reruns: dict[str, Rerun]) -> None:
    assert set(reruns["evaluation"].ran) == {"check"} | EVALUATING | {"report"}
    assert reruns["evaluation"].project.files("models") == chain.project.files("models")


def test_dvc_shows_the_differences(reruns: dict[str, Rerun]) -> None:
    project = reruns["rung"].project
    metrics = project.run("dvc", "metrics", "diff")
    assert "fid_1" in metrics
    assert "fid_2" not in metrics  # it did not change
    params = project.run("dvc", "params", "diff")
    assert ["params.yaml", "ladder.1.updates", "10", "12"] in [
        line.split() for line in params.splitlines()
    ]


def test_the_experiment_is_listed_with_its_setting_and_its_figures(
    reruns: dict[str, Rerun], read_csv: Callable[[str], list[dict[str, str]]]
) -> None:
    project = reruns["rung"].project
    assert list(project.params()["ladder"]) == ["2", "1"]  # the keys are still text
    rows = read_csv(project.run("dvc", "exp", "show", "--csv"))
    (longer,) = (row for row in rows if row["Experiment"] == "longer")
    (workspace,) = (row for row in rows if row["rev"] == "workspace")
    figures = project.json("reports/metrics.json")
    for row in (longer, workspace):
        assert row["ladder.1.updates"] == "12"
        assert float(row["fid_1"]) == pytest.approx(figures["fid_1"], rel=1e-4)


def test_going_back_restores_from_the_run_cache(
    chain: Chain,
    reruns: dict[str, Rerun],
    copy_of: Callable[[Project, Path], Project],
    tmp_path: Path,
) -> None:
    """Outputs that DVC caches and those that git keeps; only the report is written anew."""
    project = copy_of(reruns["teacher"].project, tmp_path / "project")
    project.set("teacher.learning_rate", chain.project.params()["teacher"]["learning_rate"])
    assert project.repro() == ["check", "report"]
    assert project.files(*RESULTS) == chain.project.files(*RESULTS)
    assert not project.status()


@pytest.mark.parametrize("hash_seed", ["0", "1", "2", "3"])
def test_a_wrong_setting_of_a_finished_chain_is_said_before_dvc_looks_for_files(
    project: Project, hash_seed: str
) -> None:
    """Beside many other stages DVC orders ours by hash, but for what they depend on."""
    others = {f"other{i}": {"cmd": "true", "outs": [f"other{i}"]} for i in range(60)}
    (project.root / "others").mkdir()
    (project.root / "others/dvc.yaml").write_text(json.dumps({"stages": others}), encoding="utf-8")
    project.set("ladder.1.from", "3")
    output = project.run("dvc", "repro", fails=True, PYTHONHASHSEED=hash_seed)
    assert 'error: params.yaml: ladder."1".from is "3", which is neither' in output
    assert "No such file" not in output


# A line added to a file of pdpipe/, and what becomes stale.
STALE = {
    "data/loading.py": {"prepare", "reference"} | TRAINING | EVALUATING,
    "sources/source.py": {"prepare"},
    "sources/folder.py": {"prepare"},
    "diffusion/steps.py": TRAINING | EVALUATING | {"report"},
    "networks/unet.py": {"reference"} | TRAINING | EVALUATING,
    "networks/dit.py": {"reference"} | TRAINING | EVALUATING,
    "models/model.py": {"reference"} | TRAINING | EVALUATING,
    "seeds.py": TRAINING | EVALUATING,
    "training/loop.py": TRAINING,
    "plan.py": TRAINING | {"rungs"},
    "methods/extractor.py": {"extractor"},
    "methods/teacher.py": {"teacher"},
    "methods/guide.py": {"guide", "rungs"},
    "methods/halve.py": {"halve@2", "halve@1", "rungs"},
    "methods/method.py": {"guide", "halve@2", "halve@1", "rungs"},
    "methods/naive.py": set(),
    "registry.py": set(),
    "pipeline.py": set(),
    "studies/arms.py": set(),
    "studies/reconstruction.py": set(),
    "evaluation/measure.py": {"reference"} | EVALUATING,
    "reporting/formats.py": {"report"},
    "reporting/page.html.jinja": {"report"},
}
# `dvc status` for one file after the other, in a process that imports DVC once.
STATUSES = """
import json, sys
from pathlib import Path
from dvc.repo import Repo

def status():
    with Repo() as repo:
        return sorted(repo.status())

found = {}
for name in sys.argv[1:]:
    path = Path("pdpipe", name)
    before = path.read_bytes()
    path.write_bytes(before + b"\\n")
    found[name] = status()
    path.write_bytes(before)
print(json.dumps(found | {"nothing": status()}))
"""


@pytest.fixture(scope="module")
def stale(
    chain: Chain,
    copy_of: Callable[[Project, Path], Project],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, list[str]]:
    """What DVC calls stale for each of the changes, and in the end, when all are taken back."""
    project = copy_of(chain.project, tmp_path_factory.mktemp("stale") / "project")
    return json.loads(project.run("python", "-c", STATUSES, *STALE).splitlines()[-1])


@pytest.mark.parametrize("path", STALE)
def test_code_is_a_dependency_of_the_stages_whose_results_it_can_change(
    stale: dict[str, list[str]], path: str
) -> None:
    assert set(stale[path]) == STALE[path]
    assert stale["nothing"] == []


def test_a_change_of_code_that_changes_no_result_is_accepted_by_commit(project: Project) -> None:
    project.append("pdpipe/training/loop.py", "\n# another comment\n")
    before = project.files(*RESULTS)
    project.run("dvc", "commit", "--force")
    assert project.repro() == []
    assert project.files(*RESULTS) == before


def test_commands_tracking_runtime_settings_and_byte_code_invalidate_nothing(
    project: Project,
) -> None:
    for path in ("cli/stages.py", "tracking/server.py", "runtime.py", "progress.py"):
        project.append(f"pdpipe/{path}", "\n# another comment\n")
    elsewhere = {
        "device": "cuda:1",
        "threads": 8,
        "workers": 2,
        "precision": "bfloat16",
        "compile": True,
        "snapshot_seconds": 60.0,
        "weights": "inception.pth",
    }
    assert set(elsewhere) == set(project.params()["runtime"])
    for name, value in elsewhere.items():
        project.set(f"runtime.{name}", value)
    folder = project.root / "pdpipe/training/__pycache__"
    assert folder.is_dir()  # the stages wrote it
    (folder / "another.cpython-311.pyc").write_bytes(b"byte code")
    moved = {"PDPIPE_DEVICE": "cuda", "PDPIPE_THREADS": "4", "PDPIPE_PRECISION": "bfloat16"}
    assert project.repro(**moved) == []


def test_published_figures_are_a_matter_of_the_report_alone(project: Project) -> None:
    project.set("report.published", "cifar10")
    assert set(project.status()) == {"check", "report"}


def test_images_added_to_the_data_folder_make_prepare_stale(project: Project) -> None:
    """The digits' shards come out the same: at most the report follows, which shows the time.

    Not even that if the time is the same to the millisecond: it happens.
    """
    folder = project.root / "data/raw/cats"
    folder.mkdir(parents=True)
    project.set("data.path", "data/raw")
    assert project.repro() in (["check", "prepare", "report"], ["check", "prepare"])
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "one.png")
    assert project.repro() in (["prepare", "report"], ["prepare"])


def test_mistakes_in_a_finished_chain_are_a_sentence_and_cost_nothing(project: Project) -> None:
    """DVC deletes a stage's outputs before it runs it, and has its own words for a wrong ladder."""
    before, params = project.files(*RESULTS), project.params()
    ladder = params["ladder"]
    mistakes = [
        ({"teacher": params["teacher"] | {"udpates": 300}}, "unknown key teacher.udpates: did you"),
        ({"ladder": {"2": ladder["2"], 1: ladder["1"]}}, 'ladder key 1 must be quoted, "1"'),
        ({"ladder": ladder | {"1": ladder["1"] | {"from": "9"}}}, 'ladder."1".from is "9", which'),
    ]
    for change, said in mistakes:
        project.write_params(params | change)
        output = project.run("dvc", "repro", fails=True)
        assert f"error: params.yaml: {said}" in output
        assert "Traceback" not in output
        assert project.files(*RESULTS) == before
    project.write_params(params)
    assert project.repro() == []
    assert project.files(*RESULTS) == before


def test_a_changed_or_lost_output_is_restored_without_a_run(project: Project) -> None:
    before = project.files(*RESULTS)
    (project.root / "models/student-1.safetensors").unlink()
    (project.root / "results/metrics/teacher.json").write_text("{}")
    assert project.repro() == []
    assert project.files(*RESULTS) == before
