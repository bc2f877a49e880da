"""Classifiers that come with the package: one yardstick for a data set, on every machine.

An extractor that each machine trains for itself measures with features of its own, so FIDs of two
machines would not compare. What a file was trained on, and how, stands in the card beside it,
`<name>.md`.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
NAMES = {"digits": "digits-cnn"}  # of the data source; a source is the same images everywhere


def shipped_extractor(data_source: str, setting: str) -> Path | None:
    """The file of the shipped extractor that the chain uses, or None where it trains its own.

    Args:
        data_source: `data.source` of params.yaml.
        setting: `extractor.source`; `auto` is the shipped one where there is one, `train` none.
    """
    name = NAMES.get(data_source)
    return FOLDER / f"{name}.safetensors" if name and setting == "auto" else None


def trained_name(data_source: str) -> str:
    """What figures call an extractor that the chain trains: never as they call a shipped one."""
    name = f"{data_source}-cnn"
    return f"{name}-own" if name in NAMES.values() else name
