"""`pdpipe compare`: a finished project beside a report that was kept."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pdpipe.files import sealed

if TYPE_CHECKING:
    from conftest import Typed


@pytest.fixture
def kept(typed: Typed, tmp_path: Path) -> Path:
    """A copy of the whole project, from before."""
    return shutil.copytree(typed.root, tmp_path / "before")


def test_a_project_against_an_earlier_copy_of_it(typed: Typed, kept: Path) -> None:
    params = typed.params()
    params["teacher"]["updates"] += 5
    typed.write(params)
    printed = typed.run("compare", str(kept / "reports"), "--csv", "changes.csv")
    assert printed.code == 0, printed
    assert f"A: {kept / 'reports'}\nB: workspace\n" in printed.out
    updates = params["teacher"]["updates"]
    assert f"  teacher.updates: {updates - 5} → {updates}\n" in printed.out
    with (typed.root / "changes.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 2 * (4 + 2)  # FID and IS; teacher at 2 steps x 2 w, a student at 2 w
    assert f"wrote changes.csv: {len(rows)} figures" in printed.out
    assert {row["difference"] for row in rows} == {"0"}


def test_markdown_and_nothing_else(typed: Typed, kept: Path) -> None:
    printed = typed.run("compare", str(kept / "reports"), "--markdown", "--csv", "changes.csv")
    assert printed.code == 0, printed
    assert printed.out.startswith(f"# {kept / 'reports'} → workspace\n")
    assert "wrote" not in printed.out
    assert (typed.root / "changes.csv").is_file()


def test_another_extractor_is_named(typed: Typed, kept: Path) -> None:
    for path in (typed.root / "results/metrics").glob("*.json"):
        other = re.sub(r'("sha256": ")\w{8}', r"\g<1>00000000", path.read_text())
        content = {key: value for key, value in json.loads(other).items() if key != "sha256"}
        path.write_text(json.dumps(sealed(content)))
    printed = typed.run("compare", str(kept / "reports"))
    assert "not comparable, since they differ in protocol.extractor.sha256" in printed.out
    assert "separated:" not in printed.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["HEAD"], "revisions are those of a DVC project"),
        (["no/reports/table.csv"], "there is no report at no/reports/table.csv"),
        (
            ["reports", "--csv", "nowhere/changes.csv"],
            "--csv nowhere/changes.csv cannot be written",
        ),
        (["reports", "--csv", "reports"], "--csv reports cannot be written"),
    ],
)
def test_what_cannot_be_compared(typed: Typed, arguments: list[str], sentence: str) -> None:
    assert typed.refused("compare", *arguments).startswith(sentence)


def test_a_damaged_report_and_none(typed: Typed, kept: Path) -> None:
    table = typed.root / "reports/table.csv"
    table.write_text(table.read_text()[:-40])
    sentence = "reports/table.csv of workspace is damaged"
    assert typed.refused("compare", str(kept / "reports")).startswith(sentence)
    table.unlink()
    sentence = "workspace has no reports/table.csv"
    assert typed.refused("compare", str(kept / "reports")).startswith(sentence)
