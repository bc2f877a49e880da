"""A comparison of two chains for the reader: a sentence, what changed, a table of each metric."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import pandas as pd

from pdpipe.evaluation.metrics import METRICS
from pdpipe.reporting import formats
from pdpipe.reporting.compare import (
    ABSENT,
    BETTER,
    NO_ERROR,
    NOT_COMPARABLE,
    NOT_SEPARATED,
    WORSE,
    Change,
    Comparison,
    Edit,
)
from pdpipe.reporting.formats import aligned
from pdpipe.reporting.intervals import LEVEL, with_margin
from pdpipe.reporting.markdown import to_markdown
from pdpipe.reporting.sides import FIGURES
from pdpipe.reporting.tables import Table

NAMES = {key: METRICS[key].name for key in FIGURES}
WORDS = (0, 6)  # the columns of the tables that are no numbers
MEASURE_ALIKE = "set section evaluation alike in both and run `dvc repro`"
REMEDIES = {  # by field of the protocol
    "extractor": "measure both with one extractor: the one that comes with pdpipe, "
    "`extractor.source: auto`, or one model file in both",
    **dict.fromkeys(("num_real", "real_split"), "compare chains of the same data and split"),
    "precision": "run both with the same `runtime.precision`",
    **dict.fromkeys(
        ("quantization", "is_splits", "standard_errors"), "run both with the same version of pdpipe"
    ),
}
INTERVALS = (
    "± is half of a 95 % interval. Separated means that the difference exceeds its interval, which "
    "treats both errors as independent. Sample k starts from the same noise in both chains, so the "
    "errors are usually correlated, and the interval is rather too wide. It is over other "
    "generated images, not over other trainings."
)


def plain_text(c: Comparison) -> str:
    """The comparison for a terminal."""
    lines = [f"A: {c.a.name}", f"B: {c.b.name}", "", f"{summary(c)}.", ""]
    for title, items in _lists(c):
        lines += [title, *(f"  {item}" for item in items), ""]
    for table in tables(c):
        lines += [table.title, *aligned([table.columns, *table.rows], WORDS), ""]
    wrapped = (line for note in notes(c) for line in textwrap.wrap(note, 100))
    return "\n".join([*lines, *wrapped]) + "\n"


def markdown(c: Comparison) -> str:
    """The comparison in Markdown."""
    lines = [f"# {c.a.name} → {c.b.name}", "", f"**{summary(c)}.**", ""]
    for title, items in _lists(c):
        lines += [f"## {title}", "", *(f"- {item}" for item in items), ""]
    tabled = [f"{to_markdown(table)}\n" for table in tables(c)]
    return "\n".join(lines) + "\n" + "".join(tabled) + "\n\n".join(notes(c)) + "\n"


def csv_text(c: Comparison) -> str:
    """Every change as a row: the cell, both figures with their errors, the difference."""
    values = ("a", "a_se", "b", "b_se", "difference", "margin")
    columns = ["model", "steps", "w", "metric", *values, "verdict"]
    rows = [[getattr(change, name) for name in columns] for change in c.changes]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.to_csv(index=False, lineterminator="\n", float_format="%.6g")  # as in records


def summary(c: Comparison) -> str:
    """What the change did, in one sentence without its full stop."""
    shared = [one for one in c.changes if not (math.isnan(one.a) or math.isnan(one.b))]
    alike = [change for change in shared if change.comparable]
    if not shared:
        return "The two chains have no cell in common"
    if len(alike) == len(shared):
        return f"{_cells(alike)} in common: {_done(c, alike)}"
    unlike = ", ".join(dict.fromkeys(change.model for change in shared if not change.comparable))
    rest = f"; the other {_cells(alike)}: {_done(c, alike)}" if alike else ""
    who = unlike if alike else "the two chains"
    return f"The figures of {who} are not comparable, since they differ in {_why(c)}{rest}"


def _why(c: Comparison) -> str:
    """The fields of the protocol that differ, and what makes figures comparable again."""
    fields = list(dict.fromkeys(edit.key for edit in c.protocol))
    remedies = dict.fromkeys(REMEDIES.get(key.split(".")[0], MEASURE_ALIKE) for key in fields)
    return f"{', '.join(f'protocol.{key}' for key in fields)} ({'; '.join(remedies)})"


def tables(c: Comparison) -> list[Table]:
    """FID, then IS, a row for each cell but those that do not compare."""
    found = []
    for metric, name in NAMES.items():
        shown = [change for change in c.of(metric) if change.verdict != NOT_COMPARABLE]
        if not shown:
            continue
        rows = [
            [
                change.model,
                str(change.steps),
                f"{change.w:g}",
                with_margin(change.a, change.a_margin),
                with_margin(change.b, change.b_margin),
                signed(change.difference, change.margin),
                change.verdict,
            ]
            for change in shown
        ]
        title = f"{_named(c, name)}, {METRICS[metric].better} is better"
        columns = ["model", "steps", "w", "A", "B", "B - A", ""]
        found.append(Table(title=title, columns=columns, rows=rows))
    return found


def notes(c: Comparison) -> list[str]:
    """What to know before reading more into the tables, a paragraph each."""
    left_out = sum(change.verdict == NOT_COMPARABLE for change in c.changes)
    judged = sum(change.verdict in (BETTER, WORSE, NOT_SEPARATED) for change in c.changes)
    found = [INTERVALS] if judged else []
    if left_out:
        found.append(f"{left_out} figures that do not compare are not listed; --csv writes them.")
    by_chance = math.floor(judged * (1 - LEVEL))
    if by_chance:
        found.append(
            f"Of {judged} figures, up to about {by_chance} are separated by chance, even if "
            "nothing differs."
        )
    for letter, side in (("A", c.a), ("B", c.b)):
        if not side.whole:
            found.append(
                f"Of {letter}, the protocol is known as far as the table has it: whether its "
                "figures were made by the very same extractor file was not compared."
            )
    return found


def signed(difference: float, margin: float) -> str:
    """A difference with its sign and its margin, to two digits of that."""
    if math.isnan(difference):
        return formats.DASH
    if math.isnan(margin) or margin == 0:
        return f"{difference:+.2g}"
    places = max(2, 1 - math.floor(math.log10(margin)))
    return f"{difference:+.{places}f} ± {margin:.{places}f}"


def _lists(c: Comparison) -> list[tuple[str, list[str]]]:
    """The titled lists of what is not the same."""
    if c.settings is None:
        settings = ["not known: a side is a table without its project"]
    else:
        settings = [_edited(edit) for edit in c.settings] or ["none (section runtime aside)"]
    found = [("Settings that differ", settings)]
    if c.protocol:
        found.append(("Protocol that differs", [_edited(edit, "protocol.") for edit in c.protocol]))
    if c.made_with:
        found.append(("Made differently", [_edited(edit) for edit in c.made_with]))
    return found


def _edited(edit: Edit, prefix: str = "") -> str:
    old, new = ("none" if v is ABSENT else _value(v) for v in (edit.old, edit.new))
    models = f" ({', '.join(edit.models)})" if edit.models else ""
    return f"{prefix}{edit.key}: {old} → {new}{models}"


def _value(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:12]}…"


def _cells(changes: list[Change]) -> str:
    count = len({(change.model, change.steps, change.w) for change in changes})
    return f"{count} cell" if count == 1 else f"{count} cells"


def _done(c: Comparison, changes: list[Change]) -> str:
    """What happened to figures that compare."""
    if all(change.difference == 0 for change in changes):
        return "every figure is the same"
    of = {metric: [change for change in changes if change.metric == metric] for metric in NAMES}
    counted = (f"{_named(c, NAMES[metric])} {_counts(found)}" for metric, found in of.items())
    return "; ".join(counted) + _biggest(of["fid"], _named(c, NAMES["fid"]))


def _counts(changes: list[Change]) -> str:
    """`better in 3, worse in 0, not separated in 62`, and the rest where there is one."""
    verdicts = [change.verdict for change in changes]
    words = {BETTER: "better", WORSE: "worse", NOT_SEPARATED: "not separated"}
    parts = [f"{word} in {verdicts.count(verdict)}" for verdict, word in words.items()]
    if NO_ERROR in verdicts:
        parts.append(f"without a standard error in {verdicts.count(NO_ERROR)}")
    return ", ".join(parts)


def _biggest(changes: list[Change], name: str) -> str:
    """The biggest change of FID that is separated, by its ratio; FID by its name in full."""
    separated = [change for change in changes if change.verdict in (BETTER, WORSE)]
    if not separated:
        return ""
    change = max(separated, key=lambda one: one.relative)
    alike = sum(not _bigger(change, other) for other in separated if other is not change)
    open_ = f", not separated from {alike} more," if alike else ""
    percent = f" ({100 * (change.b / change.a - 1):+.0f} %)" if change.a else ""
    return (
        f"; the biggest change{open_} is that of {change.model} at {formats.steps(change.steps)}, "
        f"{formats.weight(change.w)}: {name} {formats.figure(change.a)} → "
        f"{formats.figure(change.b)}{percent}"
    )


def _bigger(one: Change, other: Change) -> bool:
    """Whether a change is bigger than another by more than the interval of their difference."""
    margin = math.hypot(one.relative_margin, other.relative_margin)
    return one.relative - other.relative > margin


def _named(c: Comparison, metric: str) -> str:
    """`FID-1500[digits-cnn]`, where both sides agree on that."""
    known = {
        (protocol.get("num_fake"), protocol.get("extractor.name"))
        for side in (c.a, c.b)
        for protocol in side.protocols.values()
    }
    (count, extractor), *more = known
    return metric if more or not (count and extractor) else f"{metric}-{count}[{extractor}]"
