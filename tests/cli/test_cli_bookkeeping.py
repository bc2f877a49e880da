"""The small files that stages keep for themselves: a flipped bit in one ends no stage."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from pdpipe.cli.bookkeeping import recorded, turn

NOT_UTF8 = b"\xb1234"


@pytest.fixture
def md5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a file in DVC's cache of the folder in which the test runs."""
    monkeypatch.chdir(tmp_path)
    found = "0123456789abcdef" * 2
    cached = Path(".dvc/cache/files/md5") / found[:2] / found[2:]
    cached.parent.mkdir(parents=True)
    cached.touch()
    return found


def test_a_lock_file_of_dvc_that_is_not_utf8(md5: str) -> None:
    damaged = Path("stages/naive/dvc.lock")
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(NOT_UTF8)
    assert not recorded(md5, 0.0)
    Path("dvc.lock").write_text(f"md5: {md5}\n")
    assert recorded(md5, 0.0)


def test_the_record_of_an_earlier_run_is_none_of_a_later_one_with_the_same_bytes(md5: str) -> None:
    """Else a training whose DVC was killed is thrown away where it gave what DVC has anyway."""
    lock = Path("dvc.lock")
    lock.write_text(f"md5: {md5}\n")
    written = lock.stat().st_mtime
    assert not recorded(md5, written + 60.0)
    os.utime(lock, (written + 61.0,) * 2)
    assert recorded(md5, written + 60.0)


def test_a_holder_that_is_not_utf8(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = FileLock(tmp_path / "teacher.lock", is_singleton=False, thread_local=False)
    other.acquire()
    (tmp_path / "teacher.holder").write_bytes(NOT_UTF8)
    end = threading.Timer(1.5, other.release)
    end.start()
    with turn(tmp_path, "teacher"):
        pass
    end.join()
    assert "is running this stage already" in capfd.readouterr().err
