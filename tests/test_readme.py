"""The README says what the repository holds: its commands, its figures, its files."""

from __future__ import annotations

import csv
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def marked(name: str) -> str:
    """The text between a marker and the next blank line that follows some text."""
    after = README.split(f"<!-- {name} -->\n", 1)[1]
    return after.strip().split("\n\n", 1)[0]


def test_the_two_commands_do_all_their_set_up() -> None:
    set_up = "python3 -m venv .venv && . .venv/bin/activate && "
    assert f"{set_up}pip install -e . && dvc repro\n" in marked("ci: main")
    assert f"{set_up}pip install -e '.[test]' && pytest\n" in marked("ci: tests")


def test_the_fid_table_is_the_reports() -> None:
    with (ROOT / "reports/table.csv").open(encoding="utf-8") as lines:
        measured = {
            (row["kind"], row["steps"], float(row["w"])): float(row["fid"])
            for row in csv.DictReader(lines)
            if row["steps"] and row["w"]
        }
    header, _, *rows = [
        [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
        for line in marked("table: fid").splitlines()
    ]
    weights = [float(cell.removeprefix("w = ")) for cell in header[1:]]
    shown = 0
    for name, *cells in rows:
        kind, steps = re.fullmatch(r"(teacher|student), (\d+) steps?.*", name).groups()  # type: ignore[union-attr]
        for w, cell in zip(weights, cells, strict=True):
            assert cell == f"{measured[kind, steps, w]:.2f}", (name, w)
            shown += 1
    assert shown >= 5 * len(weights)


def test_the_headline_is_the_reports() -> None:
    report = (ROOT / "reports/table.md").read_text(encoding="utf-8")
    (sentence,) = re.findall(r"^\*\*(\d+ steps?: .*)\*\*$", README, re.MULTILINE)
    assert f"**{sentence}.**" in report
    (saved,) = re.findall(r"interpolated, the teacher needs (\S+ \(\S+ to [^)]+\)) the", README)
    assert saved in report


def test_files_that_it_names_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
