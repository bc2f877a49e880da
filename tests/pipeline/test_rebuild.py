"""A stranger's clone, with nothing but what git holds, rebuilt through two kills and tracked."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from conftest import Chain, Project

pytestmark = pytest.mark.slow
TRACKED = {"PDPIPE_TRACKING": "on", "PDPIPE_SNAPSHOT_SECONDS": "0.01"}
PATIENCE = 120.0  # seconds
STAGES = {
    "prepare", "extractor", "reference", "teacher", "guide", "halve@2", "halve@1", "rungs",
    "evaluate-teacher", "evaluate@2", "evaluate@1", "report",
}  # fmt: skip


@dataclass(frozen=True)
class Rebuilt:
    """The clone when it is done, and what each attempt at it printed."""

    project: Project
    killed: str  # the trainer was killed
    orphaned: str  # DVC was killed, and its trainer went on
    output: str  # of the attempt that waited for that, and succeeded


@pytest.fixture(scope="module")
def rebuilt(
    chain: Chain,
    clone_of: Callable[[Project, Path], Project],
    tmp_path_factory: pytest.TempPathFactory,
) -> Rebuilt:
    """First the teacher's trainer is killed; then `dvc` is, which leaves the trainer to itself."""
    clone = clone_of(chain.project, tmp_path_factory.mktemp("rebuilt") / "clone")
    assert not (clone.root / "models/teacher.safetensors").exists()

    dvc = clone.start("dvc", "repro", **TRACKED)
    os.kill(trainer_after_snapshot(clone, dvc, None), signal.SIGKILL)
    killed, _ = dvc.communicate()
    assert dvc.returncode != 0

    dvc = clone.start("dvc", "repro", **TRACKED)
    orphan = trainer_after_snapshot(clone, dvc, snapshot(clone))
    os.kill(orphan, signal.SIGSTOP)  # it keeps its lock for as long as this takes
    try:
        dvc.kill()
        dvc.wait()
        third = clone.start("dvc", "repro", PDPIPE_TRACKING="on")
        assert third.stdout is not None
        said = ""
        while "waiting for it" not in said and (line := third.stdout.readline()):
            said += line
    finally:
        os.kill(orphan, signal.SIGCONT)
    orphaned, _ = dvc.communicate()
    rest, _ = third.communicate()
    assert third.returncode == 0, said + rest
    return Rebuilt(clone, killed, orphaned, said + rest)


def snapshot(project: Project) -> int | None:
    """What tells the teacher's snapshots apart; None while there is none."""
    try:
        (state,) = project.root.glob(".pdpipe/snapshots/teacher/*/state.pt")
        return state.stat().st_ino
    except (ValueError, FileNotFoundError):
        return None


def trainer_after_snapshot(project: Project, dvc: subprocess.Popen[str], before: int | None) -> int:
    """The process that trains the teacher, once it has written another snapshot than `before`."""
    started = time.monotonic()
    while time.monotonic() - started < PATIENCE and dvc.poll() is None:
        if snapshot(project) not in (before, None):
            return trainer(project)
        time.sleep(0.002)
    raise AssertionError("the teacher wrote no snapshot")


def trainer(project: Project) -> int:
    """The id of the process that runs `pdpipe teacher` in the project."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"teacher" in words and (folder / "cwd").samefile(project.root):
                return int(folder.name)
        except OSError:  # it has ended, or is not ours
            continue
    raise AssertionError("nobody trains the teacher")


def test_the_killed_stage_fails_and_leaves_no_half_output(rebuilt: Rebuilt) -> None:
    assert "failed to reproduce 'teacher'" in rebuilt.killed
    assert "Traceback" not in rebuilt.killed
    assert not list(rebuilt.project.root.glob("models/.*.tmp"))


def test_a_second_run_waits_for_the_orphan(rebuilt: Rebuilt) -> None:
    (line,) = re.findall(r"^teacher: process \d+ on .* waiting for it, .*$", rebuilt.output, re.M)
    assert re.search(r"to stop it, type `kill \d+`$", line)
    assert "Traceback" not in rebuilt.output


def test_the_teacher_goes_on_from_its_snapshot_and_is_then_taken(rebuilt: Rebuilt) -> None:
    """By the orphan, whose outputs DVC deletes when it runs the stage again."""
    (update,) = re.findall(r"^teacher: going on from update (\d+)$", rebuilt.orphaned, re.MULTILINE)
    assert 10 <= int(update) < 120
    assert "since the snapshot" not in rebuilt.orphaned
    assert "teacher: already trained, taken from .pdpipe/snapshots/teacher/" in rebuilt.output
    assert "going on" not in rebuilt.output
    assert not list(rebuilt.project.root.glob(".pdpipe/snapshots/*/*"))


def test_the_cost_is_of_the_training_not_of_taking_it(rebuilt: Rebuilt) -> None:
    cost = rebuilt.project.json("results/cost/teacher.json")
    (record,) = rebuilt.project.root.glob(".pdpipe/tracking/teacher/*/metrics.jsonl")
    times = [json.loads(line)["time"] / 1000 for line in record.read_text().splitlines()]
    assert cost["updates"] == 120
    assert 0.2 < cost["seconds"] <= times[-1] - times[0] + 60


def test_an_evaluation_that_dvc_did_not_record_measures_nothing_again(
    rebuilt: Rebuilt, copy_of: Callable[[Project, Path], Project], tmp_path: Path
) -> None:
    """As if all had been killed just before dvc.lock was written."""
    project = copy_of(rebuilt.project, tmp_path / "project")
    cost, lock = "results/cost/evaluate-student-1.json", project.root / "dvc.lock"
    before, cost_before = project.files("results/metrics", "results/samples"), project.json(cost)
    locked = yaml.safe_load(lock.read_text(encoding="utf-8"))
    del locked["stages"]["evaluate@1"]
    lock.write_text(yaml.safe_dump(locked), encoding="utf-8")
    assert project.repro("--no-run-cache", "evaluate@1") == ["evaluate@1"]
    assert project.files("results/metrics", "results/samples") == before
    assert project.json(cost)["cells"] == cost_before["cells"]  # with their seconds
    made = sum(cell["seconds"] for cell in cost_before["cells"])
    assert project.json(cost)["seconds"] > made


def test_models_and_metrics_have_the_bits_of_the_unbroken_run(
    chain: Chain, rebuilt: Rebuilt
) -> None:
    made = rebuilt.project.files("models", "results/metrics", "results/samples")
    assert made == chain.project.files("models", "results/metrics", "results/samples")
    report = "reports/metrics.json"
    assert rebuilt.project.json(report) == chain.project.json(report)


def test_of_what_git_holds_only_the_times_differ(rebuilt: Rebuilt) -> None:
    lines = rebuilt.project.run("git", "status", "--porcelain").splitlines()
    changed = {line[3:] for line in lines}
    assert changed <= {"dvc.lock"}
    assert rebuilt.project.repro() == []


@dataclass(frozen=True)
class Store:
    """MLflow's database, read without MLflow."""

    path: Path

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with sqlite3.connect(f"file:{self.path}?mode=ro", uri=True) as connection:
            found = connection.execute(query).fetchall()
        connection.close()
        return found

    def tags(self) -> dict[str, dict[str, str]]:
        """{run id: its tags}."""
        found: dict[str, dict[str, str]] = {}
        for run, key, value in self.rows("SELECT run_uuid, key, value FROM tags"):
            found.setdefault(str(run), {})[str(key)] = str(value)
        return found

    def finished(self) -> dict[str, dict[str, str]]:
        """{run id: its tags} of the runs that ended well."""
        ended = {r for (r,) in self.rows("SELECT run_uuid FROM runs WHERE status = 'FINISHED'")}
        return {run: tags for run, tags in self.tags().items() if run in ended}


