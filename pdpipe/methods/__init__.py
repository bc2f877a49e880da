"""How a model is made: one file for each method, and one line in `pdpipe/registry.py`.

`teacher` and `extractor` train on the data alone; the others are a `Method`, which makes a student
of a teacher. Each hands a `Plan` to the training, which knows none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pdpipe.registry import METHODS

if TYPE_CHECKING:
    from pdpipe.methods.method import Method


def method_of(name: str) -> Method:
    """The method of that name, a key of `METHODS`."""
    found: Method = import_module(METHODS[name]).METHOD
    return found
