"""Progress without a terminal: a plain line now and then, and one at the end."""

from __future__ import annotations

import re

import pytest

from pdpipe import progress
from pdpipe.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, its only element, which the test moves."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_with_rate_note_and_eta(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("teacher", 1000, "updates") as shown:
        for _ in range(30):
            clock[0] += 1.0
            shown.advance(10, "loss 0.5")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "teacher: 100/1000 updates, 10.0 updates/s, loss 0.5, ETA 1:30",
        "teacher: 200/1000 updates, 10.0 updates/s, loss 0.5, ETA 1:20",
        "teacher: 300/1000 updates, 10.0 updates/s, loss 0.5, ETA 1:10",
        "teacher: 300/1000 updates, 10.0 updates/s, loss 0.5, stopped",
    ]


def test_what_was_done_before_does_not_count_for_the_rate(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("teacher", 1000, "updates", done=900) as shown:
        shown.skip(50)
        clock[0] += 10.0
        shown.advance(50)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "teacher: 1000/1000 updates, 5.0 updates/s, done"


def test_long_work_has_hours(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("teacher", 100_000, "updates") as shown:
        clock[0] += 10.0
        shown.advance(100)
    assert re.search("ETA 2:46:30", capsys.readouterr().err)


def test_nothing_is_said_of_the_end_of_work_that_failed(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        with Progress("teacher", 10, "updates") as shown:
            shown.advance()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    with Progress("teacher", 4, "updates", done=1) as shown:
        shown.skip(1)
        shown.advance(2, "loss 0.25")
    bar = capsys.readouterr().err.split("\r")[-1]
    assert "teacher: 100%" in bar
    assert "4/4" in bar
    assert "loss 0.25" in bar
