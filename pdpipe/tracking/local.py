"""The local record of a stage's run: always written, whatever the tracking server does.

`metrics.jsonl` holds one JSON object per point (`{"step": 10, "time": 1700000000000, "loss": 0.5}`,
time in ms), `run.json` the params, tags, outputs and status. After a resume the server is brought
up to this record, so a point is flushed to it before anything else happens.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdpipe.files import parse_json, sealed, unsealed, write_json, write_text
from pdpipe.tracking.names import to_json_number


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


class LocalLog:
    """The files of one run, told apart from other runs of the stage by its attempt.

    A folder shows its latest run. Another run's files that the server does not hold in full are set
    aside in `earlier/`, and come back when that run is resumed.
    """

    def __init__(self, folder: Path) -> None:
        self.metrics_path = folder / "metrics.jsonl"
        self.run_path = folder / "run.json"
        self._paths = (self.metrics_path, self.run_path)
        self._earlier = folder / "earlier"

    def start(self, attempt: str) -> None:
        """Begin the record of a new run."""
        self._set_aside(attempt)
        write_text(self.metrics_path, "")

    def resume(self, attempt: str, seal: Mapping[str, Any]) -> list[Point]:
        """Take up the record of a run that was killed, as it was at a snapshot.

        Args:
            attempt: the run to go on with.
            seal: of its points, as `seal` made it at the snapshot.

        Returns:
            the points up to the snapshot; later ones are dropped, since they are computed again.
            Where they are not those that were sealed, which is said, it has none.
        """
        self._set_aside(attempt)
        for path in self._paths:
            kept = self._kept(path, attempt)
            if kept.exists():
                kept.replace(path)
        sealed = b""
        if self._shown().get("attempt") == attempt and self.metrics_path.exists():
            sealed = self.metrics_path.read_bytes()[: seal["bytes"]]
            if hashlib.sha256(sealed).hexdigest() != seal["sha256"]:
                _say_damaged(self.metrics_path, "its points up to the snapshot are left out")
                sealed = b""
        points = [Point.from_line(line) for line in sealed.decode("utf-8").splitlines()]
        found = [point for point in points if point is not None]
        write_text(self.metrics_path, "".join(point.to_line() for point in found))
        return found

    def append(self, point: Point) -> None:
        """Record a point: it survives a kill of the process from here on."""
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

    def describe(self, run: Mapping[str, Any]) -> None:
        """Write run.json, with a digest of the rest."""
        write_json(self.run_path, sealed(run))

    def _set_aside(self, attempt: str) -> None:
        """Make room where the folder shows another run; what the server holds can go."""
        shown = self._shown()
        if shown.get("attempt") in (attempt, None):
            return
        for path in self._paths:
            if shown.get("published"):
                path.unlink(missing_ok=True)
            elif path.exists():
                self._earlier.mkdir(exist_ok=True)
                path.replace(self._kept(path, shown["attempt"]))

    def _shown(self) -> dict[str, Any]:
        """The run.json in the folder; empty when there is none, or a damaged one, which is said."""
        try:
            return unsealed(parse_json(self.run_path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            _say_damaged(self.run_path, "the run that it told of is not gone on with here")
            self.run_path.unlink(missing_ok=True)
            return {}

    def _kept(self, path: Path, attempt: str) -> Path:
        return self._earlier / f"{attempt}.{path.name}"


def _say_damaged(path: Path, what: str) -> None:
    print(f"tracking: {path} is damaged: {what}", file=sys.stderr)
