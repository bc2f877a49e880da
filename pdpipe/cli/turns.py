"""One process at a time runs a stage: another waits for it, and says so now and then.

Killing `dvc repro` alone leaves the stage that it ran to itself. It would write its outputs at some
time, into a run that began later; so that waits.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

SAY_SECONDS = 60.0  # between two sentences


@contextmanager
def turn(folder: Path, stage: str) -> Iterator[None]:
    """Hold the stage's lock, which ends with the process, as soon as nobody else does."""
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
