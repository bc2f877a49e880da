"""The command `compare`: two chains beside each other."""

from __future__ import annotations

from pathlib import Path

from pdpipe.errors import ParamsError
from pdpipe.files import write_text
from pdpipe.reporting import compare as comparison
from pdpipe.reporting.compare_text import csv_text, markdown, plain_text
from pdpipe.reporting.sides import Side, read_side
from pdpipe.revisions import open_tree


def compare(a: str, b: str, csv: Path | None, as_markdown: bool) -> None:
    """Print what changed from `a` to `b`, each a revision, a report's folder or `workspace`."""
    if csv is not None and (csv.is_dir() or not csv.parent.is_dir()):
        raise ParamsError(f"--csv {csv} cannot be written: give a file in a folder that exists")
    found = comparison.compare(_side(a), _side(b))
    print(markdown(found) if as_markdown else plain_text(found), end="")
    if csv is not None:
        write_text(csv, csv_text(found))
        if not as_markdown:
            print(f"\nwrote {csv}: {len(found.changes)} figures")


def _side(name: str) -> Side:
    with open_tree(name) as tree:
        return read_side(tree.name, tree.read)
