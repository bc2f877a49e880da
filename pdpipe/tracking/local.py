"""The local record, which is the truth: written first, whatever the tracking server does.

A run's is a folder: `metrics.jsonl` has one JSON object for each point (`{"step": 10, "time":
1700000000000, "loss": 0.5}`, time in ms), `run.json` the params, tags, outputs and status, `shared`
how many bytes of the points others may see, and `server.json` what the server has confirmed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pdpipe.files import parse_json, sealed, unsealed, write_json, write_text
from pdpipe.tracking.names import legal_folder, to_json_number

LOCAL_DIR = Path(".pdpipe") / "tracking"
CHAINS = "chains"  # the folder of the chains' records, among those of the stages


@dataclass(frozen=True)
class Point:
    """The values of some metrics at one step; `time` in ms since the epoch."""

    step: int
    time: int
    values: Mapping[str, float]

    def to_line(self) -> str:
        """The point as one line of JSON; values that are not finite become text."""
        values = {name: to_json_number(value) for name, value in self.values.items()}
        return json.dumps({"step": self.step, "time": self.time, **values}) + "\n"

    @staticmethod
    def from_line(line: str) -> Point | None:
        """The point of a line, or None where a kill cut the line short."""
        try:
            raw = parse_json(line)
            step, time = int(raw.pop("step")), int(raw.pop("time"))
            return Point(step, time, {name: float(value) for name, value in raw.items()})
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


class RunRecord:
    """The files of one run, told apart from other runs of the stage by its attempt.

    A stage's folder shows its latest run. Another run that the server does not hold in full is set
    aside in `earlier/<attempt>/`, and comes back when that run is resumed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics_path = folder / "metrics.jsonl"
        self.run_path = folder / "run.json"
        self._shared, self._server = folder / "shared", folder / "server.json"
        self._files = (self.metrics_path, self.run_path, self._shared, self._server)
        self._life = FileLock(folder / ".alive")  # held by the stage; ends with its process

    def start(self, attempt: str) -> None:
        """Begin the record of a new run."""
        self._take(attempt)
        write_text(self.metrics_path, "")
        self.share()

    def resume(self, attempt: str, seal: Mapping[str, Any]) -> None:
        """Take up the record of a run that was killed, as it was at a snapshot.

        Later points are dropped, since they are computed again. Where the points are not those
        that were sealed, which is said, none is left.

        Args:
            attempt: the run to go on with.
            seal: of its points, as `seal` made it at the snapshot.
        """
        self._take(attempt)
        kept = self.folder / "earlier" / attempt
        if kept.exists():
            _move(kept, self.folder)
        lines = b""
        if self.run().get("attempt") == attempt and self.metrics_path.exists():
            lines = self.metrics_path.read_bytes()[: seal["bytes"]]
            if hashlib.sha256(lines).hexdigest() != seal["sha256"]:
                _say_damaged(self.metrics_path, "its points up to the snapshot are left out")
                lines = b""
        write_text(self.metrics_path, lines.decode("utf-8"))
        self.share()

    def append(self, point: Point) -> None:
        """RunRecord a point: it survives a kill of the process from here on."""
        with self.metrics_path.open("a", encoding="utf-8") as file:
            file.write(point.to_line())

    def seal(self) -> dict[str, Any]:
        """What a snapshot holds of the points so far, which are on the disk from here on."""
        written = b""
        if self.metrics_path.exists():
            with self.metrics_path.open("rb") as file:
                os.fsync(file.fileno())
                written = file.read()
        return {"bytes": len(written), "sha256": hashlib.sha256(written).hexdigest()}

    def share(self) -> None:
        """Let the points so far be seen by others."""
        size = self.metrics_path.stat().st_size if self.metrics_path.exists() else 0
        self._shared.write_text(f"{size}\n", encoding="utf-8")  # half of it reads as none

    def describe(self, run: Mapping[str, Any]) -> None:
        """Write run.json, with a digest of the rest."""
        write_json(self.run_path, sealed(run))

    def end(self) -> None:
        """Let go of the record: the run has ended."""
        self._life.release()

    def run(self) -> dict[str, Any]:
        """The run.json; empty when there is none, or a damaged one, which is said."""
        try:
            return unsealed(parse_json(self.run_path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            _say_damaged(self.run_path, "the run that it told of is not gone on with here")
            self.run_path.unlink(missing_ok=True)
            return {}

    def points(self) -> list[Point]:
        """Those that others may see: up to the last snapshot of a run that has not ended."""
        with contextlib.suppress(FileNotFoundError), self.metrics_path.open("rb") as file:
            lines = file.read(self._shared_bytes()).decode("utf-8").splitlines()
            return [point for line in lines if (point := Point.from_line(line)) is not None]
        return []

    def is_alive(self) -> bool:
        """Whether a process is at work on the run."""
        if self.folder.parent.name == "earlier":
            return False
        try:
            with self._life.acquire(timeout=0):
                return False
        except Timeout:
            return True

    def is_sent(self) -> bool:
        """Whether a server has confirmed all of it, the ending included."""
        run = self.run()
        found = _read(self._server)
        same = bool(run.get("published")) or {**found, **self._state(run)} == found
        return same and not (run.get("status") == "RUNNING" and self.is_alive())

    def mark_sent(self, state: Mapping[str, Any], **where: str) -> None:
        """Note that a server has all of what `state` tells, so that none is asked again."""
        write_json(self._server, {**where, **state})

    def state(self) -> dict[str, Any]:
        """What tells one content from another."""
        return self._state(self.run())

    def _state(self, run: Mapping[str, Any]) -> dict[str, Any]:
        about = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
        return {"run": about, "shared": self._shared_bytes()}

    def _shared_bytes(self) -> int:
        try:
            return int(self._shared.read_text(encoding="utf-8") or 0)
        except FileNotFoundError:  # the version before: all that a run that ended has
            ended = self.run().get("status") not in (None, "RUNNING")
            return self.metrics_path.stat().st_size if ended and self.metrics_path.exists() else 0

    def _take(self, attempt: str) -> None:
        """Hold the record, having made room where it is another run's."""
        self.folder.mkdir(parents=True, exist_ok=True)
        run = self.run()
        shown, sent = run.get("attempt"), run.get("status") != "RUNNING" and self.is_sent()
        self._life.acquire()
        if shown in (attempt, None):
            return
        if not sent:
            _move(self.folder, self.folder / "earlier" / legal_folder(shown))
        for path in self._files:
            path.unlink(missing_ok=True)


def records(folder: Path) -> Iterator[RunRecord]:
    """The runs' records below a project's `.pdpipe/tracking`, the newest first."""
    for old in folder.glob("*/earlier/*.*"):  # as the version before set a run's two files aside
        attempt, _, name = old.name.partition(".")
        (old.parent / attempt).mkdir(exist_ok=True)
        old.replace(old.parent / attempt / name)
    found = [*folder.glob("*/run.json"), *folder.glob("*/earlier/*/run.json")]
    for path in sorted(found, key=_changed, reverse=True):
        yield RunRecord(path.parent)


def keep(record: RunRecord, folder: Path) -> None:
    """Copy a record to another project's `.pdpipe/tracking`, as one set aside."""
    kept = folder / record.folder.name / "earlier" / legal_folder(record.run()["attempt"])
    shutil.copytree(record.folder, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("ear*"))


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _move(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_file() and path.suffix in (".jsonl", ".json", "") and path.name[0] != ".":
            path.replace(target / path.name)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(parse_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _say_damaged(path: Path, what: str) -> None:
    print(f"tracking: {path} is damaged: {what}", file=sys.stderr)
