"""The local record of a stage's run: always written, whatever the tracking server does.

`metrics.jsonl` holds one JSON object per point (`{"step": 10, "time": 1700000000000, "loss": 0.5}`,
time in ms), `run.json` the params, tags, outputs and status. After a resume the server is brought
up to this record, so a point is flushed to it before anything else happens.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdpipe.files import parse_json, write_json, write_text
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

    def resume(self, attempt: str, step: int | None) -> list[Point]:
        """Take up the record of a run that was killed, as it was at a snapshot.

        Args:
            attempt: the run to go on with.
            step: the last step logged before the snapshot, None for no step.

        Returns:
            the points up to `step`; later ones are dropped, since they are computed again.
        """
        self._set_aside(attempt)
        for path in self._paths:
            kept = self._kept(path, attempt)
            if kept.exists():
                kept.replace(path)
        lines = []
        if self._shown().get("attempt") == attempt and self.metrics_path.exists():
            lines = self.metrics_path.read_text(encoding="utf-8").splitlines()
        read = [Point.from_line(line) for line in lines]
        points = [p for p in read if p is not None and step is not None and p.step <= step]
        write_text(self.metrics_path, "".join(point.to_line() for point in points))
        return points

    def append(self, point: Point) -> None:
        """Record a point: it survives a kill of the process from here on."""
        with self.metrics_path.open("a", encoding="utf-8") as file:
            file.write(point.to_line())

    def sync(self) -> None:
        """Have the points on the disk, as the snapshot that counts on them will be."""
        if self.metrics_path.exists():
            with self.metrics_path.open("rb") as file:
                os.fsync(file.fileno())

    def describe(self, run: Mapping[str, Any]) -> None:
        """Write run.json."""
        write_json(self.run_path, dict(run))

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
        """The run.json in the folder; empty when there is none."""
        try:
            shown = parse_json(self.run_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return shown if isinstance(shown, dict) else {}

    def _kept(self, path: Path, attempt: str) -> Path:
        return self._earlier / f"{attempt}.{path.name}"
