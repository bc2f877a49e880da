"""Whether the published figures agree with each other: `python .ci/published.py`.

README.md quotes docs/results/, whose page, tables and metrics files are of one run. It prints a
sentence for each disagreement, which is exit code 1.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs/results"
README = (ROOT / "README.md").read_text(encoding="utf-8")
Cells = dict[tuple[str, str, float], float]  # FID by (kind, steps, w)


def marked(name: str) -> str:
    """The README's text between a marker and the next blank line that follows some text."""
    after = README.split(f"<!-- {name} -->\n", 1)[1]
    return after.strip().split("\n\n", 1)[0]


def table_cells() -> Cells:
    """FID of each cell in the published table."""
    with (RESULTS / "table.csv").open(encoding="utf-8") as lines:
        return {
            (row["kind"], row["steps"], float(row["w"])): float(row["fid"])
            for row in csv.DictReader(lines)
            if row["steps"] and row["w"]
        }


def readme_table(measured: Cells) -> Iterator[str]:
    """The README's table against the published one."""
    header, _, *rows = [
        [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
        for line in marked("table: fid").splitlines()
    ]
    weights = [float(cell.removeprefix("w = ")) for cell in header[1:]]
    if len(rows) < 5:
        yield "README.md: its table of FID has lost rows"
    for name, *cells in rows:
        kind, steps = re.fullmatch(r"(teacher|student), (\d+) steps?", name).groups()  # type: ignore[union-attr]
        for w, cell in zip(weights, cells, strict=True):
            if cell != f"{measured[kind, steps, w]:.2f}":
                yield f"README.md: {name}, w = {w}: {cell}, published {measured[kind, steps, w]}"


def readme_headline() -> Iterator[str]:
    """The README's sentences against those of the published report."""
    report = (RESULTS / "table.md").read_text(encoding="utf-8")
    (sentence,) = re.findall(r"^\*\*(\d+ steps? instead of .*)\*\*$", README, re.MULTILINE)
    if f"**{sentence}.**" not in report:
        yield f"README.md: the headline is not the published one: {sentence}"
    (saved,) = re.findall(r"interpolated, the teacher\s+needs (\S+ \(\S+ to [^)]+\)) the", README)
    if saved not in report:
        yield f"README.md: saved {saved} is not the published figure"


def metrics_files(measured: Cells) -> Iterator[str]:
    """The metrics files against the table, and all by one extractor."""
    extractors = set()
    for path in sorted((RESULTS / "metrics").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if path.stem != "rungs":
            extractors.add(record["protocol"]["extractor"]["sha256"])
        kind = path.stem.partition("-")[0]
        for cell in record.get("cells", []):
            if measured[kind, str(cell["steps"]), cell["w"]] != cell["fid"]:
                yield f"{path.name}: {cell['steps']} steps, w = {cell['w']}: not the table's FID"
    if len(extractors) != 1:
        yield f"docs/results/metrics: {len(extractors)} extractors"


def studies() -> Iterator[str]:
    """Each study that was published has its section on the page, and its table."""
    page = (RESULTS / "index.html").read_text(encoding="utf-8")
    for study in json.loads((RESULTS / "studies/studies.json").read_text(encoding="utf-8")):
        if f'id="study-{study}"' not in page:
            yield f"docs/results/index.html has no section of the study {study}"
        if not (RESULTS / f"studies/{study}.csv").is_file():
            yield f"docs/results/studies has no table of {study}"
    if "another chain" in page:
        yield "docs/results/index.html has a study of another chain"


if __name__ == "__main__":
    cells = table_cells()
    found = [*readme_table(cells), *readme_headline(), *metrics_files(cells), *studies()]
    print("\n".join(found) or "the published figures agree with each other")
    sys.exit(bool(found))
