"""The tables of faults: each line names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
_, _, KEPT = (ROOT / "docs/faults.md").read_text(encoding="utf-8").partition("\n## What is kept\n")
LINES = KEPT.splitlines()


def test_every_fault_is_injected_by_a_test() -> None:
    faults = [line for line in LINES if re.match(r"\| (?!fault |---)", line)]
    assert len(faults) > 20
    for line in faults:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == 4, line
        named = re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", cells[3])
        assert named, line
        text = (ROOT / named[1]).read_text(encoding="utf-8")
        assert re.search(rf"^def {named[2]}\(", text, re.MULTILINE), named[0]
