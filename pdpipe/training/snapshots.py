"""Snapshots: a killed training goes on where it was, and never from somebody else's state.

A snapshot lies outside every DVC output, under `<root>/<stage>/<key>/`, with `key` a digest of
everything that determines the result: changed params, data, teacher or code have another key and
start afresh. A lock, held for the life of the process, keeps a second trainer out (killing
`dvc repro` leaves its stage running). The folder goes when the stage has succeeded.
"""

from __future__ import annotations

import io
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from pdpipe.errors import TrainingError
from pdpipe.files import replacing

KEEP_SECONDS = 30 * 24 * 3600.0
_STATE, _LOCK = "state.pt", "lock"


class Snapshots:
    """The snapshot of one run; use inside `hold`."""

    def __init__(self, root: Path, stage: str, key: str) -> None:
        self.stage = stage
        self.folder = root / stage / key[:32]

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the run's lock.

        Raises:
            TrainingError: another process is training the same stage with the same settings.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise TrainingError(
                f"another process is already training {self.stage} with these settings (a killed "
                f"`dvc repro` leaves its stage running): wait for it or stop it; "
                f"the lock is {self.folder / _LOCK}"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def save(self, state: dict[str, Any]) -> None:
        """Replace the snapshot by `state` (tensors and plain values), atomically."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        with replacing(self.folder / _STATE) as temporary:
            temporary.write_bytes(buffer.getbuffer())

    def load(self) -> dict[str, Any] | None:
        """The last snapshot, or None; one that cannot be read is said and left aside."""
        path = self.folder / _STATE
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # any damage means the same: start afresh
            reason = " ".join(str(error).split())[:80]
            print(
                f"{self.stage}: its snapshot cannot be read ({reason}); starting afresh",
                file=sys.stderr,
            )
            return None
        return state

    def remove(self) -> None:
        """Remove the run's folder, since its result is written, and others' left for long."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for other in self.folder.parent.glob("*"):
            state = other / _STATE
            if state.exists() and time.time() - state.stat().st_mtime > KEEP_SECONDS:
                shutil.rmtree(other, ignore_errors=True)
