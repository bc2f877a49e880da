"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Collection


def aligned(rows: list[list[str]], to_the_left: Collection[int] = (0,)) -> list[str]:
    """The rows as lines, their columns below each other; numbers to the right, words to the left.

    Args:
        rows: equally many cells in each, the headings first.
        to_the_left: the columns of words.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if k in to_the_left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
