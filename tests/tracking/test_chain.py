"""The chain's parent run: one for a chain, over the stage runs that made its outputs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pdpipe.tracking import Chain, open_tracker
from pdpipe.tracking.server import ServerAddress, project_root
from pdpipe.tracking.sync import Sync

if TYPE_CHECKING:
    from conftest import Store

PARAMS = {"seed": 0, "teacher": {"updates": 10}}


def run_stage(store: Store, stage: str, sha256: str) -> None:
    with store.stage(stage, {}) as tracker:
        tracker.finish(outputs={f"models/{stage}.safetensors": sha256})


def test_chains_share_the_stages_they_have_in_common(store: Store, project: Path) -> None:
    """Both name the teacher's run; it stays below the chain that came first."""
    run_stage(store, "teacher", "a" * 64)
    run_stage(store, "halve@4", "b" * 64)
    run_stage(store, "halve@4", "c" * 64)
    report = project / "report.html"
    report.write_text("<html>")
    for name, student in (("first", "b" * 64), ("second", "c" * 64)):
        stages = {"prepare": "d" * 64, "teacher": "a" * 64, "halve@4": student}
        for _ in range(2):
            figures, table = {"fid/student-4": 0.8}, "| fid/student-4 | 0.8 |"
            assert store.publish(Chain(name, PARAMS, stages, figures, [report], table=table))
    (first,), (second,) = store.runs(chain="first"), store.runs(chain="second")
    (teacher,) = store.runs(stage="teacher")
    with_b, with_c = store.runs(stage="halve@4")
    assert teacher.data.tags["mlflow.parentRunId"] == first.info.run_id
    assert with_b.data.tags["mlflow.parentRunId"] == first.info.run_id
    assert with_c.data.tags["mlflow.parentRunId"] == second.info.run_id
    assert second.data.tags["pdpipe.run.teacher"] == teacher.info.run_id
    assert second.data.tags["pdpipe.run.halve-4"] == with_c.info.run_id
    assert second.info.status == "FINISHED"
    assert second.data.params == {"seed": "0", "teacher.updates": "10"}
    assert store.points(second, "fid/student-4") == [(0, 0.8)]
    (artifact,) = store.client().list_artifacts(second.info.run_id)
    assert artifact.path == "report.html"
    note = second.data.tags["mlflow.note.content"]
    assert "| fid/student-4 | 0.8 |" in note
    assert f"[{with_c.info.run_id[:8]}]" in note
    assert "| prepare | none here" in note
    assert not any("prepare" in key for key in second.data.tags)


def test_the_newest_finished_run_of_the_output_is_taken(store: Store) -> None:
    run_stage(store, "teacher", "a" * 64)
    run_stage(store, "teacher", "a" * 64)
    with store.stage("teacher", {}) as tracker:
        tracker.log(1, {"loss": 1.0})
        tracker.finish("FAILED", outputs={"models/teacher.safetensors": "a" * 64})
    assert store.publish(Chain("chain", {}, {"teacher": "a" * 64}, {}))
    _, newest, failed = store.runs(stage="teacher")
    assert failed.info.status == "FAILED"
    (parent,) = store.runs(chain="chain")
    assert parent.data.tags["pdpipe.run.teacher"] == newest.info.run_id


def test_the_note_shows_artifacts(store: Store, project: Path) -> None:
    (project / "reports").mkdir()
    (project / "reports/grid.png").write_bytes(b"png")
    table = "[Report](artifact:reports/index.html) ![Grid](artifact:reports/grid.png)"
    assert store.publish(Chain("chain", PARAMS, {}, {}, [project / "reports"], table=table))
    (parent,) = store.runs(chain="chain")
    run_id, experiment = parent.info.run_id, parent.info.experiment_id
    assert parent.data.tags["mlflow.note.content"].startswith(
        f"[Report](#/experiments/{experiment}/runs/{run_id}/artifacts/reports/index.html) "
        f"![Grid](get-artifact?path=reports/grid.png&run_uuid={run_id})"
    )


