"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

PLAIN_SECONDS = 10.0


class Progress:
    """Counts `total` units of work and shows rate, ETA and a note (such as the loss).

    On a terminal it is a tqdm bar; without one (under CI, or in a file) a line is written every ten
    seconds at most, and one when the work ends.
    """

    def __init__(self, name: str, total: int, unit: str, done: int = 0) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done, self.first = done, done
        self.note = ""
        self.started = self.shown = time.monotonic()
        self.bar = (
            tqdm(total=total, initial=done, desc=name, unit=unit, dynamic_ncols=True)
            if sys.stderr.isatty()
            else None
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self.bar is not None:
            self.bar.close()
        elif kind is None:
            self._line("done" if self.done >= self.total else "stopped")

    def advance(self, count: int = 1, note: str = "") -> None:
        """Record `count` more units as done, and show it when it is time to."""
        self.done += count
        self.note = note or self.note
        if self.bar is not None:
            if self.note:
                self.bar.set_postfix_str(self.note, refresh=False)
            self.bar.update(count)
        elif time.monotonic() - self.shown >= PLAIN_SECONDS:
            self._line("ETA " + _clock((self.total - self.done) / max(self.rate, 1e-9)))

    def skip(self, count: int) -> None:
        """Record `count` units as done before: they do not enter the rate."""
        self.done, self.first = self.done + count, self.first + count
        if self.bar is not None:
            self.bar.initial += count
            self.bar.update(count)

    @property
    def rate(self) -> float:
        """Units a second since the start (not counting what was done before it)."""
        return (self.done - self.first) / max(time.monotonic() - self.started, 1e-9)

    def _line(self, ending: str) -> None:
        self.shown = time.monotonic()
        parts = [f"{self.done}/{self.total} {self.unit}", f"{self.rate:.1f} {self.unit}/s"]
        parts += [self.note] * bool(self.note) + [ending]
        print(f"{self.name}: {', '.join(parts)}", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
