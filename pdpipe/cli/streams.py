"""Standard output and error that never end a stage, whoever reads them."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO


class _Lasting(io.FileIO):
    """An open file: what cannot be written to it is dropped, and the reason kept."""

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        """The number of bytes taken, all of them."""
        try:
            return super().write(data)
        except OSError as error:
            self.lost = error
            return memoryview(data).nbytes


@contextmanager
def lasting_output() -> Iterator[None]:
    """In the block, a closed pipe, a full disk or a terminal's narrow encoding raises nothing.

    What the terminal cannot show is shown by its code. What was lost on a full disk is said.
    """
    with ExitStack() as streams:
        for name in ("stderr", "stdout"):  # which ends first, and may have something to say
            streams.enter_context(_replaced(name))
        yield


@contextmanager
def _replaced(name: str) -> Iterator[None]:
    given: TextIO | None = getattr(sys, name)
    closed = given is None  # by the caller, as by `2>&-`
    try:
        number = os.open(os.devnull, os.O_WRONLY) if given is None else given.fileno()
        raw = _Lasting(number, "w", closefd=closed)
    except (AttributeError, OSError, ValueError):  # a stream in memory
        yield
        return
    lasting = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding="utf-8" if given is None else given.encoding,
        errors="backslashreplace",
        line_buffering=name == "stderr" or getattr(given, "line_buffering", True),
    )
    if given is not None:
        with suppress(OSError):
            given.flush()
    setattr(sys, name, lasting)
    try:
        yield
    finally:
        lasting.flush()
        setattr(sys, name, given)
        if closed:
            lasting.close()
        if name == "stdout" and raw.lost is not None and raw.lost.errno != errno.EPIPE:
            reason = raw.lost.strerror
            print(f"note: what was printed could not be written ({reason})", file=sys.stderr)
