"""`pdpipe forecast`: its table beside what a finished chain recorded."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from pdpipe.cli.forecasting import duration

if TYPE_CHECKING:
    from conftest import Typed


def rows_of(text: str) -> dict[str, list[str]]:
    """{stage: the cells after its name} of the printed table."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return {name: cells for name, *cells in lines if len(cells) >= 3}


def test_the_counts_are_those_of_the_cost_files_and_it_says_where_it_holds(typed: Typed) -> None:
    before = typed.contents()
    printed = typed.run("forecast", "--budget", "1")
    assert printed.code == 0, printed
    rows = rows_of(printed.out)
    made = {"extractor": "extractor", "teacher": "teacher", "guide": "student-4"}
    for stage, name in (made | {"halve@2": "student-2"}).items():
        cost = json.loads((typed.root / f"results/cost/{name}.json").read_text())
        counts = [cost[key] for key in ("updates", "images_seen", "network_evaluations")]
        assert rows[stage][:3] == [f"{count:,}" for count in counts], stage
    samples = typed.params()["evaluation"]["num_samples"]
    for stage, name in (("evaluate-teacher", "teacher"), ("evaluate@2", "student-2")):
        cells = json.loads((typed.root / f"results/cost/evaluate-{name}.json").read_text())["cells"]
        evaluations = samples * sum(cell["nfe"] for cell in cells)
        assert rows[stage][:2] == [f"{samples * len(cells):,}", f"{evaluations:,}"], stage
    assert {"prepare", "reference", "report", "all"} <= set(rows)
    assert typed.contents() == before
    assert not (typed.root / ".pdpipe/tracking/forecast").exists()
    words = " ".join(printed.out.split())
    assert "(cpu, 1 thread, float32, torch" in words
    assert "10 classes, 1,581 + 216 images (by the shards)" in words
    assert "whether or not some of it is done" in words
    assert "Memory was not measured." in words


def test_without_shards_the_size_is_assumed(typed: Typed) -> None:
    (typed.root / "data/shards/manifest.json").unlink()
    printed = typed.run("forecast", "--budget", "1")
    assert "assumed: there are no shards" in printed.out
    assert "The numbers of classes and images are assumed" in printed.out


def test_wrong_params_come_first(typed: Typed) -> None:
    typed.write(typed.params() | {"sede": 1})
    assert "unknown key sede" in typed.refused("forecast")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.5, "0.5 s"), (99, "99 s"), (600, "10 min"), (9000, "2.5 h"), (260_000, "3.01 days")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