def test_changed_figures_take_the_place_of_old_ones(store: Store) -> None:
    for value in (0.9, 0.8, 0.8):
        assert store.publish(Chain("chain", PARAMS, {}, {"fid": value}, table=f"FID is {value}"))
    (parent,) = store.runs(chain="chain")
    assert parent.data.metrics == {"fid": 0.8}
    assert store.points(parent, "fid") == [(0, 0.8), (0, 0.9)]
    assert parent.data.tags["mlflow.note.content"].startswith("FID is 0.8")


def test_stages_show_below_their_chain_before_any_report(store: Store) -> None:
    """Also a stage that fails, and one that runs again after the report."""
    with store.stage("teacher", {}, chain="chain") as tracker:
        tracker.finish(outputs={"models/teacher.safetensors": "a" * 64})
    (parent,) = store.runs(chain="chain")
    assert parent.info.status == "SCHEDULED"  # no stage of it is at work
    assert parent.data.tags["mlflow.note.content"].startswith("Not finished")
    with store.stage("report", {}, chain="chain") as tracker:
        tracker.finish("FAILED")
    assert store.publish(Chain("chain", PARAMS, {"teacher": "a" * 64}, {"fid": 0.8}))
    with store.stage("evaluate@1", {}, chain="chain") as tracker:
        tracker.finish(outputs={"results/metrics/student-1.json": "b" * 64})
    (finished,) = store.runs(chain="chain")
    assert finished.info.status == "FINISHED"
    assert store.publish(Chain("chain", PARAMS, {"teacher": "a" * 64}, {"fid": 0.8}))
    (parent,) = store.runs(chain="chain")
    assert parent.info.end_time == finished.info.end_time
    below = [run for run in store.runs() if run.info.run_id != parent.info.run_id]
    assert {run.info.run_name for run in below} == {"teacher", "report", "evaluate@1"}
    assert {run.data.tags["mlflow.parentRunId"] for run in below} == {parent.info.run_id}


def test_a_run_from_before_it_knew_its_chain_is_hung_below_it(store: Store) -> None:
    run_stage(store, "prepare", "a" * 64)
    assert store.publish(Chain("chain", PARAMS, {"prepare": "a" * 64}, {}))
    (parent,), (prepare,) = store.runs(chain="chain"), store.runs(stage="prepare")
    assert prepare.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_curves_have_their_steps_and_a_second_report_adds_no_points(store: Store) -> None:
    for last in (0.9, 0.9, 0.8):
        curves = {"FID by sampling steps/student": {4: 0.3, 1: last}}
        assert store.publish(Chain("chain", PARAMS, {}, {}, curves=curves))
    (parent,) = store.runs(chain="chain")
    expected = [(1, 0.8), (1, 0.9), (4, 0.3)]
    assert store.points(parent, "FID by sampling steps/student") == expected


def test_the_store_is_the_projects_in_an_experiment_and_in_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC names the project of an experiment's copy, and the folder of a study's stage."""
    copy = tmp_path / ".dvc/tmp/exps/tmpabc"
    copy.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert project_root() == tmp_path
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert project_root() == tmp_path
    monkeypatch.chdir(copy)
    assert project_root() == tmp_path
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "stages/naive"))
    assert project_root() == tmp_path


def test_reports_at_once_make_one_parent(store: Store, project: Path) -> None:
    """As when DVC runs several experiments at once, each with an uploader."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PDPIPE_TRACKING", "off")
        for _ in range(8):
            with open_tracker("report", {}) as tracker:
                tracker.finish(chain=Chain("chain", PARAMS, {}, {"fid": 0.8}))

    def sync() -> None:
        Sync(ServerAddress(store.uri, store.experiment)).send()

    threads = [threading.Thread(target=sync) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (parent,) = store.runs(chain="chain")
    assert store.points(parent, "fid") == [(0, 0.8)]
    assert len(store.runs(stage="report")) == 8
