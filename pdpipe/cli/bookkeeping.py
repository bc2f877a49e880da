"""What keeps stages apart: whose turn it is, and whether DVC has what a training was kept for."""

from __future__ import annotations

import configparser
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pdpipe import layout

SAY_SECONDS = 60.0  # between two sentences
_DVC = Path(".dvc")


def recorded(md5: str, made: float) -> bool:
    """Whether DVC has recorded the file with these bytes since it was made.

    That is, it is named by dvc.lock, so that no stage makes it again, and in the cache, which is
    empty in a fresh clone. A dvc.lock that is older than the file names the same bytes of an
    earlier run, which DVC deletes before it runs a stage.

    Args:
        md5: of the file.
        made: when, in seconds since the epoch.

    Returns:
        False also where that cannot be seen.
    """
    locks = [Path("dvc.lock"), *layout.STUDIES.parent.glob("*/dvc.lock")]
    since = [lock for lock in locks if lock.is_file() and lock.stat().st_mtime >= made]
    named = any(f"md5: {md5}".encode() in lock.read_bytes() for lock in since)
    return named and any((cache / "files/md5" / md5[:2] / md5[2:]).is_file() for cache in _caches())


def _caches() -> list[Path]:
    """The project's cache, as its configuration says where it is."""
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        settings.read([_DVC / "config", _DVC / "config.local"], encoding="utf-8")
    except (configparser.Error, ValueError):
        return []
    return [_DVC / settings.get("cache", "dir", fallback="cache")]


@contextmanager
def turn(folder: Path, stage: str) -> Iterator[None]:
    """Hold the stage's lock, which ends with the process, as soon as nobody else does.

    Killing `dvc repro` alone leaves the stage that it ran to itself. It would write its outputs at
    some time, into a run that began later; so that waits, and says so now and then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = stage.replace("/", "-")
    lock, holder = FileLock(folder / f"{name}.lock"), folder / f"{name}.holder"
    try:
        lock.acquire(timeout=1.0)  # in which another that has just begun says who it is
    except Timeout:
        _wait(lock, holder, stage)
    try:
        holder.write_text(f"{os.getpid()} {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        lock.release()


def _wait(lock: FileLock, holder: Path, stage: str) -> None:
    asked = time.monotonic()
    said = holder.read_bytes().decode(errors="replace") if holder.exists() else "?"
    pid, _, host = said.partition(" ")
    print(
        f"{stage}: process {pid} on {host or 'this machine'} is running this stage already (a "
        "killed `dvc repro` leaves its stage running): waiting for it, to take what it finishes "
        f"with the same settings; to stop it, type `kill {pid}`",
        file=sys.stderr,
    )
    while True:
        try:
            lock.acquire(timeout=SAY_SECONDS)
        except Timeout:
            waited = (time.monotonic() - asked) / 60
            print(f"{stage}: waiting for process {pid}, {waited:.0f} min", file=sys.stderr)
        else:
            return
