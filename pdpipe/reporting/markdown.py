"""reports/table.md: the tables as Markdown."""

from __future__ import annotations

from pdpipe.evaluation.records import RungsRecord
from pdpipe.reporting import tables
from pdpipe.reporting.headline import Headline
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.speedup import savings_tables
from pdpipe.reporting.tables import Table


def to_markdown(table: Table, level: int = 2) -> str:
    """The table in Markdown, under a heading of the given level."""
    lines = [f"{'#' * level} {table.title}", ""]
    lines.append("| " + " | ".join(name or " " for name in table.headings) + " |")
    lines.append("|" + " --- |" + " ---: |" * (len(table.columns) - 1))
    lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    return "\n".join([*lines, *(["", table.note] if table.note else [])]) + "\n"


def report_markdown(m: Measurements, rungs: RungsRecord, found: Headline, machines: str) -> str:
    """reports/table.md: the finding, then FID against steps for each w, then the matrices.

    `machines` is a sentence on where the times per image were taken.
    """
    near = [tables.near_table(m), *savings_tables(m)] if m.student_steps else []
    return "\n".join(
        [
            "# Quality against sampling steps\n",
            f"**{found.sentence}.**\n",
            *([" ".join(found.details) + "\n"] if found.details else []),
            f"{' '.join(tables.definitions(m))}\n",
            f"{machines}\n",
            *map(to_markdown, near),
            *(to_markdown(tables.steps_table(m, w)) for w in m.guidance),
            *(to_markdown(table) for table in tables.matrices(m)),
            to_markdown(tables.rungs_table(rungs)),
            to_markdown(tables.coupling_table(m)),
            to_markdown(tables.memorization_table(m)),
        ]
    )
