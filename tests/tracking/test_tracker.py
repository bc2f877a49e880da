"""What a run says on the server and in the local record, however it ends."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from pdpipe.errors import ParamsError
from pdpipe.tracking import open_tracker, sync_project
from pdpipe.tracking.local import RunRecord
from pdpipe.tracking.machine import MachineLoad

if TYPE_CHECKING:
    from conftest import LocalRecord, Store

SHA = "cd" * 32


def test_a_run_says_what_it_is_made_of_and_what_it_made(
    store: Store, local: LocalRecord, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_STAGE", "studies/x/dvc.yaml:halve@4")
    params = {"halve": {"updates": 20, "betas": [0.9, 0.99]}, "ladder": {"4": {"from": "8"}}}
    with store.stage("halve@4", params, {"pdpipe.device": "cpu"}, chain="c1") as tracker:
        for step in range(1, 4):
            tracker.log(step, {"loss": 0.5**step})
        tracker.finish(
            outputs={"models/student-4.safetensors": SHA, "results/cost/student-4.json": "ef" * 32},
            metrics={"seconds": 1.5},
        )
    (run,) = store.runs(stage="halve@4")
    assert run.info.run_name == "halve@4"
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "halve.updates": "20",
        "halve.betas": "[0.9, 0.99]",
        "ladder.4.from": "8",
    }
    tags = run.data.tags
    assert tags["pdpipe.stage"] == "halve@4"
    assert tags["dvc.stage"] == "studies/x/dvc.yaml:halve@4"
    assert tags["pdpipe.device"] == "cpu"
    assert tags["pdpipe.first_chain"] == "c1"
    assert tags["pdpipe.output_sha256"] == SHA
    assert tags["mlflow.note.content"].startswith("Made `models/student-4.safetensors`, ")
    assert tags["pdpipe.output.results/cost/student-4.json"] == "ef" * 32
    assert {"pdpipe.version.torch", "pdpipe.version.python", "pdpipe.version.pdpipe"} <= set(tags)
    assert store.points(run, "loss") == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert store.points(run, "seconds") == [(0, 1.5)]
    record = local.run("halve@4")
    assert local.confirmed("halve@4")["run_id"] == run.info.run_id
    assert record["params"] == run.data.params
    assert record["tags"].items() <= tags.items()


def test_every_kind_of_ending_has_its_status(store: Store, local: LocalRecord) -> None:
    def stage(name: str, error: BaseException | None) -> None:
        with store.stage(name, {}) as tracker:
            tracker.log(1, {"loss": 1.0})
            tracker.publish()
            tracker.log(2, {"loss": 2.0})
            if error is not None:
                raise error

    stage("whole", None)
    stage_errors = {
        "broken": ValueError("loss is nan"),
        "interrupted": KeyboardInterrupt(),
        "terminated": SystemExit(143),
        "refused": SystemExit(2),
    }
    for name, error in stage_errors.items():
        with pytest.raises(type(error)):
            stage(name, error)
    statuses = {run.info.run_name: run.info.status for run in store.runs()}
    assert statuses == {
        "whole": "FINISHED",
        "broken": "FAILED",
        "interrupted": "KILLED",
        "terminated": "KILLED",
        "refused": "FAILED",
    }
    assert statuses == {name: local.run(name)["status"] for name in statuses}
    (broken,) = store.runs(stage="broken")
    assert broken.data.tags["pdpipe.error"] == "ValueError: loss is nan"
    assert store.points(broken, "loss") == [(1, 1.0), (2, 2.0)]


def test_a_failed_run_that_goes_on_is_one_finished_run(store: Store) -> None:
    """The points after the snapshot are on the server already; computed again, they stay single."""
    states = []

    def fail_after_the_snapshot() -> None:
        with store.stage("teacher", {"a": 1}) as tracker:
            tracker.log(1, {"loss": 1.0})
            states.append(tracker.state_dict())
            tracker.publish()
            tracker.log(2, {"loss": 2.0})
            raise ValueError("disk full")

    with pytest.raises(ValueError, match="disk full"):
        fail_after_the_snapshot()
    with store.stage("teacher", {"a": 1}) as tracker:
        tracker.load_state_dict(states[0])
        tracker.log(2, {"loss": 2.0})
        tracker.log(3, {"loss": 3.0})
    (run,) = store.runs()
    assert run.info.status == "FINISHED"
    assert "pdpipe.error" not in run.data.tags
    assert run.data.tags["pdpipe.resumed_after_step"] == "1"
    assert store.points(run, "loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_values_that_are_not_finite_arrive(store: Store, local: LocalRecord) -> None:
    with store.stage("teacher", {}) as tracker:
        tracker.log(1, {"loss": math.nan, "rate": math.inf})
        tracker.finish(metrics={"final": -math.inf})
    (run,) = store.runs()
    assert math.isnan(run.data.metrics["loss"])
    assert run.data.metrics["rate"] > 1e300
    (point,) = local.points()
    assert math.isnan(float(point["loss"]))
    assert float(point["rate"]) == math.inf
    assert float(local.run()["metrics"]["final"]) == -math.inf


def test_more_than_mlflow_takes_at_once(store: Store) -> None:
    """Above 1000 metrics or 100 params a call, and 6000 characters a value, MLflow refuses."""
    params = {"many": {f"p{i}": i for i in range(250)}, "long": "x" * 10_000}
    with store.stage("teacher", params) as tracker:
        for step in range(1500):
            tracker.log(step, {"loss": float(step), "fid@4 (w=0.3)": 1.0})
    (run,) = store.runs()
    assert len(run.data.params) == 251
    assert run.data.params["long"].startswith("xxx")
    assert store.points(run, "loss") == [(step, float(step)) for step in range(1500)]
    assert len(store.points(run, "fid-4 -w-0.3-")) == 1500


def test_off_leaves_the_local_record_alone(
    store: Store, local: LocalRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PDPIPE_TRACKING", "off")
    with open_tracker("teacher", {}) as tracker:
        tracker.log(1, {"loss": 1.0})
    assert store.runs() == []
    assert [point["loss"] for point in local.points()] == [1.0]
    monkeypatch.setenv("PDPIPE_TRACKING", "of")
    with pytest.raises(ParamsError, match="PDPIPE_TRACKING is 'of': set it to on or off"):
        open_tracker("teacher", {})


def test_a_run_names_what_is_special_and_its_data_once(store: Store) -> None:
    states = []
    for _ in range(2):
        with store.stage(
            "teacher", {}, chain="c9", name="teacher · updates=3", chain_name="digits c9",
            data=("digits", "ab" * 32),
        ) as tracker:  # fmt: skip
            if states:
                tracker.load_state_dict(states[0])
            else:
                states.append(tracker.state_dict())
            tracker.log(1, {"loss": 1.0})
    (chain,), (run,) = store.runs(chain="c9"), store.runs(stage="teacher")
    assert (chain.info.run_name, run.info.run_name) == ("digits c9", "teacher · updates=3")
    (found,) = run.inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("digits", ("ab" * 32)[:36])


def test_images_are_there_once_at_their_steps(store: Store) -> None:
    with store.stage("evaluate@4", {}) as tracker:
        for step in (4, 8):
            tracker.log_image(step, "samples/w_0.3", Image.new("L", (30, 20), step))
    sync_project(everything=True)
    (run,) = store.runs()
    found = [Path(f.path).name for f in store.client().list_artifacts(run.info.run_id, "images")]
    originals = sorted(name for name in found if name.endswith(".png"))
    assert [name.split("+timestamp")[0] for name in originals] == [
        "samples~w_0.3+step+4",
        "samples~w_0.3+step+8",
    ]
    assert len(found) == 4, "and a small copy of each, as MLflow makes it"
    path = store.client().download_artifacts(run.info.run_id, f"images/{originals[0]}")
    with Image.open(path) as image:
        assert (image.size, image.getpixel((0, 0))) == ((30, 20), 4)


@pytest.mark.parametrize("wanted", ["true", "false"])
def test_the_load_of_the_machine_is_part_of_the_record(
    store: Store, local: LocalRecord, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.01")
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", wanted)
    with store.stage("teacher", {}) as tracker:
        tracker.log(1, {"loss": 1.0})
        machine = MachineLoad(store.uri)
        for _ in range(3):
            time.sleep(0.02)
            machine.sample(RunRecord(local.latest()))
    (run,) = store.runs()
    known = [name for name in run.data.metrics if name.startswith("system/")]
    assert bool(known) is (wanted == "true")
    for name in known:
        assert len(store.points(run, name)) == 3
    assert ("system/cpu_utilization_percentage" in known) is (wanted == "true")
