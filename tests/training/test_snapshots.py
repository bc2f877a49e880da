"""Snapshots: found by their key, refused when damaged, kept until the result is recorded."""

from __future__ import annotations

import io
import os
import pickle
import runpy
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from pdpipe.data import ImageSet
from pdpipe.files import read_sealed, write_sealed
from pdpipe.plan import Batch, Optimization
from pdpipe.training.job import Job
from pdpipe.training.loop import train
from pdpipe.training.snapshots import KEEP_SECONDS, Snapshots, forget_recorded

if TYPE_CHECKING:
    from conftest import MakeJob

HELPERS = runpy.run_path(str(Path(__file__).with_name("stages_of_training.py")))
make_plan = HELPERS["make_plan"]

Run = Callable[..., list[Tensor]]


class Stop(Exception):
    """As good as a kill for what is on the disk."""


@pytest.fixture
def run(settings: Callable[..., Optimization], digits: ImageSet) -> Run:
    """Train a small network; `stop` ends it within that update. Returns the averaged weights.

    What is kept of the finished training goes, unless `keep`.
    """

    def train_it(job: Job, stop: int | None = None, keep: bool = False) -> list[Tensor]:
        torch.manual_seed(3)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.3), nn.Linear(16, 10))
        updates = 0

        def objective(module: nn.Module, batch: Batch) -> Tensor:
            nonlocal updates
            updates += 1
            if updates == stop:
                raise Stop
            logits: Tensor = module(batch.x + batch.uniform().float() * batch.noise())
            return nn.functional.cross_entropy(logits, batch.given.label)

        trained, _ = train(job, make_plan(network, objective, settings()), digits)
        if not keep:
            shutil.rmtree(job.snapshots.folder)
        return [*trained.parameters()]

    return train_it


def folder_of(job: Job) -> Path:
    return job.snapshots_dir / job.stage / job.key[:32]