@pytest.fixture
def store(rebuilt: Rebuilt) -> Store:
    return Store(rebuilt.project.root / "mlflow.db")


def test_every_stage_is_a_run_below_the_one_of_the_chain(rebuilt: Rebuilt, store: Store) -> None:
    runs = store.finished()
    (parent,) = (run for run, tags in runs.items() if "pdpipe.chain" in tags)
    stages = {run: tags for run, tags in runs.items() if run != parent}
    assert Counter(tags["pdpipe.stage"] for tags in stages.values()) == Counter(STAGES)
    commit = rebuilt.project.run("git", "rev-parse", "HEAD").strip()
    for run, tags in stages.items():
        assert tags["mlflow.parentRunId"] == parent
        assert runs[parent][f"pdpipe.run.{tags['pdpipe.stage'].replace('@', '-')}"] == run
        assert tags["mlflow.source.git.commit"] == commit
        assert tags["pdpipe.git_dirty"] == "false"
        assert tags["dvc.stage"] == tags["pdpipe.stage"]
        assert tags["pdpipe.device"] == "cpu"
        assert tags["pdpipe.version.torch"]


def test_a_resumed_run_has_every_point_once(store: Store) -> None:
    doubled = "SELECT key FROM metrics GROUP BY run_uuid, key, step HAVING count(*) > 1"
    assert store.rows(doubled) == []
    teacher = [r for r, tags in store.tags().items() if tags.get("pdpipe.stage") == "teacher"]
    (run,) = teacher  # the killed attempts and the last are one run
    steps = store.rows(f"SELECT step FROM metrics WHERE run_uuid = '{run}' AND key = 'loss'")
    logged = sorted(step for (step,) in steps)
    assert len(set(logged)) == len(logged)
    assert {10, 120} <= set(logged)
    assert max(b - a for a, b in pairwise(logged)) <= 10  # less where the trainer was held up


def test_the_chains_run_has_the_params_and_the_headline(rebuilt: Rebuilt, store: Store) -> None:
    (parent,) = (run for run, tags in store.finished().items() if "pdpipe.chain" in tags)
    metrics = dict(store.rows(f"SELECT key, value FROM metrics WHERE run_uuid = '{parent}'"))
    found = rebuilt.project.json("reports/metrics.json")
    shown = {str(key).rpartition(" - ")[2]: v for key, v in metrics.items() if " at w_" in str(key)}
    models = ["teacher", *(f"student-{n}" for n in rebuilt.project.params()["ladder"])]
    assert shown == {name: found["fid_" + name.removeprefix("student-")] for name in models}
    params = dict(store.rows(f"SELECT key, value FROM params WHERE run_uuid = '{parent}'"))
    assert params["ladder.1.updates"] == "10"
    assert not [key for key in params if str(key).startswith("runtime")]
    assert "| evaluate@1 |" in store.tags()[parent]["mlflow.note.content"]


def test_no_run_id_enters_an_output(rebuilt: Rebuilt, store: Store) -> None:
    ids = [run.encode() for run in store.tags()]
    ids += [
        tags["pdpipe.attempt"].encode()
        for tags in store.tags().values()
        if "pdpipe.attempt" in tags
    ]
    assert len(ids) > 2 * len(STAGES)
    outputs = rebuilt.project.files("data/shards", "models", "results", "reports")
    outputs["dvc.lock"] = (rebuilt.project.root / "dvc.lock").read_bytes()
    for path, content in outputs.items():
        assert not [run for run in ids if run in content], path
