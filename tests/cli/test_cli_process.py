"""The installed command in a process of its own: what it imports, its time, its way out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Typed

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "mlflow", "numpy", "pandas", "matplotlib", "sklearn", "webdataset")


def test_the_stages_write_what_they_are_for(typed: Typed) -> None:
    made = set(typed.contents())
    models = {f"models/{n}.safetensors" for n in ("extractor", "teacher", "student-4", "student-2")}
    metrics = {f"results/metrics/{name}.json" for name in ("floor", "teacher", "student-2")}
    samples = {f"results/samples/{name}.safetensors" for name in ("real", "teacher", "student-2")}
    assert models | metrics | samples | {"reports/index.html", "data/shards/manifest.json"} <= made
    assert not [name for name in made if name.endswith(".tmp")]


def test_bench_prints_the_ratios(typed: Typed) -> None:
    printed = typed.run("bench", "--repeats", "3")
    assert printed.code == 0, printed
    ratios = re.findall(r"^(stage one|halving): update .*?(\d\.\d+)", printed.out, re.MULTILINE)
    assert [name for name, _ in ratios] == ["stage one", "halving"], printed.out


def start(*command: str, **environment: str) -> subprocess.Popen[str]:
    """A command on its way, without settings of the caller's."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PDPIPE_", "DVC_"))}
    paths = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"}
    return subprocess.Popen(
        command,
        env=kept | paths | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def in_another_process(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command that has ended."""
    process = start(*command, **environment)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@contextlib.contextmanager
def folder(path: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        yield


@pytest.mark.parametrize("arguments", [["--help"], ["teacher", "--help"], ["sample", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = f"""
import sys
from pdpipe.cli import main
sys.argv = ["pdpipe", *{arguments!r}]
try:
    main()
except SystemExit as stop:
    assert not stop.code
print("heavy:", *[name for name in {HEAVY!r} if name in sys.modules])
"""
    done = in_another_process(sys.executable, "-c", program)
    assert done.stdout.splitlines()[0].startswith("Usage: pdpipe")
    assert done.stdout.splitlines()[-1] == "heavy:"


def test_help_is_quick() -> None:
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        assert in_another_process("pdpipe", "--help").returncode == 0
        seconds.append(time.monotonic() - started)
    print(f"pdpipe --help takes {min(seconds):.2f} s")
    assert min(seconds) < 2


def test_a_mistake_is_one_line_of_the_real_command(typed: Typed) -> None:
    """No traceback hides behind the tests' own process."""
    (typed.root / "data/shards/train-000000.tar").unlink()
    with folder(typed.root):
        missing = in_another_process("pdpipe", "teacher")
        typed.write(typed.params() | {"sede": 0})
        mistyped = in_another_process("pdpipe", "teacher")
    for done in (missing, mistyped):
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert done.stdout == ""


def test_training_goes_on_without_its_tracking_server(typed: Typed) -> None:
    before = (typed.root / "models/teacher.safetensors").read_bytes()
    (typed.root / "models/teacher.safetensors").unlink()
    shutil.rmtree(typed.root / ".pdpipe")
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "PDPIPE_SNAPSHOT_SECONDS": "0.001"}
    with folder(typed.root):
        started = time.monotonic()
        done = in_another_process("pdpipe", "teacher", **away)
        print(f"with its server away the stage took {time.monotonic() - started:.1f} s")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("tracking: MLflow at http://127.0.0.1:9 cannot be used") == 1
    assert "what is logged is in .pdpipe/tracking, and is sent by the next stage" in done.stderr
    (points,) = typed.root.glob(".pdpipe/tracking/teacher/*/metrics.jsonl")
    assert points.read_text().count("loss") == 1
    assert (typed.root / "models/teacher.safetensors").read_bytes() == before
    assert not (typed.root / "mlflow.db").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_stage_says_how_to_go_on(typed: Typed, number: signal.Signals) -> None:
    """And MLflow and the local record say that it was killed."""
    typed.write(typed.params() | {"teacher": typed.params()["teacher"] | {"updates": 100_000}})
    shutil.rmtree(typed.root / ".pdpipe/tracking")
    snapshots, database = typed.root / ".pdpipe/snapshots/teacher", typed.root / "mlflow.db"
    query = "SELECT name, status FROM runs WHERE name LIKE 'teacher%'"

    def runs() -> list[tuple[str, str]]:
        if not database.exists():
            return []
        with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
            return connection.execute(query).fetchall()

    with folder(typed.root):
        stage = start("pdpipe", "teacher", PDPIPE_SNAPSHOT_SECONDS="0.001")
        started = time.monotonic()
        while not runs() and time.monotonic() - started < 120:
            time.sleep(0.1)
        stage.send_signal(number)
        _, said = stage.communicate(timeout=60)
    assert stage.returncode == 130
    assert said.splitlines()[-1] == "interrupted; run the same command again to go on"
    assert "Traceback" not in said
    assert "tracking" not in said
    assert list(snapshots.glob("*/state.pt"))
    ((name, status),) = runs()
    assert (name.split(" ")[0], status) == ("teacher", "KILLED")
    newest = max(typed.root.glob(".pdpipe/tracking/teacher/*/run.json"))
    assert json.loads(newest.read_text())["status"] == "KILLED"


def test_a_kill_while_the_tracking_server_is_slow_loses_no_training(typed: Typed) -> None:
    """DVC deletes what a killed stage wrote, so the stage has to be able to write it again."""
    model = typed.root / "models/teacher.safetensors"
    before = model.read_bytes()
    model.unlink()
    with socket.create_server(("127.0.0.1", 0)) as silent, folder(typed.root):
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        stage = start("pdpipe", "teacher", MLFLOW_TRACKING_URI=address)
        started = time.monotonic()
        while not model.exists() and stage.poll() is None and time.monotonic() - started < 120:
            time.sleep(0.01)
        stage.kill()  # it waits for an answer
        stage.communicate()
    assert stage.returncode == -signal.SIGKILL
    model.unlink()
    printed = typed.run("teacher")
    assert "teacher: already trained, taken from .pdpipe/snapshots/teacher/" in printed.err
    assert model.read_bytes() == before
    kept, md5 = typed.root / ".pdpipe/snapshots/teacher", hashlib.md5(before).hexdigest()
    cached = typed.root / "elsewhere/files/md5" / md5[:2] / md5[2:]
    cached.parent.mkdir(parents=True)
    (typed.root / ".dvc").mkdir()
    (typed.root / ".dvc/config").write_text("[core]\n    analytics = false\n")
    (typed.root / ".dvc/config.local").write_text("[cache]\n    dir = ../elsewhere\n")
    for path, content in ((typed.root / "dvc.lock", f"  md5: {md5}\n"), (cached, "the model")):
        assert typed.run("rungs", "--steps", "2").code == 0
        assert list(kept.iterdir()), "it is not recorded yet"
        path.write_text(content)
    assert typed.run("rungs", "--steps", "2").code == 0
    assert not list(kept.iterdir())
