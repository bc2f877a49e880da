"""The local record, which is the truth: written first, whatever the tracking server does.

A run's is a folder, `.pdpipe/tracking/<stage>/<attempt>/`, in the project's root:

- `run.json`: settings, tags, outputs, status, single figures; of a report, what its chain is;
- `metrics.jsonl`: a line of JSON for each point, `{"step": 10, "time": 1700000000000, "loss": 0.5,
  "crc32": 1234}`, time in ms since the epoch; `system.jsonl`: the same, of the machine;
- `images/` and `artifacts/`: what else is uploaded;
- `server.json`: what a server has confirmed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from pdpipe.files import canonical_json, digest, parse_json, sealed, unsealed, write_json
from pdpipe.tracking.names import legal_key, to_json_number

if TYPE_CHECKING:
    from PIL.Image import Image

LOCAL_DIR = Path(".pdpipe") / "tracking"
METRICS, SYSTEM = "metrics.jsonl", "system.jsonl"
ERROR_TAG = "pdpipe.error"
_CHECK = "crc32"  # of the rest of a line
_KILLED = "killed: the process ended without a word"


@dataclass(frozen=True)
class Point:
    """The values of some metrics at one step; `time` in ms since the epoch."""

    step: int
    time: int
    values: Mapping[str, float]

    def to_line(self) -> str:
        """The point as one line of JSON; values that are not finite become text."""
        values = {name: to_json_number(value) for name, value in self.values.items()}
        raw = {"step": self.step, "time": self.time, **values}
        return json.dumps({**raw, _CHECK: _checksum(raw)}) + "\n"

    @staticmethod
    def from_line(line: bytes) -> Point:
        """The point of a line.

        Raises:
            ValueError: the line is damaged.
        """
        try:
            raw = parse_json(line)
            if raw.pop(_CHECK) != _checksum(raw):
                raise ValueError("its checksum does not match")
            step, time = int(raw.pop("step")), int(raw.pop("time"))
            return Point(step, time, {name: float(value) for name, value in raw.items()})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("it is no point") from error


def _checksum(raw: Mapping[str, Any]) -> int:
    return zlib.crc32(canonical_json(raw).encode())


class RunRecord:
    """The files of one run; a run that goes on after a kill goes on with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images, self.artifacts = folder / "images", folder / "artifacts"
        self._run, self._server = folder / "run.json", folder / "server.json"
        self._life = FileLock(folder / ".alive")  # held by the stage; ends with its process

    def open(self) -> list[Point]:
        """Begin the record, or go on with it; returns the points that it has."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._life.acquire()
        points, whole = self.points(METRICS)
        if points:  # half a line that a kill left goes
            os.truncate(self.folder / METRICS, whole)
        return points

    def append(self, point: Point, name: str = METRICS) -> None:
        """Record a point: it survives a kill of the process from here on."""
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(point.to_line())

    def flush(self) -> None:
        """Have the points so far survive a power cut, too."""
        with (self.folder / METRICS).open("a") as file:
            os.fsync(file.fileno())

    def add_image(self, step: int, name: str, image: Image) -> None:
        """Keep an image, in a file that MLflow would name so."""
        self.images.mkdir(exist_ok=True)
        image.save(self.images / f"{legal_key(name).replace('/', '~')}+step+{step}.png")

    def add_artifacts(self, paths: Iterable[Path]) -> None:
        """Keep copies of the files and folders that exist; of earlier runs, what was sent goes."""
        for earlier in self.folder.parent.glob("*/artifacts"):
            if RunRecord(earlier.parent).is_sent():
                shutil.rmtree(earlier)
        self.artifacts.mkdir(exist_ok=True)
        for path in paths:
            if path.is_dir():
                shutil.copytree(path, self.artifacts / path.name, dirs_exist_ok=True)
            elif path.exists():
                shutil.copy2(path, self.artifacts)

    def describe(self, run: Mapping[str, Any]) -> None:
        """Write run.json, with a digest of the rest."""
        write_json(self._run, sealed(run))

    def end(self) -> None:
        """Let go of the record: the run has ended."""
        self._life.release()

    def run(self) -> dict[str, Any]:
        """The run.json; empty when there is none, or a damaged one, which is said."""
        try:
            return unsealed(parse_json(self._run.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            _say_damaged(self._run, "its run is not sent")
            return {}

    def points(self, name: str, start: int = 0) -> tuple[list[Point], int]:
        """The points of a file from a byte on, and where its last whole line ends."""
        try:
            with (self.folder / name).open("rb") as file:
                file.seek(start)
                lines = file.read()
        except FileNotFoundError:
            return [], 0
        lines, points = lines[: lines.rfind(b"\n") + 1], []
        for line in lines.splitlines():
            try:
                points.append(Point.from_line(line))
            except ValueError:
                _say_damaged(self.folder / name, "the points that are wrong are left out")
        return points, start + len(lines)

    def close_if_dead(self, patience: float = 0.0) -> None:
        """Note of a run that no process is at work on, if it has not ended, that it was killed.

        Args:
            patience: seconds that a process may take to let go of it.
        """
        with suppress(Timeout), self._life.acquire(timeout=patience):
            run = self.run()
            if run.get("status") == "RUNNING":
                paths = [self._run, *self.folder.glob("*.jsonl")]
                ended = max(int(path.stat().st_mtime * 1000) for path in paths)
                run["tags"] |= {ERROR_TAG: _KILLED}
                self.describe({"metrics": {}, **run, "status": "KILLED", "ended": ended})

    def state(self) -> dict[str, Any]:
        """What tells one content from another."""
        sizes = {path.name: path.stat().st_size for path in self.folder.glob("*.jsonl")}
        return {**sizes, "run": digest(self.run())}

    def is_sent(self) -> bool:
        """Whether a server has confirmed all of it, the ending included."""
        try:
            found = dict(parse_json(self._server.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return False
        return {**found, **self.state()} == found

    def mark_sent(self, state: Mapping[str, Any], **where: str) -> None:
        """Note that a server has all of what `state` tells, so that none is asked again."""
        write_json(self._server, {**where, **state})


def records(home: Path) -> list[RunRecord]:
    """The records below a project's `.pdpipe/tracking`, in the order in which the runs began."""
    found = home.glob("*/*/run.json")
    return [RunRecord(path.parent) for path in sorted(found, key=lambda path: path.parent.name)]


@cache  # once for a file
def _say_damaged(path: Path, what: str) -> None:
    print(f"tracking: {path} is damaged: {what}", file=sys.stderr)
