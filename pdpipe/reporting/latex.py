"""reports/table.tex: the tables as LaTeX with booktabs, ready for a paper."""

from __future__ import annotations

import re
from dataclasses import replace

from pdpipe.evaluation.records import RungsRecord
from pdpipe.reporting import tables
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.speedup import savings_tables
from pdpipe.reporting.studies.section import StudySection
from pdpipe.reporting.tables import Table

# As wide as the table is, but no wider than the text.
_FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{"
# What LaTeX would take for a command, and signs that its default fonts lack. A bracket that begins
# a row would be taken for an option of the line break before it.
_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",
        "]": "{]}",
        "–": "--",
        "±": r"$\pm$",
        "×": r"$\times$",
        "·": r"$\cdot$",
        "÷": r"$\div$",
        "≥": r"$\geq$",
        "→": r"$\rightarrow$",
        "γ": r"$\gamma$",
    }
)


def paper_latex(
    m: Measurements,
    rungs: RungsRecord,
    protocol: str,
    published: list[Table],
    studies: list[StudySection],
) -> str:
    r"""The file's text, to be taken into a paper by `\input`.

    `protocol` is in every caption, so that each table can be taken alone.
    """
    near = [tables.near_table(m), *savings_tables(m, paper=True)]
    shown = near if m.student_steps else []
    shown += tables.matrices(m)
    for w in m.guidance:
        table = tables.steps_table(m, w, paper=True)
        shown.append(replace(table, title=f"Student and teacher at {table.title}"))
    shown += [
        tables.rungs_table(rungs),
        tables.coupling_table(m),
        tables.memorization_table(m),
        *published,
    ]
    for section in studies:
        shown += [replace(t, title=f"{section.title}: {t.title}") for t in section.tables]
    preamble = (
        "% Written by pdpipe. \\input{table} takes it in, with \\usepackage{booktabs,graphicx}.\n"
        "% A table that is wider than the text is scaled down to it.\n"
    )
    return "\n".join([preamble, *(to_latex(table, protocol) for table in shown)])


def to_latex(table: Table, protocol: str) -> str:
    """The table as a float with a caption above it, and a label made of its title."""
    label = re.sub(r"[^a-z0-9]+", "-", table.title.lower()).strip("-")
    caption = " ".join(filter(None, (f"{table.title}.", protocol, table.note)))
    split = len(table.rows) - table.references
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{tab:{label}}}",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{3pt}",
        _FITTED + rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"\toprule",
        *_groups(table),
        _row([_heading(column) for column in table.columns]),
        r"\midrule",
        *(_row([escape(cell) for cell in row]) for row in table.rows[:split]),
        *([r"\midrule"] if 0 < split < len(table.rows) else []),
        *(_row([escape(cell) for cell in row]) for row in table.rows[split:]),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Text for LaTeX to print as it is; a guidance weight becomes mathematics."""
    return re.sub(r"\bw = ([\d.]+\d|\d)", r"$w = \1$", text.translate(_ESCAPES))


def _groups(table: Table) -> list[str]:
    """The headings above the columns after the first, each with a rule over what it spans."""
    if not table.groups:
        return []
    cells, rules, first = [""], [], 2
    for name, span in table.groups:
        cells.append(rf"\multicolumn{{{span}}}{{c}}{{{escape(name)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + span - 1}}}")
        first += span
    return [_row(cells), " ".join(rules)]


def _heading(column: str) -> str:
    """A column's name, in two lines where it has a comma."""
    first, comma, second = map(escape, column.partition(", "))
    return rf"\shortstack[r]{{{first},\\{second}}}" if comma else first


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"