def stopped(job: Job, run: Run, at: int) -> Path:
    """The snapshot of a run that was stopped in its update `at`."""
    with pytest.raises(Stop):
        run(job, at)
    return folder_of(job) / "state.pt"


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("stop", [11, 12, 20, 21, 30])
def test_resumed_is_unbroken_bit_for_bit(
    stop: int, make_job: MakeJob, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    unbroken = run(make_job())
    job = make_job(snapshot_seconds=1e-9)
    stopped(job, run, stop)
    capfd.readouterr()
    job = make_job(snapshot_seconds=1e-9)
    assert same(run(job), unbroken)
    assert f"student-2: going on from update {(stop - 1) // 10 * 10}\n" in capfd.readouterr().err
    assert job.tracker.steps == [10, 20, 30]  # type: ignore[attr-defined]


def test_broken_twice(make_job: MakeJob, run: Run) -> None:
    unbroken = run(make_job())
    stopped(make_job(snapshot_seconds=1e-9), run, 15)
    stopped(make_job(snapshot_seconds=1e-9), run, 12)  # update 22 of the whole
    assert same(run(make_job()), unbroken)


def test_a_finished_run_leaves_its_averaged_weights_alone(make_job: MakeJob, run: Run) -> None:
    job = make_job(snapshot_seconds=1e-9)
    stopped(job, run, 25)
    before = (folder_of(job) / "state.pt").stat().st_size
    run(job, keep=True)
    (finished,) = folder_of(job).iterdir()
    assert finished.stat().st_size < before / 2


def test_a_finished_training_is_taken_as_it_was(
    make_job: MakeJob, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    """With no update, and with the seconds and points of when it was made."""
    trained = run(make_job(snapshot_seconds=1e9), keep=True)
    seconds = make_job().snapshots.load_finished()[1]["seconds"]  # type: ignore[index]
    assert seconds > 0
    job = make_job()
    again = run(job, stop=1, keep=True)  # an update would raise
    assert "student-2: already trained, taken from " in capfd.readouterr().err
    assert same(again, trained)
    assert not any(parameter.requires_grad for parameter in again)
    assert job.tracker.steps == [10, 20, 30]  # type: ignore[attr-defined]
    assert make_job().snapshots.load_finished()[1]["seconds"] == seconds  # type: ignore[index]


def test_a_damaged_finished_training_is_done_again(
    make_job: MakeJob, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    trained = run(make_job(), keep=True)
    path = folder_of(make_job()) / "finished.safetensors"
    whole = path.read_bytes()
    for place in (0, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert same(run(make_job(), keep=True), trained)
        assert f"its snapshot {path} is damaged (" in capfd.readouterr().err
    run(make_job(), stop=1, keep=True)


def test_what_is_recorded_is_not_kept(make_job: MakeJob, run: Run) -> None:
    jobs = [make_job(key=letter * 64) for letter in "abc"]
    for job in jobs:
        run(job, keep=True)
    jobs[0].snapshots.note_outputs(["1" * 32])
    jobs[1].snapshots.note_outputs(["1" * 32, "2" * 32])
    forget_recorded(jobs[0].snapshots_dir, lambda md5, _: md5 in {"1" * 32, "3" * 32})
    assert [folder_of(job).exists() for job in jobs] == [False, True, True]
    noted = folder_of(jobs[1]) / "outputs.md5"
    noted.write_bytes(b"\xb1" + noted.read_bytes()[1:])  # one flipped bit
    forget_recorded(jobs[0].snapshots_dir, lambda md5, _: md5 in {"1" * 32, "2" * 32})
    assert folder_of(jobs[1]).exists()


def test_no_snapshot_before_its_time(make_job: MakeJob, run: Run) -> None:
    assert not stopped(make_job(snapshot_seconds=1e9), run, 25).exists()
    assert stopped(make_job("other", snapshot_seconds=1e-9), run, 25).exists()


@pytest.mark.parametrize("change", [{"key": "f" * 64}, {"stage": "student-4"}])
def test_changed_settings_never_resume(
    change: dict[str, str], make_job: MakeJob, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    snapshot = stopped(make_job(snapshot_seconds=1e-9), run, 25)
    unbroken = run(make_job(**change))  # type: ignore[arg-type]
    assert "going on" not in capfd.readouterr().err
    assert snapshot.exists(), "the other run may still be wanted"
    stopped(make_job(**change, snapshot_seconds=1e-9), run, 25)  # type: ignore[arg-type]
    assert same(run(make_job(**change)), unbroken)  # type: ignore[arg-type]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def scramble(path: Path) -> None:
    path.write_bytes(os.urandom(2000))


class _Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.target,)


def booby_trap(path: Path) -> None:
    """With a digest of its own, too."""
    buffer = io.BytesIO()
    torch.save({"step": _Bomb(path.parent.parent / "exploded")}, buffer)
    write_sealed(path, buffer.getbuffer())


def pickled(path: Path) -> None:
    write_sealed(path, pickle.dumps(_Bomb(path.parent.parent / "exploded")))


def flip(path: Path) -> None:
    """One bit of a weight."""
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


def of_today(path: Path) -> None:
    """As versions without a digest wrote it."""
    path.write_bytes(read_sealed(path))


@pytest.mark.parametrize("damage", [truncate, empty, scramble, flip, of_today, booby_trap, pickled])
def test_a_damaged_snapshot_starts_afresh_with_one_sentence(
    damage: Callable[[Path], None],
    make_job: MakeJob,
    run: Run,
    capfd: pytest.CaptureFixture[str],
) -> None:
    unbroken = run(make_job())
    snapshot = stopped(make_job(snapshot_seconds=1e-9), run, 25)
    damage(snapshot)
    capfd.readouterr()
    job = make_job()
    assert same(run(job), unbroken)
    lines = [line for line in capfd.readouterr().err.splitlines() if "snapshot" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"student-2: its snapshot {snapshot} is damaged (")
    assert lines[0].endswith("); starting afresh")
    assert job.tracker.steps == [10, 20, 30]  # type: ignore[attr-defined]
    assert not (snapshot.parent.parent / "exploded").exists()


def test_a_resume_with_other_threads_says_so(
    make_job: MakeJob, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    stopped(make_job(snapshot_seconds=1e-9), run, 25)
    capfd.readouterr()
    torch.set_num_threads(2)
    try:
        run(make_job())
    finally:
        torch.set_num_threads(1)
    said = capfd.readouterr().err
    assert "since the snapshot, threads 1 -> 2 changed" in said
    assert "not bit-identical to an unbroken run" in said


def test_an_unchanged_resume_warns_of_nothing(
    make_job: MakeJob, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    stopped(make_job(snapshot_seconds=1e-9), run, 25)
    run(make_job())
    assert "changed" not in capfd.readouterr().err


def test_what_was_left_a_month_ago_goes(make_job: MakeJob, run: Run) -> None:
    old = stopped(make_job(key="a" * 64, snapshot_seconds=1e-9), run, 15)
    recent = stopped(make_job(key="b" * 64, snapshot_seconds=1e-9), run, 15)
    other_stage = stopped(make_job("teacher", key="a" * 64, snapshot_seconds=1e-9), run, 15)
    for path in (old, other_stage):
        os.utime(path, (time.time() - KEEP_SECONDS - 60,) * 2)
    os.utime(recent, (time.time() - KEEP_SECONDS + 3600,) * 2)
    forget_recorded(make_job().snapshots_dir, lambda *_: False)
    assert not old.parent.exists()
    assert recent.exists()
    assert not other_stage.parent.exists()


def test_half_a_snapshot_is_never_seen(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, "teacher", "k" * 64)
    snapshots.save({"step": 10})
    before = snapshots.load()
    with pytest.raises(AttributeError):
        snapshots.save({"step": 20, "broken": lambda: None})
    assert snapshots.load() == before == {"step": 10}
